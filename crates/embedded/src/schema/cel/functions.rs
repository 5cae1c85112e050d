//! Functions of expressions: the core ones here, the Kubernetes libraries through `kube-cel`.

use std::{rc::Rc, sync::LazyLock};

use kube_cel::{
    KubeCelExt as _,
    cel::{
        self, Context,
        common::ast::{CallExpr, Expr, IdedExpr},
    },
};

use super::value::Val;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// In the words of the API server's evaluator.
    Failed(String),
    /// No function or operator for these types.
    NoOverload(String),
    /// The expression costs more than allowed.
    TooCostly,
}

impl Error {
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    pub(super) fn overload(function: &str, args: &[&Val<'_>]) -> Self {
        let types: Vec<&str> = args.iter().map(|arg| arg.type_name()).collect();
        Self::NoOverload(format!("no such overload: {function}({})", types.join(", ")))
    }
}

static LIBRARY: LazyLock<Context<'static>> = LazyLock::new(|| Context::default().with_all());

/// Names that qualify functions, such as `sets` in `sets.contains`.
pub(super) const NAMESPACES: [&str; 7] =
    ["format", "ip", "jsonpatch", "optional", "sets", "strings", "cidr"];

/// The functions that take no receiver.
pub(super) const GLOBAL: &[&str] = &[
    "bool",
    "bytes",
    "cidr",
    "double",
    "duration",
    "dyn",
    "int",
    "ip",
    "isCIDR",
    "isIP",
    "isQuantity",
    "isSemver",
    "isURL",
    "matches",
    "quantity",
    "semver",
    "size",
    "string",
    "timestamp",
    "type",
    "uint",
    "url",
];

/// The functions that take a receiver.
pub(super) const MEMBER: &[&str] = &[
    "add",
    "asApproximateFloat",
    "asInteger",
    "charAt",
    "compareTo",
    "contains",
    "containsCIDR",
    "containsIP",
    "endsWith",
    "family",
    "find",
    "findAll",
    "format",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getEscapedPath",
    "getFullYear",
    "getHost",
    "getHostname",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getPort",
    "getQuery",
    "getScheme",
    "getSeconds",
    "hasValue",
    "indexOf",
    "ip",
    "isGlobalUnicast",
    "isGreaterThan",
    "isInteger",
    "isLessThan",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isSorted",
    "isUnspecified",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "major",
    "masked",
    "matches",
    "max",
    "min",
    "minor",
    "optFlatMap",
    "optMap",
    "or",
    "orValue",
    "patch",
    "prefixLength",
    "replace",
    "sign",
    "size",
    "split",
    "startsWith",
    "sub",
    "substring",
    "sum",
    "trim",
    "upperAscii",
    "validate",
    "value",
];

/// The functions of a namespace.
pub(super) const QUALIFIED: &[&str] = &[
    "format.dns1035Label",
    "format.dns1035LabelPrefix",
    "format.dns1123Label",
    "format.dns1123LabelPrefix",
    "format.dns1123Subdomain",
    "format.dns1123SubdomainPrefix",
    "format.labelValue",
    "format.named",
    "format.qualifiedName",
    "format.uri",
    "format.uuid",
    "format.byte",
    "format.date",
    "format.datetime",
    "ip.isCanonical",
    "jsonpatch.escapeKey",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "strings.quote",
];

/// Turns a text into a time or a duration.
pub(super) fn convert<'a>(function: &str, text: &str) -> Option<Val<'a>> {
    library(None, function, None, &[Val::text(text)]).ok()
}

/// What a function may cost, judged by its arguments; most look once at each of them.
pub(super) fn cost(function: &str, target: Option<&Val<'_>>, args: &[Val<'_>], limit: u64) -> u64 {
    let values: Vec<&Val<'_>> = target.into_iter().chain(args).collect();
    let plain = values.iter().map(|value| value.weight(limit)).fold(0, u64::saturating_add);
    let size = |value: &Val<'_>| value.size().unwrap_or(0) as u64;
    let extra = match (function, values.as_slice()) {
        // The result may be far larger than what goes in.
        ("replace", [text, from, to, ..]) => {
            (size(text) / size(from).max(1)).saturating_mul(1 + size(to) / 10)
        }
        ("join", [list, separator]) => size(list).saturating_mul(1 + size(separator) / 10),
        ("format", [Val::Text(text), ..]) if has_long_number(text) => u64::MAX,
        // Every element meets every other.
        ("contains" | "intersects" | "equivalent", [one, other]) if one.type_name() == "list" => {
            one.weight(limit).saturating_mul(other.weight(limit))
        }
        // A pattern is compiled for every call.
        ("find" | "findAll", [text, pattern, ..]) => {
            1_000 + (1 + size(text) / 10).saturating_mul(1 + size(pattern) / 4)
        }
        _ => 0,
    };
    plain.saturating_add(extra)
}

/// Whether a text asks for more digits than anybody reads.
fn has_long_number(text: &str) -> bool {
    text.as_bytes().windows(4).any(|window| window.iter().all(u8::is_ascii_digit))
}

/// Functions that need nothing but their arguments.
pub(super) fn call<'a>(
    namespace: Option<&str>,
    function: &str,
    target: Option<Val<'a>>,
    args: Vec<Val<'a>>,
) -> Result<Val<'a>, Error> {
    if namespace == Some("optional") {
        return optional(function, args);
    }
    match (function, &target, args.as_slice()) {
        ("size", Some(value), []) | ("size", None, [value]) => {
            let size = value.size().ok_or_else(|| Error::overload("size", &[value]))?;
            Ok(Val::Int(i64::try_from(size).unwrap_or(i64::MAX)))
        }
        ("startsWith", Some(Val::Text(text)), [Val::Text(part)]) => {
            Ok(Val::Bool(text.starts_with(&**part)))
        }
        ("endsWith", Some(Val::Text(text)), [Val::Text(part)]) => {
            Ok(Val::Bool(text.ends_with(&**part)))
        }
        ("contains", Some(Val::Text(text)), [Val::Text(part)]) => {
            Ok(Val::Bool(text.contains(&**part)))
        }
        ("hasValue", Some(Val::Optional(value)), []) => Ok(Val::Bool(value.is_some())),
        ("value", Some(Val::Optional(value)), []) => {
            value.as_deref().cloned().ok_or_else(|| Error::failed("optional.none() dereference"))
        }
        ("orValue", Some(Val::Optional(value)), [other]) => {
            Ok(value.as_deref().unwrap_or(other).clone())
        }
        ("or", Some(Val::Optional(value)), [other @ Val::Optional(_)]) => {
            Ok(if value.is_some() { Val::Optional(value.clone()) } else { other.clone() })
        }
        ("dyn", None, [value]) => Ok(value.clone()),
        ("type", None, [value]) => Ok(Val::Type(value.type_name())),
        ("bool", None, [Val::Bool(value)]) => Ok(Val::Bool(*value)),
        ("bool", None, [Val::Text(text)]) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => {
                Err(Error::failed(format!("type conversion error from 'string' to 'bool': {text}")))
            }
        },
        ("string", None, [Val::Text(text)]) => Ok(Val::Text(Rc::clone(text))),
        ("string", None, [Val::Bool(value)]) => Ok(Val::text(value.to_string())),
        ("int", None, [Val::Int(value)]) => Ok(Val::Int(*value)),
        _ => library(namespace, function, target, &args),
    }
}

fn optional<'a>(function: &str, args: Vec<Val<'a>>) -> Result<Val<'a>, Error> {
    let zero = |value: &Val<'a>| match value {
        Val::Null | Val::Bool(false) | Val::Int(0) | Val::UInt(0) => true,
        Val::Double(value) => *value == 0.0,
        other => other.size() == Some(0),
    };
    match (function, args.as_slice()) {
        ("none", []) => Ok(Val::Optional(None)),
        ("of", [value]) => Ok(Val::Optional(Some(Rc::new(value.clone())))),
        ("ofNonZeroValue", [value]) => {
            Ok(Val::Optional((!zero(value)).then(|| Rc::new(value.clone()))))
        }
        _ => {
            Err(Error::overload(&format!("optional.{function}"), &args.iter().collect::<Vec<_>>()))
        }
    }
}

/// Calls a function of the library, with its arguments as variables.
fn library<'a>(
    namespace: Option<&str>,
    function: &str,
    target: Option<Val<'a>>,
    args: &[Val<'a>],
) -> Result<Val<'a>, Error> {
    let mut scope = LIBRARY.new_inner_scope();
    let ident = |name: String| IdedExpr { id: 0, expr: Expr::Ident(name) };
    let receiver = match (namespace, &target) {
        (Some(namespace), _) => Some(Box::new(ident(namespace.to_owned()))),
        (None, Some(target)) => {
            scope.add_variable_from_value("@target", target.to_cel());
            Some(Box::new(ident("@target".to_owned())))
        }
        (None, None) => None,
    };
    let mut names = Vec::with_capacity(args.len());
    for (index, arg) in args.iter().enumerate() {
        let name = format!("@{index}");
        scope.add_variable_from_value(name.as_str(), arg.to_cel());
        names.push(ident(name));
    }
    let call =
        Expr::Call(CallExpr { func_name: function.to_owned(), target: receiver, args: names });
    let call = IdedExpr { id: 0, expr: call };
    // A function of the library that panics must fail the rule, not the server.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cel::Value::resolve(&call, &scope)
    }));
    match result {
        Ok(Ok(value)) => Ok(Val::from_cel(value)),
        Ok(Err(error)) => Err(worded(function, target.as_ref(), args, &error)),
        Err(_) => Err(Error::failed(format!("internal error in function '{function}'"))),
    }
}

fn worded(
    function: &str,
    target: Option<&Val<'_>>,
    args: &[Val<'_>],
    error: &cel::ExecutionError,
) -> Error {
    match error {
        cel::ExecutionError::FunctionError { message, .. } => Error::failed(message.clone()),
        cel::ExecutionError::DivisionByZero(_) => Error::failed("division by zero"),
        cel::ExecutionError::RemainderByZero(_) => Error::failed("modulus by zero"),
        cel::ExecutionError::Overflow(..) => Error::failed("integer overflow"),
        cel::ExecutionError::NoSuchKey(key) => Error::failed(format!("no such key: {key}")),
        _ => Error::overload(function, &target.into_iter().chain(args).collect::<Vec<_>>()),
    }
}

/// Arithmetic on values that only the library looks into.
pub(super) fn arithmetic<'a>(
    operator: &str,
    left: &Val<'a>,
    right: &Val<'a>,
) -> Result<Val<'a>, Error> {
    library(None, operator, None, &[left.clone(), right.clone()])
}
