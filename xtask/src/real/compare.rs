//! Finds where two records differ.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::record::Cases;

/// One case on both servers.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) case: String,
    /// Successful answers, failures and events of watches that were compared.
    pub(super) objects: usize,
    pub(super) failures: usize,
    pub(super) events: usize,
    /// The codes of all answers, each once.
    pub(super) codes: Vec<u64>,
    /// Why some of it, or all of it, was not compared.
    pub(super) not_compared: Vec<String>,
    pub(super) left_out: Option<String>,
    /// Reasons of the differences that are explained.
    pub(super) explained: Vec<String>,
    pub(super) unexplained: Vec<Difference>,
}

#[derive(Debug)]
pub(super) struct Difference {
    case: String,
    /// What was asked, and for which field the answers differ.
    place: String,
    embedded: String,
    real: String,
}

/// Differences that are meant to be, each with a reason.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Explanations(Vec<Explanation>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explanation {
    /// Cases; `*` at the end stands for anything.
    cases: Vec<String>,
    /// `METHOD PATH`, if only some exchanges are meant; `*` at the end stands for anything.
    asked: Option<String>,
    /// JSON pointers into the exchange; `*` at the end stands for anything.
    fields: Vec<String>,
    reason: String,
    #[serde(skip)]
    used: Cell<bool>,
}

impl Explanations {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file);
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not valid", file.display()))
    }

    fn reason(&self, case: &str, asked: &str, field: &str) -> Option<&str> {
        let any = |patterns: &[String], text: &str| patterns.iter().any(|one| fits(one, text));
        let found = self.0.iter().find(|one| {
            any(&one.cases, case)
                && one.asked.as_ref().is_none_or(|pattern| fits(pattern, asked))
                && any(&one.fields, field)
        })?;
        found.used.set(true);
        Some(&found.reason)
    }

    pub(super) fn unused(&self) -> impl Iterator<Item = String> {
        let unused = self.0.iter().filter(|one| !one.used.get());
        unused.map(|one| format!("{:?} {:?}: {}", one.cases, one.fields, one.reason))
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => text.starts_with(begin),
        None => text == pattern,
    }
}

/// Compares all cases of both servers.
pub(super) fn all(embedded: &Cases, real: &Cases, known: &Explanations) -> Vec<Compared> {
    let mut names: Vec<_> = embedded.keys().chain(real.keys()).collect();
    names.sort();
    names.dedup();
    let nothing = Vec::new();
    let lines = |cases: &'_ Cases, name| cases.get(name).unwrap_or(&nothing).clone();
    names
        .into_iter()
        .map(|name| case(name, &lines(embedded, name), &lines(real, name), known))
        .collect()
}

fn case(name: &str, embedded: &[Value], real: &[Value], known: &Explanations) -> Compared {
    let mut compared = Compared { case: name.to_owned(), ..Compared::default() };
    let text = |line: &Value, key: &str| line[key].as_str().map(str::to_owned);
    if let Some(reason) = real.iter().find_map(|line| text(line, "leftOut")) {
        compared.left_out = Some(reason);
        return compared;
    }
    let notes: BTreeSet<_> = real.iter().filter_map(|line| text(line, "notCompared")).collect();
    compared.not_compared = notes.into_iter().collect();
    let [embedded, real] = [embedded, real].map(|lines| {
        lines.iter().filter(|line| line.get("notCompared").is_none()).collect::<Vec<_>>()
    });
    let mut found = Vec::new();
    for index in 0..embedded.len().max(real.len()) {
        let (ours, theirs) = (embedded.get(index).copied(), real.get(index).copied());
        let asked = theirs.or(ours).map(asked).unwrap_or_default();
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if asked_of(ours) == asked_of(theirs) => {
                compared.count(theirs);
                exchange(ours, theirs, &mut found);
            }
            _ => found.push(("".to_owned(), shown(ours), shown(theirs))),
        }
        for (field, embedded, real) in found.drain(..) {
            match known.reason(name, &asked, &field) {
                Some(reason) => compared.explained.push(reason.to_owned()),
                None => compared.unexplained.push(Difference {
                    case: name.to_owned(),
                    place: format!("{asked}: {field}"),
                    embedded,
                    real,
                }),
            }
        }
        // What follows another exchange compares two different things.
        if ours.map(asked_of) != theirs.map(asked_of) {
            break;
        }
    }
    compared.explained.sort();
    compared.explained.dedup();
    compared.codes.sort_unstable();
    compared.codes.dedup();
    compared
}

impl Compared {
    fn count(&mut self, line: &Value) {
        match line["method"].as_str() {
            Some("WATCH") => self.events += 1,
            Some(_) if line["code"].as_u64().is_some_and(|code| code >= 400) => self.failures += 1,
            Some(_) => self.objects += 1,
            None => {}
        }
        self.codes.extend(line["code"].as_u64());
    }
}

fn asked(line: &Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    format!("{} {}", text("method"), text("path"))
}

fn asked_of(line: &Value) -> (&Value, &Value) {
    (&line["method"], &line["path"])
}

/// Compares what was answered; what was sent is in the record for those who read it.
fn exchange(ours: &Value, theirs: &Value, found: &mut Vec<(String, String, String)>) {
    for key in ["code", "contentType", "warnings", "body"] {
        let (ours, theirs) = (&ours[key], &theirs[key]);
        if key == "body" && ours["kind"] != theirs["kind"] {
            found.push(("/body".to_owned(), shown(Some(ours)), shown(Some(theirs))));
        } else {
            differences(&format!("/{key}"), ours, theirs, found);
        }
    }
}

/// Collects the fields for which two values differ.
fn differences(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<(String, String, String)>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let mut keys: Vec<_> = ours.keys().chain(theirs.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (ours.get(key), theirs.get(key)) {
                    (Some(ours), Some(theirs)) => differences(&at, ours, theirs, found),
                    (ours, theirs) => found.push((at, shown(ours), shown(theirs))),
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(&format!("{at}/{index}"), ours, theirs, found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push((at.to_owned(), shown(Some(ours)), shown(Some(theirs)))),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// What is wrong, as lines for a person; what differs in the same way in many cases only once.
/// Explanations are checked only if all cases ran.
pub(super) fn problems(compared: &[Compared], explanations: Option<&Explanations>) -> Vec<String> {
    let mut cases: BTreeMap<(&str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    for one in compared.iter().flat_map(|case| &case.unexplained) {
        let same = cases.entry((&one.place, &one.embedded, &one.real)).or_default();
        same.insert(&one.case);
    }
    let line = |((place, ours, theirs), cases): (_, BTreeSet<&str>)| {
        let cases: Vec<_> = cases.into_iter().collect();
        format!("{place}\n  embedded: {ours}\n  real:     {theirs}\n  in: {}", cases.join(" "))
    };
    let mut lines: Vec<_> = cases.into_iter().map(line).collect();
    let unused = explanations.into_iter().flat_map(Explanations::unused);
    lines.extend(unused.map(|one| format!("explains nothing any more: {one}")));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cases(lines: Value) -> Cases {
        let lines = serde_json::from_value(lines).unwrap_or_default();
        Cases::from([("group::case".to_owned(), lines)])
    }

    fn known(all: Value) -> Explanations {
        Explanations(serde_json::from_value(all).unwrap_or_default())
    }

    fn get(code: u16, body: Value) -> Value {
        json!({"method": "GET", "path": "/a", "code": code, "body": body})
    }

    #[test]
    fn the_same_is_counted_by_what_it_is() {
        let lines = json!([get(200, json!({"a": 1})), get(404, json!({"reason": "NotFound"})),
            {"method": "WATCH", "path": "/a", "body": {"type": "ADDED"}}]);
        let all = all(&cases(lines.clone()), &cases(lines), &known(json!([])));
        assert_eq!((all[0].objects, all[0].failures, all[0].events), (1, 1, 1));
        assert_eq!(all[0].codes, [200, 404]);
        assert!(problems(&all, None).is_empty());
    }

    #[test]
    fn a_difference_is_named_with_its_field() {
        let ours = cases(json!([get(200, json!({"a": {"b/c": 1, "only": 2}, "l": [1, 2]}))]));
        let theirs = cases(json!([get(422, json!({"a": {"b/c": 3}, "l": [1]}))]));
        let all = all(&ours, &theirs, &known(json!([])));
        let places: Vec<_> = all[0].unexplained.iter().map(|one| one.place.as_str()).collect();
        let expected = ["/code", "/body/a/b~1c", "/body/a/only", "/body/l"];
        assert_eq!(places, expected.map(|field| format!("GET /a: {field}")));
    }

    #[test]
    fn a_case_that_one_server_lacks_or_leaves_early_differs() {
        let lines = cases(json!([get(200, json!({}))]));
        assert_eq!(all(&lines, &Cases::new(), &known(json!([])))[0].unexplained.len(), 1);
        let more = cases(json!([get(200, json!({})), get(200, json!({}))]));
        assert_eq!(all(&lines, &more, &known(json!([])))[0].unexplained.len(), 1);
        let failed = cases(json!([get(200, json!({})), {"failed": true}]));
        assert_eq!(all(&lines, &failed, &known(json!([])))[0].unexplained.len(), 1);
    }

    #[test]
    fn an_explanation_holds_for_its_field_and_must_be_needed() {
        let (ours, theirs) =
            (cases(json!([get(200, json!({"a": 1}))])), cases(json!([get(200, json!({"a": 2}))])));
        let fits =
            known(json!([{"cases": ["group::*"], "fields": ["/body/a"], "reason": "because"}]));
        let compared = all(&ours, &theirs, &fits);
        assert_eq!(compared[0].explained, ["because"]);
        assert!(problems(&compared, Some(&fits)).is_empty());
        let other =
            known(json!([{"cases": ["group::*"], "fields": ["/body/b"], "reason": "because"}]));
        let compared = all(&ours, &theirs, &other);
        assert_eq!(problems(&compared, Some(&other)).len(), 2);
    }
}
