//! The paths of printer columns: the simple part of the dialect of JSONPath that `kubectl` and
//! definitions speak. It is older than RFC 9535 and differs in how names are written (`.a\.b`).

use serde_json::{Number, Value};

/// A path that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    /// All members or items.
    All,
    /// Items from one to before another, counted from the end if negative.
    Items(Option<i64>, Option<i64>),
    /// Items of which something is true.
    Where(Operand, Option<(Comparison, Operand)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path such as `.status.conditions[?(@.type=="Ready")].status`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().trim_start_matches(['$', '@']);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let (step, after) = member(after)?;
                steps.push(step);
                rest = after;
            } else {
                let (inside, after) = bracket(rest)?;
                steps.push(selection(inside)?);
                rest = after;
            }
        }
        Some(Self(steps))
    }

    /// The first value that the path finds.
    pub(crate) fn first<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.select(value)).collect();
        }
        found.first().copied()
    }
}

impl Step {
    fn select<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Member(name), Value::Object(members)) => members.get(name).into_iter().collect(),
            (Self::All, Value::Object(members)) => members.values().collect(),
            (Self::All, Value::Array(items)) => items.iter().collect(),
            (Self::Items(start, end), Value::Array(items)) => {
                let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let place = |at: i64| {
                    let at = if at < 0 { at.saturating_add(count) } else { at };
                    usize::try_from(at.clamp(0, count)).unwrap_or(0)
                };
                let (start, end) = (start.map_or(0, place), end.map_or(items.len(), place));
                items.get(start..end).unwrap_or_default().iter().collect()
            }
            (Self::Where(left, test), Value::Array(items)) => {
                items.iter().filter(|item| holds(left, test.as_ref(), item)).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn holds(left: &Operand, test: Option<&(Comparison, Operand)>, item: &Value) -> bool {
    let Some(left) = left.value(item) else { return false };
    let Some((comparison, right)) = test else { return true };
    right.value(item).is_some_and(|right| comparison.holds(left, right))
}

impl Operand {
    fn value<'a>(&'a self, item: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Path(path) => path.first(item),
            Self::Literal(value) => Some(value),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.starts_with(['@', '$']) {
            return JsonPath::parse(text).map(Self::Path);
        }
        for quote in ['"', '\''] {
            if let Some(inside) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote))
            {
                return Some(Self::Literal(inside.into()));
            }
        }
        match serde_json::from_str(text) {
            Ok(value @ (Value::Bool(_) | Value::Number(_))) => Some(Self::Literal(value)),
            _ => None,
        }
    }
}

impl Comparison {
    const SIGNS: [(&'static str, Self); 6] = [
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            (Value::Number(left), Value::Number(right)) => {
                let (left, right) = (Number::as_f64(left), Number::as_f64(right));
                left.zip(right).and_then(|(left, right)| left.partial_cmp(&right))
            }
            _ => None,
        };
        let Some(order) = order else { return false };
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// What is after a dot: `*`, or a name in which a backslash takes any character as it is.
fn member(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix('*') {
        return Some((Step::All, rest));
    }
    let mut name = String::new();
    let mut characters = text.char_indices();
    let mut end = text.len();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.push(characters.next()?.1),
            '.' | '[' => {
                end = at;
                break;
            }
            ']' | '{' | '}' | '"' | '\'' | '(' | ')' | ' ' | '=' | '<' | '>' | '!' => return None,
            other => name.push(other),
        }
    }
    if name.is_empty() {
        return None;
    }
    Some((Step::Member(name), text.get(end..)?))
}

/// The inside of the brackets that a text begins with, and what follows them.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('[')?;
    let (mut depth, mut quote) = (1, None);
    for (at, character) in inside.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
        if depth == 0 {
            return Some((inside.get(..at)?, inside.get(at + 1..)?));
        }
    }
    None
}

fn selection(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(test) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        let sign = |at: usize| {
            let rest = test.get(at..)?;
            Comparison::SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign))
        };
        let found = test.char_indices().find_map(|(at, _)| Some((at, sign(at)?)));
        let Some((at, (sign, comparison))) = found else {
            return Some(Step::Where(Operand::parse(test)?, None));
        };
        let (left, right) = (test.get(..at)?, test.get(at + sign.len()..)?);
        let right = Operand::parse(right)?;
        return Some(Step::Where(Operand::parse(left)?, Some((comparison, right))));
    }
    if let Some(Operand::Literal(Value::String(name))) = Operand::parse(text) {
        return Some(Step::Member(name));
    }
    let number = |text: &str| -> Option<Option<i64>> {
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    };
    match text.split_once(':') {
        Some((start, end)) => Some(Step::Items(number(start)?, number(end)?)),
        None => {
            let at: i64 = text.parse().ok()?;
            let end = if at == -1 { None } else { Some(at.checked_add(1)?) };
            Some(Step::Items(Some(at), end))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(".spec.paused", json!(false))]
    #[case("$.spec.paused", json!(false))]
    #[case(".metadata.labels.app\\.kubernetes\\.io/name", json!("box"))]
    #[case(".metadata.labels['app.kubernetes.io/name']", json!("box"))]
    #[case(".metadata.labels[\"app.kubernetes.io/name\"]", json!("box"))]
    #[case(".status.conditions[?(@.type==\"Ready\")].status", json!("True"))]
    #[case(".status.conditions[?(@.type == 'Ready')].status", json!("True"))]
    #[case(".status.conditions[?(@.type!=\"Ready\")].status", json!("Unknown"))]
    #[case(".status.conditions[?(@.status)].type", json!("Synced"))]
    #[case(".spec.ports[0]", json!(80))]
    #[case(".spec.ports[-1]", json!(443))]
    #[case(".spec.ports[1:]", json!(443))]
    #[case(".spec.ports[*]", json!(80))]
    #[case(".spec.ports[?(@ > 100)]", json!(443))]
    #[case(".spec.*", json!(false))]
    #[case(".spec.none", Value::Null)]
    #[case(".spec.ports[7]", Value::Null)]
    #[case(".spec.ports.name", Value::Null)]
    fn paths_find_values(#[case] path: &str, #[case] found: Value) {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "box"}},
            "spec": {"paused": false, "ports": [80, 443]},
            "status": {"conditions": [
                {"type": "Synced", "status": "Unknown"},
                {"type": "Ready", "status": "True"},
            ]},
        });
        let path = JsonPath::parse(path).unwrap();
        assert_eq!(path.first(&object).cloned().unwrap_or_default(), found);
    }

    #[rstest]
    #[case(".")]
    #[case("..a")]
    #[case("spec")]
    #[case(".a[")]
    #[case(".a[]")]
    #[case(".a[b]")]
    #[case(".a[?(@.b=)]")]
    #[case(".a[?(@.b==\"c)]")]
    #[case(".a]")]
    #[case(".a\\")]
    #[case(".a[9223372036854775807]")]
    fn what_is_no_simple_path_is_refused(#[case] path: &str) {
        assert_eq!(JsonPath::parse(path), None);
    }
}
