//! What expressions work on: JSON as it came, and what is made of it.

use std::{borrow::Cow, cmp::Ordering, rc::Rc};

use serde_json::Value;

/// One value. Lists and objects of the input are not copied.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'a, str>),
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<Vec<(Val<'a>, Val<'a>)>>),
    /// An array.
    Array(&'a [Value]),
    /// An object.
    Object(&'a serde_json::Map<String, Value>),
}

impl<'a> Val<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::Int(number),
                (None, Some(number)) => Self::Uint(number),
                (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(list) => Self::Array(list),
            Value::Object(object) => Self::Object(object),
        }
    }

    /// The value as JSON, if JSON has it.
    pub(super) fn to_json(&self) -> Option<Value> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => serde_json::Number::from_f64(*value)?.into(),
            Self::Text(text) => text.as_ref().into(),
            Self::List(list) => list.iter().map(Self::to_json).collect::<Option<Vec<_>>>()?.into(),
            Self::Array(list) => list.to_vec().into(),
            Self::Object(object) => (*object).clone().into(),
            Self::Map(entries) => {
                let mut object = serde_json::Map::new();
                for (key, value) in entries.iter() {
                    let Self::Text(key) = key else { return None };
                    object.insert(key.to_string(), value.to_json()?);
                }
                object.into()
            }
        })
    }

    /// The field of this name.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Object(object) => object.get(name).map(Self::of),
            Self::Map(entries) => {
                let found =
                    entries.iter().find(|(key, _)| matches!(key, Self::Text(key) if key == name));
                found.map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// The element at an index or a key.
    pub(super) fn at(&self, index: &Self) -> Option<Self> {
        let place = || match index {
            Self::Int(index) => usize::try_from(*index).ok(),
            Self::Uint(index) => usize::try_from(*index).ok(),
            _ => None,
        };
        match (self, index) {
            (Self::Array(list), _) => list.get(place()?).map(Self::of),
            (Self::List(list), _) => list.get(place()?).cloned(),
            (Self::Object(_) | Self::Map(_), Self::Text(name)) => self.field(name),
            (Self::Map(entries), key) => {
                entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// How many elements or characters it has.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.chars().count()),
            Self::Array(list) => Some(list.len()),
            Self::List(list) => Some(list.len()),
            Self::Object(object) => Some(object.len()),
            Self::Map(entries) => Some(entries.len()),
            _ => None,
        }
    }

    /// What a loop goes over: elements, or keys.
    pub(super) fn elements(&self) -> Option<Vec<Self>> {
        match self {
            Self::Array(list) => Some(list.iter().map(Self::of).collect()),
            Self::List(list) => Some(list.to_vec()),
            Self::Object(object) => {
                Some(object.keys().map(|key| Self::Text(Cow::Borrowed(key))).collect())
            }
            Self::Map(entries) => Some(entries.iter().map(|(key, _)| key.clone()).collect()),
            _ => None,
        }
    }

    /// What comparing it may cost.
    pub(super) fn weight(&self) -> u64 {
        fn of(value: &Value) -> u64 {
            match value {
                Value::String(text) => text_weight(text),
                Value::Array(list) => 1 + list.iter().map(of).sum::<u64>(),
                Value::Object(object) => {
                    1 + object.iter().map(|(key, value)| text_weight(key) + of(value)).sum::<u64>()
                }
                _ => 1,
            }
        }
        match self {
            Self::Text(text) => text_weight(text),
            Self::Array(list) => 1 + list.iter().map(of).sum::<u64>(),
            Self::Object(object) => {
                1 + object.iter().map(|(key, value)| text_weight(key) + of(value)).sum::<u64>()
            }
            Self::List(list) => 1 + list.iter().map(Self::weight).sum::<u64>(),
            Self::Map(entries) => {
                1 + entries.iter().map(|(key, value)| key.weight() + value.weight()).sum::<u64>()
            }
            _ => 1,
        }
    }

    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(two)) => one == two,
            (Self::Text(one), Self::Text(two)) => one == two,
            (Self::Object(_) | Self::Map(_), Self::Object(_) | Self::Map(_)) => {
                let keys = self.elements().unwrap_or_default();
                self.size() == other.size()
                    && keys.iter().all(|key| match (self.at(key), other.at(key)) {
                        (Some(one), Some(two)) => one.equals(&two),
                        _ => false,
                    })
            }
            (Self::Array(_) | Self::List(_), Self::Array(_) | Self::List(_)) => {
                let (one, two) =
                    (self.elements().unwrap_or_default(), other.elements().unwrap_or_default());
                one.len() == two.len() && one.iter().zip(&two).all(|(one, two)| one.equals(two))
            }
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// The order of numbers, texts and truths.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Self::Bool(two)) => Some(one.cmp(two)),
            (Self::Text(one), Self::Text(two)) => Some(one.cmp(two)),
            (Self::Double(one), Self::Double(two)) => one.partial_cmp(two),
            (Self::Double(one), two) => one.partial_cmp(&two.double()?),
            (one, Self::Double(two)) => one.double()?.partial_cmp(two),
            (one, two) => Some(one.integer()?.cmp(&two.integer()?)),
        }
    }

    /// An integer of either sign.
    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some((*number).into()),
            Self::Uint(number) => Some((*number).into()),
            _ => None,
        }
    }

    pub(super) fn double(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "as every mixed comparison does")]
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Uint(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }
}

fn text_weight(text: &str) -> u64 {
    1 + u64::try_from(text.len() / 10).unwrap_or(u64::MAX)
}
