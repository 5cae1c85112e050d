//! Label and field selectors.

use serde_json::{Map, Value};

use crate::store::Entry;

/// A label selector: all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text };
        let mut requirements = Vec::new();
        while !parser.at_end() {
            if !matches!(parser.peek(), Token::Word(_) | Token::Not) {
                let found = parser.token();
                return Err(format!(
                    "found '{}', expected: !, identifier, or 'end of string'",
                    found.text()
                ));
            }
            let requirement = parser.requirement();
            requirements.push(
                requirement.map_err(|problem| format!("unable to parse requirement: {problem}"))?,
            );
            match parser.token() {
                Token::Comma if parser.at_end() => {
                    return Err("found '', expected: identifier after ','".into());
                }
                Token::Comma | Token::End => {}
                other => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
        Ok(Self(requirements))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels, sorted by key, fit.
    pub(crate) fn matches(&self, labels: &[(Box<str>, Box<str>)]) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels
                .binary_search_by(|(key, _)| (**key).cmp(&requirement.key))
                .ok()
                .and_then(|at| labels.get(at))
                .map(|(_, value)| &**value);
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.operator {
                Operator::In(values) => {
                    value.is_some_and(|value| values.iter().any(|one| one == value))
                }
                Operator::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|one| one != value))
                }
                Operator::Exists => value.is_some(),
                Operator::Missing => value.is_none(),
                Operator::Greater(bound) => number().is_some_and(|number| number > *bound),
                Operator::Less(bound) => number().is_some_and(|number| number < *bound),
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Equals,
    NotEquals,
    Greater,
    Less,
    Open,
    Close,
    Comma,
    Not,
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Equals => "=",
            Self::NotEquals => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Not => "!",
            Self::End => "",
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty()
    }

    fn token(&mut self) -> Token<'a> {
        if self.at_end() {
            return Token::End;
        }
        let symbols = [
            ("==", Token::Equals),
            ("!=", Token::NotEquals),
            ("=", Token::Equals),
            ("!", Token::Not),
            (">", Token::Greater),
            ("<", Token::Less),
            ("(", Token::Open),
            (")", Token::Close),
            (",", Token::Comma),
        ];
        for (symbol, token) in symbols {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                self.rest = rest;
                return token;
            }
        }
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "=!<>(),".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Token::Word(word)
    }

    fn peek(&mut self) -> Token<'a> {
        let saved = self.rest;
        let token = self.token();
        self.rest = saved;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (key, negated) = match self.token() {
            Token::Word(key) => (key, false),
            Token::Not => match self.token() {
                Token::Word(key) => (key, true),
                other => {
                    let found = other.text();
                    return Err(format!("found '{found}', expected: identifier"));
                }
            },
            other => {
                let found = other.text();
                return Err(format!(
                    "found '{found}', expected: !, identifier, or 'end of string'"
                ));
            }
        };
        if let Some(problem) = crate::schema::names::qualified_name(key).into_iter().next() {
            return Err(format!("<nil>: Invalid value: {key:?}: {problem}"));
        }
        let operator = if negated {
            Operator::Missing
        } else {
            match self.peek() {
                Token::Comma | Token::End => Operator::Exists,
                _ => self.operator(key)?,
            }
        };
        Ok(Requirement { key: key.to_owned(), operator })
    }

    fn operator(&mut self, key: &str) -> Result<Operator, String> {
        match self.token() {
            Token::Equals => Ok(Operator::In(vec![self.value(key)?])),
            Token::NotEquals => Ok(Operator::NotIn(vec![self.value(key)?])),
            Token::Greater => Ok(Operator::Greater(self.bound(key)?)),
            Token::Less => Ok(Operator::Less(self.bound(key)?)),
            Token::Word("in") => Ok(Operator::In(self.values(key)?)),
            Token::Word("notin") => Ok(Operator::NotIn(self.values(key)?)),
            other => {
                Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text()))
            }
        }
    }

    fn checked(key: &str, value: &str) -> Result<String, String> {
        match crate::schema::names::label_value(value).into_iter().next() {
            None => Ok(value.to_owned()),
            Some(problem) => Err(format!("values[0][{key}]: Invalid value: {value:?}: {problem}")),
        }
    }

    fn value(&mut self, key: &str) -> Result<String, String> {
        match self.peek() {
            Token::Comma | Token::End => Ok(String::new()),
            Token::Word(value) => {
                self.token();
                Self::checked(key, value)
            }
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn bound(&mut self, key: &str) -> Result<i64, String> {
        let value = self.value(key)?;
        value.parse().map_err(|_| {
            format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }

    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        match self.token() {
            Token::Open => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = Vec::new();
        // A comma with nothing before or after it stands for the empty value.
        let mut after_value = false;
        loop {
            match self.token() {
                Token::Word(value) if !after_value => {
                    values.push(Self::checked(key, value)?);
                    after_value = true;
                }
                Token::Comma => {
                    if !after_value {
                        values.push(String::new());
                    }
                    after_value = false;
                }
                Token::Close => {
                    if !after_value {
                        values.push(String::new());
                    }
                    return Ok(values);
                }
                other if after_value => {
                    return Err(format!("found '{}', expected: ',' or ')'", other.text()));
                }
                other => {
                    return Err(format!("found '{}', expected: ',', or identifier", other.text()));
                }
            }
        }
    }
}

/// A field selector: all terms must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Reads `a=b,c!=d`; `\` escapes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let invalid = || format!("invalid selector: '{text}'; can't understand '{part}'");
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==") {
                (field, true, value)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, true, value)
            } else {
                return Err(invalid());
            };
            let value = unescape(value).map_err(|why| format!("invalid field selector: {why}"))?;
            terms.push(Term { field: field.to_owned(), value, equal });
        }
        Ok(Self(terms))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one value that a field must have, if the selector demands one.
    pub(crate) fn exact(&self, field: &str) -> Option<&str> {
        let term = self.0.iter().find(|term| term.field == field && term.equal)?;
        Some(&term.value)
    }

    /// The fields that are asked about.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|term| term.field.as_str())
    }

    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let object = entry.object();
        self.0.iter().all(|term| (field(&object, &term.field) == term.value) == term.equal)
    }
}

/// What a field selector compares: the text of a value, empty if there is none.
fn field(object: &Map<String, Value>, path: &str) -> String {
    let mut names = path.split('.');
    let first = names.next().and_then(|name| object.get(name));
    let value = names.fold(first, |value, name| value?.get(name));
    match value {
        None | Some(Value::Null) => default_of(object, path).to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Fields whose absence means something.
fn default_of(object: &Map<String, Value>, path: &str) -> &'static str {
    match (object.get("kind").and_then(Value::as_str), path) {
        (Some("Node"), "spec.unschedulable") | (Some("Pod"), "spec.hostNetwork") => "false",
        (Some("Job"), "status.successful") => "0",
        _ => "",
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn unescape(value: &str) -> Result<String, String> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => text.push(c),
                other => {
                    let shown = other.map(String::from).unwrap_or_default();
                    return Err(format!("invalid escape sequence: \\{shown}"));
                }
            },
            '=' | ',' => return Err(format!("unescaped character in value: {}", c as u32)),
            c => text.push(c),
        }
    }
    Ok(text)
}

/// The fields of a resource that a selector may ask about, beside name and namespace.
pub(crate) fn selectable(table: &str) -> &'static [&'static str] {
    match table {
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "namespaces" => &["status.phase", "name"],
        "nodes" => &["spec.unschedulable"],
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "secrets" => &["type"],
        "services" => &["spec.clusterIP", "spec.type"],
        "jobs.batch" => &["status.successful"],
        "persistentvolumes" => &["name"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(Box<str>, Box<str>)> {
        let mut labels: Vec<_> =
            pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect();
        labels.sort();
        labels
    }

    #[rstest]
    #[case("", true)]
    #[case("app=web", true)]
    #[case("app==web", true)]
    #[case("app=db", false)]
    #[case("app!=db", true)]
    #[case("missing!=db", true)]
    #[case("app in (web, db)", true)]
    #[case("app notin (web)", false)]
    #[case("missing notin (web)", true)]
    #[case("app", true)]
    #[case("!app", false)]
    #[case("!missing", true)]
    #[case("n>1,n<3", true)]
    #[case("n>2", false)]
    #[case("empty=", true)]
    #[case("app=web,example.com/x in (y)", true)]
    #[case("app=web , !missing", true)]
    #[case("empty in (,a)", true)]
    fn label_selectors(#[case] text: &str, #[case] expected: bool) {
        let labels = labels(&[("app", "web"), ("n", "2"), ("empty", ""), ("example.com/x", "y")]);
        let selector = LabelSelector::parse(text).unwrap();
        assert_eq!(selector.matches(&labels), expected, "{text}");
    }

    #[rstest]
    #[case("=a")]
    #[case("a in b")]
    #[case("a in (b")]
    #[case("a,")]
    #[case(",")]
    #[case("a b")]
    #[case("a>x")]
    #[case("a=b=c")]
    #[case("-a")]
    #[case("a=-")]
    fn bad_label_selectors(#[case] text: &str) {
        assert!(LabelSelector::parse(text).is_err(), "{text}");
    }

    #[test]
    fn field_selectors_escape() {
        let selector = FieldSelector::parse(r"a.b=x\,y\=z,c!=d").unwrap();
        assert_eq!(selector.fields().collect::<Vec<_>>(), ["a.b", "c"]);
        assert_eq!(selector.0[0].value, "x,y=z");
        assert!(FieldSelector::parse("a").is_err());
        assert!(FieldSelector::parse(r"a=\x").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = LabelSelector::parse(&text);
            let _ = FieldSelector::parse(&text);
        }

        #[test]
        fn in_is_the_opposite_of_notin(
            values in proptest::collection::vec("[a-c]{1,2}", 1..4),
            value in "[a-c]{1,2}",
        ) {
            let list = values.join(",");
            let labels = labels(&[("k", &value)]);
            let matches = |operator: &str| {
                LabelSelector::parse(&format!("k {operator} ({list})")).unwrap().matches(&labels)
            };
            prop_assert_eq!(matches("in"), values.contains(&value));
            prop_assert_ne!(matches("in"), matches("notin"));
        }

        #[test]
        fn terms_are_a_conjunction(one in "[a-b]", other in "[a-b]", value in "[a-b]") {
            let labels = labels(&[("k", &value)]);
            let matches = |text: &str| LabelSelector::parse(text).unwrap().matches(&labels);
            prop_assert_eq!(
                matches(&format!("k={one},k={other}")),
                matches(&format!("k={one}")) && matches(&format!("k={other}"))
            );
        }
    }
}
