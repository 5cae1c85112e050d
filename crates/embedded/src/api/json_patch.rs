//! JSON patches as the API server applies them: what the patch leaves out is empty, and `replace`
//! of a member that is missing adds it.

use serde_json::{Map, Value};

use super::metadata::type_name;

/// One step of a patch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operation {
    op: String,
    path: String,
    from: String,
    value: Value,
}

/// Reads a patch; the second list names fields that no operation has. The error is in Go's words.
pub(crate) fn parse(patch: &Value) -> Result<(Vec<Operation>, Vec<String>), String> {
    const NAMES: [&str; 4] = ["op", "path", "from", "value"];
    let refusal = |found: &Value, wanted: &str| {
        format!("json: cannot unmarshal {} into Go {wanted}", type_name(found))
    };
    let items = match patch {
        Value::Null => return Ok(Default::default()),
        Value::Array(items) => items,
        other => return Err(refusal(other, "value of type []handlers.jsonPatchOp")),
    };
    let (mut operations, mut doubts) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let members = match item {
            Value::Object(members) => members,
            Value::Null => {
                operations.push(Operation::default());
                continue;
            }
            other => return Err(refusal(other, "value of type handlers.jsonPatchOp")),
        };
        let unknown = members.keys().filter(|name| !NAMES.contains(&name.as_str()));
        doubts.extend(unknown.map(|name| format!("json patch unknown field \"[{index}].{name}\"")));
        let text = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => {
                Err(refusal(other, &format!("struct field jsonPatchOp.{name} of type string")))
            }
        };
        operations.push(Operation {
            op: text("op")?,
            path: text("path")?,
            from: text("from")?,
            value: members.get("value").cloned().unwrap_or(Value::Null),
        });
    }
    Ok((operations, doubts))
}

/// What an operation does not fit.
#[derive(Debug)]
pub(crate) struct Rejected;

/// Applies operations in their order.
pub(crate) fn apply(value: &mut Value, operations: &[Operation]) -> Result<(), Rejected> {
    operations.iter().try_for_each(|operation| step(value, operation))
}

fn step(document: &mut Value, operation: &Operation) -> Result<(), Rejected> {
    let Operation { op, path, from, value } = operation;
    match op.as_str() {
        "add" => add(document, path, value.clone()),
        "remove" => remove(document, path).map(drop),
        "replace" if path.is_empty() => {
            // Only an object or a list can be a whole document.
            if value.is_object() || value.is_array() {
                *document = value.clone();
            }
            Ok(())
        }
        "replace" => {
            get(document, path)?;
            let (parent, last) = parent_of(document, path)?;
            match parent {
                Parent::Object(members) => {
                    members.insert(last, value.clone());
                }
                Parent::Array(items) => {
                    *items.get_mut(index(&last)?).ok_or(Rejected)? = value.clone()
                }
            }
            Ok(())
        }
        "move" => {
            let moved = remove(document, from)?;
            add(document, path, moved)
        }
        "copy" => {
            let copied = get(document, from)?;
            add(document, path, copied)
        }
        "test" => {
            if get(document, path)? == *value {
                Ok(())
            } else {
                Err(Rejected)
            }
        }
        _ => Err(Rejected),
    }
}

enum Parent<'a> {
    Object(&'a mut Map<String, Value>),
    Array(&'a mut Vec<Value>),
}

fn names(path: &str) -> Result<Vec<String>, Rejected> {
    let rest = path.strip_prefix('/').ok_or(Rejected)?;
    Ok(rest.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect())
}

fn index(name: &str) -> Result<usize, Rejected> {
    name.parse().map_err(|_| Rejected)
}

/// The object or list that holds the end of a path, and the name there.
fn parent_of<'a>(document: &'a mut Value, path: &str) -> Result<(Parent<'a>, String), Rejected> {
    let mut names = names(path)?;
    let last = names.pop().ok_or(Rejected)?;
    let mut place = document;
    for name in &names {
        place = match place {
            Value::Object(members) => members.get_mut(name).ok_or(Rejected)?,
            Value::Array(items) => items.get_mut(index(name)?).ok_or(Rejected)?,
            _ => return Err(Rejected),
        };
    }
    match place {
        Value::Object(members) => Ok((Parent::Object(members), last)),
        Value::Array(items) => Ok((Parent::Array(items), last)),
        _ => Err(Rejected),
    }
}

/// A value; of a member that is missing, null.
fn get(document: &mut Value, path: &str) -> Result<Value, Rejected> {
    if path.is_empty() {
        return Ok(document.clone());
    }
    match parent_of(document, path)? {
        (Parent::Object(members), name) => Ok(members.get(&name).cloned().unwrap_or(Value::Null)),
        (Parent::Array(items), name) => items.get(index(&name)?).cloned().ok_or(Rejected),
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), Rejected> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err(Rejected);
        }
        *document = value;
        return Ok(());
    }
    match parent_of(document, path)? {
        (Parent::Object(members), name) => {
            members.insert(name, value);
        }
        (Parent::Array(items), name) if name == "-" => items.push(value),
        (Parent::Array(items), name) => {
            let at = index(&name)?;
            if at > items.len() {
                return Err(Rejected);
            }
            items.insert(at, value);
        }
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, Rejected> {
    match parent_of(document, path)? {
        (Parent::Object(members), name) => members.remove(&name).ok_or(Rejected),
        (Parent::Array(items), name) => {
            let at = index(&name)?;
            if at < items.len() { Ok(items.remove(at)) } else { Err(Rejected) }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!([{"op": "add", "path": "/a/b", "value": 1}]), Some(json!({"a": {"b": 1}, "l": [1, 2]})))]
    #[case(json!([{"op": "add", "path": "/l/-", "value": 3}, {"op": "add", "path": "/l/0", "value": 0}]), Some(json!({"a": {}, "l": [0, 1, 2, 3]})))]
    #[case(json!([{"op": "add", "path": "/l/9", "value": 3}]), None)]
    #[case(json!([{"op": "replace", "path": "/x", "value": 3}]), Some(json!({"a": {}, "l": [1, 2], "x": 3})))]
    #[case(json!([{"op": "replace", "path": "/l/9", "value": 3}]), None)]
    #[case(json!([{"op": "remove", "path": "/x"}]), None)]
    #[case(json!([{"op": "remove", "path": "/l/1"}]), Some(json!({"a": {}, "l": [1]})))]
    #[case(json!([{"op": "move", "from": "/l/0", "path": "/a/x"}]), Some(json!({"a": {"x": 1}, "l": [2]})))]
    #[case(json!([{"op": "copy", "from": "/l", "path": "/a/x"}]), Some(json!({"a": {"x": [1, 2]}, "l": [1, 2]})))]
    #[case(json!([{"op": "test", "path": "/l/0", "value": 1}]), Some(json!({"a": {}, "l": [1, 2]})))]
    #[case(json!([{"op": "test", "path": "/l/0", "value": 2}]), None)]
    #[case(json!([{"op": "add", "path": "/a~1b~0c"}]), Some(json!({"a": {}, "l": [1, 2], "a/b~c": null})))]
    #[case(json!([{"op": "what"}]), None)]
    #[case(json!([{"op": "add", "path": "a"}]), None)]
    fn operations(#[case] patch: Value, #[case] expected: Option<Value>) {
        let mut value = json!({"a": {}, "l": [1, 2]});
        let (operations, _) = parse(&patch).unwrap();
        let done = apply(&mut value, &operations).is_ok().then_some(value);
        assert_eq!(done, expected);
    }
}
