//! What a case saw, written down so that two servers can be compared exchange by exchange.
//!
//! With `QUARTERMASTER_CONFORMANCE_RECORD=DIR` every kit appends JSON lines to `DIR/CASE.jsonl`.
//! Chance is taken out (names of this run, uids, times, revisions); all else stays as it came.

use std::{
    io::Write,
    path::PathBuf,
    sync::{LazyLock, Mutex},
};

use regex::Regex;
use serde_json::{Value, json};

use super::Answer;

/// What one kit saw, in the order in which it was asked for.
pub(crate) struct Record {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: Vec<Value>,
    paused: bool,
    normal: Normal,
}

impl Record {
    /// The record of the case that this thread runs.
    pub(crate) fn new() -> Self {
        let file = std::env::var_os("QUARTERMASTER_CONFORMANCE_RECORD").map(|directory| {
            let thread = std::thread::current();
            let case = thread.name().filter(|name| *name != "main");
            let case = case.unwrap_or_else(|| panic!("a record needs a thread for each case"));
            PathBuf::from(directory).join(format!("{}.jsonl", case.replace("::", ".")))
        });
        Self { file, state: Mutex::default() }
    }

    /// The place of an exchange that begins now.
    pub(crate) fn begin(&self) -> Option<usize> {
        self.file.as_ref()?;
        let mut state = self.state.lock().unwrap();
        if state.paused {
            return None;
        }
        state.lines.push(json!(null));
        Some(state.lines.len() - 1)
    }

    pub(crate) fn exchange(
        &self,
        place: Option<usize>,
        method: &str,
        path: &str,
        sent: &[u8],
        answer: &Answer,
    ) {
        let Some(place) = place else { return };
        let mut state = self.state.lock().unwrap();
        let header = |name: &str| -> Vec<String> {
            let all = answer.headers.get_all(name).into_iter();
            all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
        };
        let body = serde_json::from_str(&answer.text).unwrap_or_else(|_| json!(answer.text));
        let sent: String = String::from_utf8_lossy(sent).chars().take(400).collect();
        let mut body: Value = body;
        settle_causes(&mut body);
        state.normal.learn(&body);
        let line = json!({
            "method": method,
            "path": path,
            "sent": sent,
            "code": answer.code,
            "contentType": header("content-type"),
            "warnings": header("warning"),
            "body": body,
        });
        state.lines[place] = state.normal.apply(line);
    }

    /// An event of a watch.
    pub(crate) fn event(&self, path: &str, event: Option<&Value>) {
        let Some(place) = self.begin() else { return };
        let mut state = self.state.lock().unwrap();
        let event = event.cloned().unwrap_or_else(|| json!("the watch ended"));
        let line = json!({"method": "WATCH", "path": path, "body": event});
        state.lines[place] = state.normal.apply(line);
    }

    /// From here on nothing is compared, because what comes is left to chance.
    pub(crate) fn pause(&self, reason: &str) {
        let mut state = self.state.lock().unwrap();
        state.paused = true;
        state.lines.push(json!({"notCompared": reason}));
    }

    pub(crate) fn resume(&self) {
        self.state.lock().unwrap().paused = false;
    }

    /// The case is not for this server.
    pub(crate) fn left_out(&self, reason: &str) {
        self.state.lock().unwrap().lines.push(json!({"leftOut": reason}));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let (Some(file), Ok(state)) = (&self.file, self.state.get_mut()) else { return };
        if std::thread::panicking() {
            state.lines.push(json!({"failed": true}));
        }
        let lines: String = state.lines.iter().map(|line| format!("{line}\n")).collect();
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
        let written = opened.and_then(|mut file| file.write_all(lines.as_bytes()));
        if let Err(error) = written
            && !std::thread::panicking()
        {
            panic!("cannot write {}: {error}", file.display());
        }
    }
}

/// A real server finds the mistakes of an object in any order.
fn settle_causes(body: &mut Value) {
    let Some(causes) = body.pointer_mut("/details/causes").and_then(Value::as_array_mut) else {
        return;
    };
    causes.sort_by_cached_key(Value::to_string);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let told =
        causes.iter().map(|one| format!("{}: {}", text(&one["field"]), text(&one["message"])));
    let told: Vec<_> = told.collect();
    let message = text(&body["message"]);
    if let Some((begin, list)) = message.split_once(": [")
        && told.iter().all(|one| list.contains(one))
        && list.len() == told.join(", ").len() + 1
    {
        body["message"] = format!("{begin}: [{}]", told.join(", ")).into();
    }
}

/// Takes chance out of what a server answers.
#[derive(Default)]
struct Normal {
    /// Numbers of [`super::unique`] in the order in which they were met.
    numbers: Vec<String>,
    /// Names that the server made up.
    generated: Vec<String>,
}

static UNIQUE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("-{}-([0-9]+)", std::process::id())).unwrap());
static UID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap()
});
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z").unwrap()
});
/// Addresses and ports of Services that nobody chose: those are never drawn from the first few.
static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b10\.96\.[1-9][0-9]*\.[0-9]+\b").unwrap());
const DRAWN_PORTS: std::ops::RangeInclusive<i64> = 30086..=32767;
static QUERY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("(resourceVersion=|continue=)[^&]+").unwrap());
static REVISIONS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(esource version: |bject: |in record \(|ion in precondition \()[0-9]+(, current: [0-9]+| \([0-9]+\))?").unwrap()
});

impl Normal {
    /// Remembers names that the server made up.
    fn learn(&mut self, body: &Value) {
        match body {
            Value::Object(fields) => {
                if let Some(prefix) = fields.get("generateName").and_then(Value::as_str)
                    && let Some(name) = fields.get("name").and_then(Value::as_str)
                    && name.len() > 5
                    && name.is_char_boundary(name.len() - 5)
                    && prefix.starts_with(&name[..name.len() - 5])
                    && !self.generated.iter().any(|known| known == name)
                {
                    self.generated.push(name.to_owned());
                }
                fields.values().for_each(|value| self.learn(value));
            }
            Value::Array(items) => items.iter().for_each(|value| self.learn(value)),
            _ => {}
        }
    }

    fn apply(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.into_iter().map(|item| self.apply(item)).collect(),
            Value::Object(fields) => {
                let kept = fields.into_iter().filter(|(key, _)| key != "managedFields");
                let fields = kept.map(|(key, value)| {
                    let value = match (key.as_str(), value) {
                        ("resourceVersion" | "continue", Value::String(text))
                            if !text.is_empty() =>
                        {
                            json!(format!("<{key}>"))
                        }
                        ("nodePort" | "healthCheckNodePort", Value::Number(port))
                            if port.as_i64().is_some_and(|port| DRAWN_PORTS.contains(&port)) =>
                        {
                            json!(format!("<{key}>"))
                        }
                        (_, value) => self.apply(value),
                    };
                    (self.text(key), value)
                });
                Value::Object(fields.collect())
            }
            other => other,
        }
    }

    fn text(&mut self, text: String) -> String {
        let mut text = text;
        for (index, name) in self.generated.iter().enumerate() {
            if text.contains(name) {
                let prefix = &name[..name.len() - 5];
                text = text.replace(name, &format!("{prefix}<generated {}>", index + 1));
            }
        }
        // Before the names of this run: one can look like a part of it.
        let text = UID.replace_all(&text, "<uid>");
        let numbers = &mut self.numbers;
        let text = UNIQUE.replace_all(&text, |found: &regex::Captures<'_>| {
            let number = &found[1];
            let index = numbers.iter().position(|known| known == number).unwrap_or_else(|| {
                numbers.push(number.to_owned());
                numbers.len() - 1
            });
            format!("-{}", index + 1)
        });
        let text = TIME.replace_all(&text, "<time>");
        let text = ADDRESS.replace_all(&text, "<address>");
        let text = REVISIONS.replace_all(&text, "$1<revision>");
        QUERY.replace_all(&text, "$1<>").into_owned()
    }
}

#[test]
fn chance_is_taken_out_and_nothing_else() {
    let mut normal = Normal::default();
    let pid = std::process::id();
    let body = json!({
        "metadata": {
            "name": "web-abcde", "generateName": "web-", "namespace": format!("n-{pid}-7"),
            "uid": format!("0f0e0d0c-{:04}-4908-8706-050403020100", pid % 10_000),
            "resourceVersion": "17",
            "creationTimestamp": "2024-02-03T04:05:06Z", "managedFields": [{"manager": "m"}],
        },
        "data": {"pods": "web-abcde", "other": format!("m-{pid}-9 n-{pid}-7"), "count": 17},
    });
    normal.learn(&body);
    assert_eq!(
        normal.apply(body),
        json!({
            "metadata": {
                "name": "web-<generated 1>", "generateName": "web-", "namespace": "n-2",
                "uid": "<uid>", "resourceVersion": "<resourceVersion>",
                "creationTimestamp": "<time>",
            },
            "data": {"pods": "web-<generated 1>", "other": "m-1 n-2", "count": 17},
        })
    );
}
