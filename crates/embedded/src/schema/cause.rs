//! One reason why an object is refused, worded as a Kubernetes API server words it.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// An entry of `status.details.causes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Machine-readable class, such as `FieldValueInvalid`.
    pub reason: String,
    /// Path of the field, such as `spec.ports[0].name`.
    pub field: String,
    /// Text for people, without the field.
    pub message: String,
}

/// What the API server prints for a path that has no elements.
pub(crate) const NO_FIELD: &str = "<nil>";

impl Cause {
    fn new(reason: &str, field: impl Into<String>, label: &str, detail: &str) -> Self {
        let message =
            if detail.is_empty() { label.to_owned() } else { format!("{label}: {detail}") };
        Self { reason: reason.to_owned(), field: field.into(), message }
    }

    /// A value that is needed and not there.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueRequired", field, "Required value", detail)
    }

    /// A value that breaks a rule.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new("FieldValueInvalid", field, &format!("Invalid value: {}", shown(value)), detail)
    }

    /// A value that breaks a rule, shown in a form of its own.
    pub(crate) fn shown_invalid(field: impl Into<String>, shown: &str, detail: &str) -> Self {
        Self::new("FieldValueInvalid", field, &format!("Invalid value: {shown}"), detail)
    }

    /// A value of the wrong type.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(
            "FieldValueTypeInvalid",
            field,
            &format!("Invalid value: {}", shown(value)),
            detail,
        )
    }

    /// A value that must be unique and is not.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", field, &format!("Duplicate value: {}", shown(value)), "")
    }

    /// A value that names something that does not exist.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueNotFound", field, &format!("Not found: {}", shown(value)), "")
    }

    /// A value outside of an enumeration.
    pub fn not_supported<S: AsRef<str>>(
        field: impl Into<String>,
        value: &Value,
        supported: &[S],
    ) -> Self {
        let quoted: Vec<String> = supported.iter().map(|one| quote(one.as_ref())).collect();
        let detail = match quoted.is_empty() {
            true => String::new(),
            false => format!("supported values: {}", quoted.join(", ")),
        };
        Self::new(
            "FieldValueNotSupported",
            field,
            &format!("Unsupported value: {}", shown(value)),
            &detail,
        )
    }

    /// A value that is well formed but not allowed here.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, "Forbidden", detail)
    }

    /// A text that is longer than `max` bytes.
    pub fn too_long(field: impl Into<String>, max: i64) -> Self {
        let bytes = if max == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {max} {bytes}");
        Self::new("FieldValueTooLong", field, "Too long", &detail)
    }

    /// A list or map with more than `max` entries.
    pub fn too_many(field: impl Into<String>, actual: usize, max: i64) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::new(
            "FieldValueTooMany",
            field,
            &format!("Too many: {actual}"),
            &format!("must have at most {max} {items}"),
        )
    }

    /// The same cause with `prefix` before its field.
    ///
    /// [`Schema::compile`](super::Schema::compile) names fields from `openAPIV3Schema` on; an API
    /// server puts `spec.validation.` before when all versions of a definition share one schema,
    /// and `spec.versions[i].schema.` otherwise.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.field.insert_str(0, prefix);
        self
    }
}

/// The `message` of the status that carries `causes`: what object is invalid, and why.
///
/// `group` is empty for the core group.
pub fn summary(group: &str, kind: &str, name: &str, causes: &[Cause]) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    let mut text = format!("{kind}{dot}{group} {} is invalid", quote(name));
    let mut seen: Vec<String> = Vec::new();
    for cause in causes {
        let one = format!("{}: {}", cause.field, cause.message);
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    match seen.as_slice() {
        [] => {}
        [one] => {
            let _ = write!(text, ": {one}");
        }
        several => {
            let _ = write!(text, ": [{}]", several.join(", "));
        }
    }
    text
}

/// A value as the API server shows it in a message.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) => show_number(number),
        other => compact_json(other),
    }
}

/// A number as Go prints it: integers plain, others in the shortest `%v` form.
pub(crate) fn show_number(number: &serde_json::Number) -> String {
    match number.as_i64() {
        Some(whole) => whole.to_string(),
        None => show_float(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// A float in Go's `%v` form: exponents below -4 and from 6 on switch to the `e` notation.
pub(crate) fn show_float(value: f64) -> String {
    if !value.is_finite() {
        return match (value.is_nan(), value > 0.0) {
            (true, _) => "NaN".to_owned(),
            (_, true) => "+Inf".to_owned(),
            _ => "-Inf".to_owned(),
        };
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// A text in Go's `%q` form.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x80 => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if (c as u32) < 0x10000 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
        }
    }
    out.push('"');
    out
}

fn is_printable(c: char) -> bool {
    let format_or_private = matches!(c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}'
        | '\u{e0000}'..='\u{10ffff}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || format_or_private)
}

/// Compact JSON with sorted keys, with the escapes that Go writes.
pub(crate) fn compact_json(value: &Value) -> String {
    let mut text = String::new();
    compact(value, &mut text);
    text
}

fn compact(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => {
                let _ = write!(out, "{whole}");
            }
            None => compact_float(number.as_f64().unwrap_or(0.0), out),
        },
        Value::String(text) => compact_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                compact(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                compact_text(key, out);
                out.push(':');
                compact(item, out);
            }
            out.push('}');
        }
    }
}

fn compact_float(value: f64, out: &mut String) {
    if value == 0.0 || (1e-6..1e21).contains(&value.abs()) {
        let _ = write!(out, "{value}");
    } else if let Some((mantissa, exponent)) = format!("{value:e}").split_once('e') {
        let sign = if exponent.starts_with('-') { "" } else { "+" };
        let _ = write!(out, "{mantissa}e{sign}{exponent}");
    }
}

fn compact_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!("a\"b\n\u{1}é\u{a0}"), r#""a\"b\n\x01é\u00a0""#)]
    #[case(json!(5), "5")]
    #[case(json!(-7.5), "-7.5")]
    #[case(json!(1_234_567.25), "1.23456725e+06")]
    #[case(json!(123_456.5), "123456.5")]
    #[case(json!([1e21, 1e20, 1e-7, 100.0, 0.5]), "[1e+21,100000000000000000000,1e-7,100,0.5]")]
    #[case(json!(0.00001), "1e-05")]
    #[case(json!(true), "true")]
    #[case(json!(null), "null")]
    #[case(json!({"b": ["<x>", 1.5], "a": null}), r#"{"a":null,"b":["\u003cx\u003e",1.5]}"#)]
    fn values_are_shown_as_go_shows_them(#[case] value: Value, #[case] text: &str) {
        assert_eq!(shown(&value), text);
    }

    #[rstest]
    #[case(Cause::required("spec", ""), "Required value")]
    #[case(Cause::required("spec", "must be set"), "Required value: must be set")]
    #[case(Cause::invalid("spec", &json!("x"), "no"), r#"Invalid value: "x": no"#)]
    #[case(Cause::type_invalid("spec", &json!(1), "no"), "Invalid value: 1: no")]
    #[case(Cause::duplicate("spec", &json!({"k": 1})), r#"Duplicate value: {"k":1}"#)]
    #[case(Cause::not_supported("spec", &json!("x"), &["a", "b"]), r#"Unsupported value: "x": supported values: "a", "b""#)]
    #[case(Cause::forbidden("spec", "no"), "Forbidden: no")]
    #[case(Cause::too_long("spec", 3), "Too long: may not be more than 3 bytes")]
    #[case(Cause::too_long("spec", 1), "Too long: may not be more than 1 byte")]
    #[case(Cause::too_many("spec", 3, 2), "Too many: 3: must have at most 2 items")]
    fn messages(#[case] cause: Cause, #[case] message: &str) {
        assert_eq!(cause.message, message);
    }

    #[test]
    fn one_cause_is_plain_several_are_a_list_without_repeats() {
        let one = Cause::required("spec.a", "");
        let two = Cause::forbidden("spec.b", "no");
        assert_eq!(summary("", "Pod", "x", &[]), r#"Pod "x" is invalid"#);
        assert_eq!(
            summary("", "Pod", "x", std::slice::from_ref(&one)),
            r#"Pod "x" is invalid: spec.a: Required value"#
        );
        assert_eq!(
            summary("k.org", "W", "x", &[one.clone(), two, one]),
            r#"W.k.org "x" is invalid: [spec.a: Required value, spec.b: Forbidden: no]"#
        );
    }
}
