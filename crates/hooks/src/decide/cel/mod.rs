//! CEL expressions in filters (contract §3.4): compiled when the configuration is read, evaluated
//! within a bound of steps and time.
//!
//! The parser is that of the `cel` crate. Its interpreter has no bounds, so the evaluation is our
//! own, over JSON.

mod eval;
mod library;
mod value;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use kube_cel::cel::{
    common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators},
    parser::Parser,
};
use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::{eval::Evaluator, value::Val};

/// The longest expression.
const MAX_TEXT: usize = 8 << 10;
/// The stack of the parser; only what it uses is ever memory.
const PARSER_STACK: usize = 64 << 20;
/// How many steps one evaluation may take.
const BUDGET: u64 = 1_000_000;
/// How long one evaluation may take.
const PATIENCE: Duration = Duration::from_millis(100);
/// How big a regular expression may get.
const MAX_PATTERN: usize = 1 << 20;

/// The variables of a filter.
const FILTER: [&str; 4] = ["req", "headers", "event", "claims"];
/// All variables.
const VARIABLES: [&str; 6] = ["req", "headers", "event", "claims", "res", "vars"];
/// The functions and methods, beside operators.
const FUNCTIONS: [&str; 15] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "lowerAscii",
    "upperAscii",
    "bool",
    "dyn",
    "int",
    "uint",
    "double",
    "string",
    operators::IN,
    operators::NOT_STRICTLY_FALSE,
];
const OPERATORS: [&str; 17] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::INDEX,
    operators::NEGATE,
];

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// It took too many steps, or too long.
    TooCostly,
    /// It makes no sense for this input.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooCostly => f.write_str("the expression takes too long"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// What an expression may look at.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The body as JSON.
    pub req: &'a Value,
    /// The headers, names in lower case, without secrets.
    pub headers: &'a Value,
    /// The event (contract §3.7).
    pub event: &'a Value,
    /// The claims of the sender's token, if it has one.
    pub claims: &'a Value,
    /// The object that would be told.
    pub res: &'a Value,
    /// Values with names.
    pub vars: &'a Value,
}

impl Input<'_> {
    /// Nothing to look at; who evaluates adds what there is.
    pub fn nothing() -> Self {
        const NULL: &Value = &Value::Null;
        Self { req: NULL, headers: NULL, event: NULL, claims: NULL, res: NULL, vars: NULL }
    }
}

/// A compiled expression. Its text is what it is known by.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression(Arc<Program>);

struct Program {
    text: String,
    expr: IdedExpr,
    patterns: HashMap<String, Regex>,
}

impl Expression {
    /// Whether the input passes.
    pub fn passes(&self, input: Input<'_>) -> Result<bool, Error> {
        self.within(input, BUDGET, PATIENCE)
    }

    /// The value for an input.
    pub fn value(&self, input: Input<'_>) -> Result<Value, Error> {
        let until = Instant::now() + PATIENCE;
        let value = self.evaluator(input, BUDGET, until).eval(&self.0.expr)?;
        value.to_json().ok_or_else(|| Error::Failed("the value is no JSON".to_owned()))
    }

    fn within(&self, input: Input<'_>, budget: u64, patience: Duration) -> Result<bool, Error> {
        let until = Instant::now() + patience;
        match self.evaluator(input, budget, until).eval(&self.0.expr)? {
            Val::Bool(passes) => Ok(passes),
            _ => Err(Error::Failed("the expression is neither true nor false".to_owned())),
        }
    }

    fn evaluator<'a>(&'a self, input: Input<'a>, budget: u64, until: Instant) -> Evaluator<'a> {
        let mut evaluator = Evaluator::new(&self.0.patterns, budget, until);
        let Input { req, headers, event, claims, res, vars } = input;
        for (name, value) in VARIABLES.into_iter().zip([req, headers, event, claims, res, vars]) {
            evaluator.bind(name, Val::of(value));
        }
        evaluator
    }

    /// Compiles an expression that is true or false and looks at these variables only.
    pub fn condition(text: &str, variables: &[&'static str]) -> Result<Self, String> {
        let expression = Self::compile(text, variables)?;
        if never_boolean(&expression.0.expr.expr) {
            return Err(format!("\"{text}\" is neither true nor false"));
        }
        Ok(expression)
    }

    /// Compiles an expression of any type.
    pub fn compile(text: &str, variables: &[&'static str]) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("an expression is longer than {MAX_TEXT} bytes"));
        }
        let expr = parse(text).map_err(|error| format!("cannot compile \"{text}\": {error}"))?;
        let mut patterns = HashMap::new();
        check(&expr, &mut variables.to_vec(), &mut patterns)
            .map_err(|error| format!("cannot compile \"{text}\": {error}"))?;
        Ok(Self(Arc::new(Program { text: text.to_owned(), expr, patterns })))
    }
}

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::condition(&text, &FILTER)
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.0.text.clone()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.text.fmt(f)
    }
}

impl JsonSchema for Expression {
    fn schema_name() -> Cow<'static, str> {
        "Expression".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": MAX_TEXT})
    }
}

/// Parses an expression on a stack that is large enough: a few dozen open brackets take the parser
/// more than a thread has, in a program that is not optimised.
fn parse(text: &str) -> Result<IdedExpr, String> {
    let parsing = || Parser::new().max_recursion_depth(64).parse(text).map_err(|e| e.to_string());
    thread::scope(|scope| {
        let parser = thread::Builder::new().stack_size(PARSER_STACK).spawn_scoped(scope, parsing);
        let parsed = parser.map_err(|error| format!("no thread for the parser: {error}"))?.join();
        parsed.unwrap_or_else(|_| Err("the parser fails".to_owned()))
    })
}

/// The whole name of a function, and the target of a method. `sets` and `base64` stand before names
/// unless they are variables.
fn named(call: &CallExpr, is_variable: impl Fn(&str) -> bool) -> (Cow<'_, str>, Option<&IdedExpr>) {
    let name = call.func_name.as_str();
    let target = call.target.as_deref();
    match target.map(|target| &target.expr) {
        Some(Expr::Ident(space))
            if ["sets", "base64"].contains(&&**space) && !is_variable(space) =>
        {
            (format!("{space}.{name}").into(), None)
        }
        _ => (name.into(), target),
    }
}

/// Finds names that nobody knows, and compiles the regular expressions.
fn check<'a>(
    expr: &'a IdedExpr,
    known: &mut Vec<&'a str>,
    patterns: &mut HashMap<String, Regex>,
) -> Result<(), String> {
    match &expr.expr {
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if known.contains(&name.as_str()) => Ok(()),
        Expr::Ident(name) => Err(format!("there is no variable {name}")),
        Expr::Select(select) => check(&select.operand, known, patterns),
        Expr::List(list) => list.elements.iter().try_for_each(|e| check(e, known, patterns)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                check(&entry.key, known, patterns)?;
                check(&entry.value, known, patterns)
            }
            EntryExpr::StructField(_) => Err("messages are not supported".to_owned()),
        }),
        Expr::Call(call) => {
            let (name, target) = named(call, |name| known.contains(&name));
            let own = OPERATORS.contains(&&*name) || FUNCTIONS.contains(&&*name);
            if !own && !library::has(&name) {
                return Err(format!("there is no function {name}"));
            }
            if name == "matches" {
                let Some(Expr::Literal(LiteralValue::String(pattern))) =
                    call.args.last().map(|last| &last.expr)
                else {
                    return Err("the pattern of matches must be spelt out".to_owned());
                };
                let pattern = pattern.inner();
                let regex = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
                patterns.insert(pattern.to_owned(), regex.map_err(|error| error.to_string())?);
            }
            target.into_iter().chain(&call.args).try_for_each(|arg| check(arg, known, patterns))
        }
        Expr::Comprehension(loops) => {
            if loops.iter_var2.is_some() {
                return Err("macros with two variables are not supported".to_owned());
            }
            check(&loops.iter_range, known, patterns)?;
            check(&loops.accu_init, known, patterns)?;
            let before = known.len();
            known.extend([loops.iter_var.as_str(), loops.accu_var.as_str()]);
            let within = [&loops.loop_cond, &loops.loop_step, &loops.result];
            let checked = within.into_iter().try_for_each(|part| check(part, known, patterns));
            known.truncate(before);
            checked
        }
        Expr::Struct(_) | Expr::Unspecified => Err("messages are not supported".to_owned()),
    }
}

/// Whether the value is certainly neither true nor false.
fn never_boolean(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(literal) => !matches!(literal, LiteralValue::Boolean(_)),
        Expr::List(_) | Expr::Map(_) => true,
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            let own = matches!(
                name,
                operators::ADD
                    | operators::SUBSTRACT
                    | operators::MULTIPLY
                    | operators::DIVIDE
                    | operators::MODULO
                    | "size"
                    | "lowerAscii"
                    | "upperAscii"
                    | "int"
                    | "uint"
                    | "double"
                    | "string"
            );
            own || library::VALUES.contains(&name)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compiled(text: &str) -> Result<Expression, String> {
        Expression::try_from(text.to_owned())
    }

    fn run(text: &str) -> Result<bool, Error> {
        let req = json!({
            "ref": "refs/heads/main", "deleted": false, "size": 3, "ratio": 0.5, "none": null,
            "commits": [{"modified": ["a.yaml", "docs/b.md"]}, {"modified": ["src/c.rs"]}],
            "labels": {"app": "web"},
        });
        let event = json!({"branch": "main", "deleted": false});
        let headers = json!({"x-github-event": "push"});
        let input = Input { req: &req, headers: &headers, event: &event, ..Input::nothing() };
        compiled(text).unwrap().passes(input)
    }

    #[rstest::rstest]
    #[case("!event.deleted", true)]
    #[case("event.branch == 'main' && headers['x-github-event'] == 'push'", true)]
    #[case("req.ref.startsWith('refs/heads/') && req.ref.endsWith('main')", true)]
    #[case("req.commits.exists(c, c.modified.exists(f, f.startsWith('docs/')))", true)]
    #[case("req.commits.all(c, size(c.modified) > 1)", false)]
    #[case("req.commits.map(c, c.modified.size()) == [2, 1]", true)]
    #[case("req.commits.filter(c, size(c.modified) == 1).size() == 1", true)]
    #[case("req.commits.exists_one(c, 'src/c.rs' in c.modified)", true)]
    #[case("has(req.labels.app) && !has(req.labels.team)", true)]
    #[case("'app' in req.labels && req.labels['app'] == 'web'", true)]
    #[case("req.labels.all(key, key.matches('^[a-z]+$'))", true)]
    #[case("req.size + 1 == 4 && req.size * 2 - 1 == 5 && 7 / 2 == 3 && 7 % 4 == 3", true)]
    #[case("req.size == 3.0 && req.ratio < 1 && 1 < 2u", true)]
    #[case("req.none == null ? req.size > 2 : false", true)]
    #[case("req.missing.field == 1 || true", true)]
    #[case("false && req.missing == 1", false)]
    #[case("'Ab'.lowerAscii() == 'ab' && string(3) == '3' && int('4') == 4", true)]
    #[case("{'a': 1}.a == 1 && [1, 2][1] == 2 && ([1] + [2]) == [1, 2]", true)]
    #[case("claims == null", true)]
    #[case("req.ref.split('/')[2] == 'main' && 'a,b,c'.split(',', 2) == ['a', 'b,c']", true)]
    #[case("'abc'.split('') == ['a', 'b', 'c'] && 'abc'.split('', 2) == ['a', 'bc']", true)]
    #[case("''.split(',') == [''] && ''.split('') == [] && 'a,b'.split(',', 0) == []", true)]
    #[case("'aXbX'.replace('X', '-') == 'a-b-' && 'aXbX'.replace('X', '', 1) == 'abX'", true)]
    #[case("'ab'.replace('', '-') == '-a-b-'", true)]
    #[case("'  a b '.trim() == 'a b' && 'aé'.reverse() == 'éa'", true)]
    #[case("'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco'", true)]
    #[case("'héé'.substring(1, 2) == 'é' && 'a'.substring(1) == ''", true)]
    #[case("'hello'.charAt(4) == 'o' && 'hello'.charAt(5) == ''", true)]
    #[case("'hello mellow'.indexOf('ello') == 1 && 'hello mellow'.indexOf('ello', 2) == 7", true)]
    #[case("'hello'.indexOf('jello') == -1 && 'hello'.indexOf('') == 0", true)]
    #[case("'ééa'.indexOf('a') == 2 && 'hello'.indexOf('o', 20) == -1", true)]
    #[case("'hello mellow'.lastIndexOf('ello') == 7 && 'hello'.lastIndexOf('') == 5", true)]
    #[case("'hello mellow'.lastIndexOf('ello', 6) == 1", true)]
    #[case(
        "['a', 'b'].join() == 'ab' && req.commits[0].modified.join(' ') == 'a.yaml docs/b.md'",
        true
    )]
    #[case("req.labels.map(key, key).join(',') == 'app' && [].join(',') == ''", true)]
    #[case("sets.contains([1, 2, 3], [3.0, 1]) && !sets.contains([1], [1, 2])", true)]
    #[case("sets.equivalent([1, 1], [1]) && !sets.equivalent([1, 2], [1])", true)]
    #[case(
        "sets.intersects(req.commits[0].modified, ['a.yaml']) && !sets.intersects([], [1])",
        true
    )]
    #[case("['contains'].all(sets, sets.contains('in'))", true)]
    #[case(
        "base64.encode('hello') == 'aGVsbG8=' && string(base64.decode('aGVsbG8=')) == 'hello'",
        true
    )]
    #[case("bool('true') && !bool('false') && dyn(1) == 1 && uint(3) == 3u && int(3.9) == 3", true)]
    #[case("int(-3.9) == -3 && uint('7') == 7u", true)]
    fn expressions_have_values(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(run(text), Ok(expected), "{text}");
    }

    #[rstest::rstest]
    #[case("req.missing == 1")]
    #[case("req.commits[9] == 1")]
    #[case("req.commits[-1] == 1")]
    #[case("1 / (req.size - 3) == 1")]
    #[case("9223372036854775807 + req.size > 0")]
    #[case("req.ref > 1")]
    #[case("req.ref && true")]
    #[case("req.ref")]
    #[case("int('x') == 1")]
    #[case("int(1e30) == 1")]
    #[case("uint(-1) == 1u")]
    #[case("bool('maybe')")]
    #[case("'abc'.substring(2, 1) == ''")]
    #[case("'abc'.substring(4) == ''")]
    #[case("'abc'.substring(-1) == ''")]
    #[case("'abc'.charAt(4) == ''")]
    #[case("'abc'.charAt(9223372036854775807) == ''")]
    #[case("'abc'.indexOf('a', -1) == 0")]
    #[case("[1].join() == ''")]
    #[case("'a'.trim(1) == ''")]
    #[case("sets.contains({'a': 1}, ['a'])")]
    #[case("base64.decode('%') == ''")]
    #[case("base64.decode('/w==') == ''")]
    fn senseless_ones_fail(#[case] text: &str) {
        assert!(matches!(run(text), Err(Error::Failed(_))), "{text}: {:?}", run(text));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("event.")]
    #[case("unknown == 1")]
    #[case("f(1)")]
    #[case("1")]
    #[case("1 + 1")]
    #[case("size(req)")]
    #[case("req.ref.split('/')")]
    #[case("req.ref.trim()")]
    #[case("sets.unknown([1], [1])")]
    #[case("base64.contains('a', 'b')")]
    #[case("sets == 1")]
    #[case("contains.sets(1)")]
    #[case("req.ref.matches('[')")]
    #[case("req.ref.matches(req.ref)")]
    #[case("[1].all(x, y)")]
    #[case(&"(".repeat(96))]
    #[case(&"[".repeat(96))]
    #[case(&"{".repeat(96))]
    fn wrong_ones_do_not_compile(#[case] text: &str) {
        assert!(compiled(text).is_err(), "{text}");
    }

    #[test]
    fn costly_ones_are_cut() {
        let many = json!({"list": vec![0; 10_000]});
        let input = Input { req: &many, headers: &many, event: &many, ..Input::nothing() };
        let nested = "req.list.all(a, req.list.all(b, req.list.all(c, a == b && b == c)))";
        let begin = Instant::now();
        assert_eq!(compiled(nested).unwrap().passes(input), Err(Error::TooCostly));
        assert!(begin.elapsed() < Duration::from_secs(5));
        let growing = "req.list.map(a, req.list.map(b, req.list)).size() > 0";
        assert_eq!(compiled(growing).unwrap().passes(input), Err(Error::TooCostly));
        let text = json!({"text": "a".repeat(20_000)});
        let input = Input { req: &text, ..input };
        for texts in [
            "req.text.replace('', req.text).size() > 0",
            "req.text.replace('a', req.text).size() > 0",
            "req.text.split('').map(a, req.text).join(req.text).size() > 0",
            "req.text.split('').all(a, req.text.split('').size() > 0)",
            "req.text.split('').all(a, req.text.reverse().trim().size() > 0)",
            "sets.equivalent(req.text.split(''), req.text.split(''))",
        ] {
            let begin = Instant::now();
            let cut = compiled(texts).unwrap().within(input, BUDGET, Duration::from_secs(60));
            assert_eq!(cut, Err(Error::TooCostly), "{texts}");
            assert!(begin.elapsed() < Duration::from_secs(5), "{texts}");
        }
        let input = Input { req: &many, ..input };
        let once = "req.list.map(a, a + 1).all(b, b == 1)";
        let patient = Duration::from_secs(60);
        assert_eq!(compiled(once).unwrap().within(input, BUDGET, patient), Ok(true));
        let late = compiled(once).unwrap().within(input, BUDGET, Duration::ZERO);
        assert_eq!(late, Err(Error::TooCostly));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z().,'\\[\\]{}<>=!&|+*/% 0-9?:]{0,40}") {
            if let Ok(expression) = compiled(&text) {
                let input = Input::nothing();
                let _ = expression.passes(input);
            }
        }
    }
}
