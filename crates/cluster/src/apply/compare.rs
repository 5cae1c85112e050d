//! Telling whether what an API server gives back still is what was written.

use serde_json::{Number, Value};

/// A short hash of the JSON; equal objects have equal hashes, whatever the order of their keys.
pub fn hash(value: &Value) -> String {
    // FNV-1a: this guards against needless writes, not against anybody.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    feed(value, &mut |byte| {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    });
    format!("{hash:016x}")
}

fn feed(value: &Value, eat: &mut impl FnMut(u8)) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort_unstable();
            eat(b'{');
            for key in keys {
                feed_text(key, eat);
                feed(&map[key], eat);
            }
            eat(b'}');
        }
        Value::Array(items) => {
            eat(b'[');
            items.iter().for_each(|item| feed(item, eat));
            eat(b']');
        }
        Value::String(text) => feed_text(text, eat),
        other => other.to_string().bytes().for_each(eat),
    }
}

fn feed_text(text: &str, eat: &mut impl FnMut(u8)) {
    eat(b'"');
    text.bytes().for_each(&mut *eat);
    // Never part of UTF-8, so no text can look like two.
    eat(0xff);
}

/// Whether `live` has everything that `wanted` says: fields that only `live` has are defaults or
/// the business of others; lists must have the same length; quantities may be worded differently.
pub fn covers(live: &Value, wanted: &Value) -> bool {
    covers_at(live, wanted, false)
}

fn covers_at(live: &Value, wanted: &Value, quantities: bool) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            let quantities =
                matches!(key.as_str(), "limits" | "requests" | "sizeLimit" | "divisor")
                    || quantities;
            covers_at(live.get(key).unwrap_or(&Value::Null), wanted, quantities)
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live.iter().zip(wanted).all(|(live, wanted)| covers_at(live, wanted, quantities))
        }
        (live, wanted) if live == wanted => true,
        (Value::Null, wanted) => is_nothing(wanted),
        (live, wanted) if quantities => match (quantity(live), quantity(wanted)) {
            (Some(live), Some(wanted)) => live == wanted,
            _ => false,
        },
        _ => false,
    }
}

/// Values that API servers leave out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
    }
}

/// A quantity in billionths; none if it is not one or too large to compare exactly.
fn quantity(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => parse_quantity(&Number::to_string(number)),
        Value::String(text) => parse_quantity(text),
        _ => None,
    }
}

/// A Kubernetes quantity in billionths, rounded up as API servers do.
pub(crate) fn parse_quantity(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mantissa: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let mantissa = mantissa.checked_mul(scale)?.checked_add(fraction)?;
    let (up, down) = factor(suffix)?;
    let down = down.checked_mul(scale)?;
    let nanos = mantissa.checked_mul(up)?.checked_mul(1_000_000_000)?;
    Some(sign * (nanos + down - 1).div_euclid(down))
}

fn factor(suffix: &str) -> Option<(i128, i128)> {
    let decimal = |power: u32| 10_i128.checked_pow(power);
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, decimal(9)?),
        "u" => (1, decimal(6)?),
        "m" => (1, decimal(3)?),
        "k" => (decimal(3)?, 1),
        "M" => (decimal(6)?, 1),
        "G" => (decimal(9)?, 1),
        "T" => (decimal(12)?, 1),
        "P" => (decimal(15)?, 1),
        "E" => (decimal(18)?, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = decimal(power.unsigned_abs())?;
            if power < 0 { (1, factor) } else { (factor, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_the_server_do_not_count() {
        let wanted = json!({
            "replicas": 1, "volumes": [], "paused": false,
            "containers": [{"name": "main", "ports": [{"containerPort": 80}]}],
        });
        let live = json!({
            "replicas": 1, "revisionHistoryLimit": 10,
            "containers": [{
                "name": "main", "terminationMessagePath": "/dev/x",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
            }],
        });
        assert!(covers(&live, &wanted));
        assert!(!covers(&wanted, &live));
    }

    #[test]
    fn changes_count() {
        let wanted = json!({"replicas": 1, "containers": [{"name": "main"}]});
        for live in [
            json!({"replicas": 0, "containers": [{"name": "main"}]}),
            json!({"containers": [{"name": "main"}]}),
            json!({"replicas": 1, "containers": [{"name": "main"}, {"name": "side"}]}),
            json!({"replicas": 1, "containers": []}),
            json!({"replicas": "1", "containers": [{"name": "main"}]}),
        ] {
            assert!(!covers(&live, &wanted), "{live}");
        }
    }

    #[test]
    fn quantities_may_be_worded_differently() {
        for (live, wanted) in [
            (json!("1"), json!("1000m")),
            (json!("1"), json!(1)),
            (json!("1Mi"), json!("1024Ki")),
            (json!("500m"), json!(0.5)),
            (json!("2k"), json!("2e3")),
            (json!("0"), json!("0m")),
        ] {
            let at = |value: &Value| json!({"resources": {"requests": {"cpu": value}}});
            assert!(covers(&at(&live), &at(&wanted)), "{live} {wanted}");
        }
        let at = |value| json!({"env": [{"value": value}]});
        assert!(!covers(&at("1"), &at("1000m")), "elsewhere they are texts");
    }

    #[test]
    fn bad_quantities_are_none() {
        for text in ["", "m", "1.2.3", "1x", "1e99999", "--1", &"9".repeat(60)] {
            assert_eq!(parse_quantity(text), None, "{text}");
        }
    }

    #[test]
    fn hashes_do_not_depend_on_order_and_differ() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":["x","y"]}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":["x","y"],"a":1}"#).unwrap();
        assert_eq!(hash(&one), hash(&two));
        assert_ne!(hash(&json!(["ab", "c"])), hash(&json!(["a", "bc"])));
        assert_ne!(hash(&json!({"a": 1})), hash(&json!({"a": "1"})));
    }
}
