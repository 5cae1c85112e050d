//! Field names of the file: they match in any case, unknown ones are ignored with a warning.

use serde_json::{Map, Value};

/// The fields of one level, with the fields of the levels below.
#[derive(Debug)]
pub(super) struct Names(pub(super) &'static [(&'static str, Below)]);

/// What lies below a field.
#[derive(Debug)]
pub(super) enum Below {
    /// Nothing that has field names.
    Leaf,
    /// One object.
    One(&'static Names),
    /// A list of objects.
    List(&'static Names),
    /// Objects by names of the user's own.
    Map(&'static Names),
}

/// Gives all fields their own spelling and takes unknown and null ones out. The warnings name what
/// was taken.
pub(super) fn fold(value: &mut Value, names: &Names, at: &str, warnings: &mut Vec<String>) {
    let Value::Object(object) = value else { return };
    let mut folded = Map::new();
    for (key, mut value) in std::mem::take(object) {
        if value.is_null() {
            continue;
        }
        let known = names.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key));
        let Some((name, below)) = known else {
            let hint = closest(&key, names)
                .map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"));
            warnings.push(format!("unknown field \"{at}{key}\"{hint}"));
            continue;
        };
        match below {
            Below::Leaf => {}
            Below::One(names) => fold(&mut value, names, &format!("{at}{name}."), warnings),
            Below::Map(names) => {
                for (key, item) in value.as_object_mut().into_iter().flatten() {
                    fold(item, names, &format!("{at}{name}.{key}."), warnings);
                }
            }
            Below::List(names) => {
                for (index, item) in value.as_array_mut().into_iter().flatten().enumerate() {
                    fold(item, names, &format!("{at}{name}[{index}]."), warnings);
                }
            }
        }
        folded.insert((*name).to_owned(), value);
    }
    *object = folded;
}

/// The field that a misspelt one was meant to be.
fn closest(key: &str, names: &Names) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let best = names
        .0
        .iter()
        .map(|(name, _)| (distance(&key, &name.to_ascii_lowercase()), *name))
        .min()?;
    (best.0 <= 2).then_some(best.1)
}

/// The number of single edits between two words; long ones are not compared.
fn distance(a: &str, b: &str) -> usize {
    if a.len().max(b.len()) > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_folded_and_strangers_leave() {
        static INNER: Names = Names(&[("keyPath", Below::Leaf)]);
        static OUTER: Names = Names(&[("api", Below::Leaf), ("endpoints", Below::List(&INNER))]);
        let mut value = json!({"API": 1, "nothing": null, "colour": 2,
            "endpoints": [{"KeyPath": "a"}, {"keypaht": "b"}, 3]});
        let mut warnings = Vec::new();
        fold(&mut value, &OUTER, "", &mut warnings);
        assert_eq!(value, json!({"api": 1, "endpoints": [{"keyPath": "a"}, {}, 3]}));
        warnings.sort();
        assert_eq!(
            warnings,
            [
                "unknown field \"colour\"",
                "unknown field \"endpoints[1].keypaht\"; did you mean \"keyPath\"?"
            ]
        );
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("ab", "ab"), 0);
    }
}
