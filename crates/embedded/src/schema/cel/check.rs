//! What can be known of an expression before it runs: names, fields and, roughly, types.

use kube_cel::cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};

use super::{eval, functions, value::unescape};
use crate::schema::node::{Additional, Kind, Node};

/// Deeper expressions are refused; evaluating one needs that much stack.
pub(super) const MAX_DEPTH: usize = 80;

/// What is known of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'n> {
    Nothing,
    Kind(Kind),
    Node(&'n Node),
    /// An object with `apiVersion`, `kind` and `metadata`.
    Root(&'n Node),
}

impl<'n> Known<'n> {
    fn node(self) -> Option<&'n Node> {
        match self {
            Self::Node(node) | Self::Root(node) => Some(node),
            _ => None,
        }
    }

    pub(super) fn kind(self) -> Option<Kind> {
        match self {
            Self::Kind(kind) => Some(kind),
            _ => self.node()?.kind,
        }
    }
}

/// Why an expression does not compile, and at which text to point.
pub(super) struct Problem {
    pub(super) text: String,
    pub(super) at: String,
}

/// Checks one expression.
pub(super) struct Checker<'n> {
    names: Vec<(String, Known<'n>)>,
    pub(super) uses_old: bool,
    pub(super) patterns: Vec<String>,
}

type Outcome<'n> = Result<Known<'n>, Problem>;

impl<'n> Checker<'n> {
    pub(super) fn new(own: Known<'n>, old: Known<'n>) -> Self {
        let names = vec![("self".to_owned(), own), ("oldSelf".to_owned(), old)];
        Self { names, uses_old: false, patterns: Vec::new() }
    }

    pub(super) fn visit(&mut self, expr: &IdedExpr, depth: usize) -> Outcome<'n> {
        if depth == 0 {
            return Err(Problem {
                text: "expression recursion limit exceeded".to_owned(),
                at: String::new(),
            });
        }
        let depth = depth - 1;
        match &expr.expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(_) => Known::Kind(Kind::Boolean),
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Known::Kind(Kind::Integer),
                LiteralValue::Double(_) => Known::Kind(Kind::Number),
                LiteralValue::String(_) => Known::Kind(Kind::String),
                LiteralValue::Bytes(_) | LiteralValue::Null => Known::Nothing,
            }),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select, depth),
            Expr::Call(call) => self.call(call, depth),
            Expr::List(list) => {
                for element in &list.elements {
                    self.visit(element, depth)?;
                }
                Ok(Known::Kind(Kind::Array))
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.visit(&entry.key, depth)?;
                        self.visit(&entry.value, depth)?;
                    }
                }
                Ok(Known::Kind(Kind::Object))
            }
            Expr::Comprehension(loops) => {
                let range = self.visit(&loops.iter_range, depth)?;
                let accumulator = self.visit(&loops.accu_init, depth)?;
                let item = match range.node() {
                    Some(node) if node.kind == Some(Kind::Array) => {
                        node.items.as_deref().map_or(Known::Nothing, Known::Node)
                    }
                    Some(_) => Known::Kind(Kind::String),
                    None => Known::Nothing,
                };
                self.names.push((loops.accu_var.clone(), accumulator));
                self.names.push((loops.iter_var.clone(), item));
                let result = self
                    .visit(&loops.loop_cond, depth)
                    .and_then(|_| self.visit(&loops.loop_step, depth))
                    .and_then(|_| self.visit(&loops.result, depth));
                self.names.truncate(self.names.len() - 2);
                result
            }
            Expr::Struct(message) => Err(Problem {
                text: format!("undeclared reference to '{}' (in container '')", message.type_name),
                at: message.type_name.clone(),
            }),
            Expr::Unspecified => {
                Err(Problem { text: "unspecified expression".to_owned(), at: String::new() })
            }
        }
    }

    fn name(&mut self, name: &str) -> Outcome<'n> {
        self.uses_old |= name == "oldSelf";
        let known =
            self.names.iter().rev().find(|(known, _)| known == name).map(|(_, known)| *known);
        match known {
            Some(known) => Ok(known),
            None if eval::type_name(name).is_some() => Ok(Known::Nothing),
            None => Err(undeclared(name)),
        }
    }

    fn select(&mut self, select: &SelectExpr, depth: usize) -> Outcome<'n> {
        let operand = self.visit(&select.operand, depth)?;
        let found = field(operand, &select.field)?;
        Ok(if select.test { Known::Kind(Kind::Boolean) } else { found })
    }

    fn call(&mut self, call: &CallExpr, depth: usize) -> Outcome<'n> {
        let name = call.func_name.as_str();
        match (name, call.args.as_slice()) {
            (operators::CONDITIONAL, [condition, yes, no]) => {
                self.visit(condition, depth)?;
                let yes = self.visit(yes, depth)?;
                self.visit(no, depth)?;
                return Ok(yes.kind().map_or(Known::Nothing, |_| yes));
            }
            (operators::INDEX, [operand, index]) => {
                let operand = self.visit(operand, depth)?;
                self.visit(index, depth)?;
                return Ok(match operand.node() {
                    Some(node) if node.kind == Some(Kind::Array) => {
                        node.items.as_deref().map_or(Known::Nothing, Known::Node)
                    }
                    Some(Node { additional: Additional::Schema(schema), .. }) => {
                        Known::Node(schema)
                    }
                    _ => Known::Nothing,
                });
            }
            (
                operators::OPT_SELECT,
                [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }],
            ) => {
                let operand = self.visit(operand, depth)?;
                field(operand, name.inner())?;
                return Ok(Known::Nothing);
            }
            _ if is_operator(name) && call.target.is_none() => {
                let mut known = Known::Nothing;
                for arg in &call.args {
                    known = self.visit(arg, depth)?;
                }
                return Ok(match name {
                    operators::ADD
                    | operators::SUBSTRACT
                    | operators::MULTIPLY
                    | operators::DIVIDE
                    | operators::MODULO => known.kind().map_or(Known::Nothing, Known::Kind),
                    operators::NEGATE | operators::OPT_INDEX => Known::Nothing,
                    _ => Known::Kind(Kind::Boolean),
                });
            }
            _ => {}
        }
        self.function(call, depth)
    }

    fn function(&mut self, call: &CallExpr, depth: usize) -> Outcome<'n> {
        let name = call.func_name.as_str();
        let variable = |namespace: &String| self.names.iter().any(|(known, _)| known == namespace);
        let namespace = match call.target.as_deref() {
            Some(IdedExpr { expr: Expr::Ident(namespace), .. })
                if functions::NAMESPACES.contains(&namespace.as_str()) && !variable(namespace) =>
            {
                Some(namespace)
            }
            _ => None,
        };
        let exists = match (namespace, &call.target) {
            (Some(namespace), _) => {
                functions::QUALIFIED.contains(&format!("{namespace}.{name}").as_str())
            }
            (None, Some(_)) => functions::MEMBER.contains(&name),
            (None, None) => functions::GLOBAL.contains(&name),
        };
        if !exists {
            return Err(undeclared(name));
        }
        if let (None, Some(target)) = (namespace, &call.target) {
            self.visit(target, depth)?;
        }
        if let ("optMap" | "optFlatMap", [IdedExpr { expr: Expr::Ident(variable), .. }, body]) =
            (name, call.args.as_slice())
        {
            self.names.push((variable.clone(), Known::Nothing));
            let known = self.visit(body, depth);
            self.names.pop();
            return known.map(|_| Known::Nothing);
        }
        for arg in &call.args {
            self.visit(arg, depth)?;
        }
        if let ("matches", Some(IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. })) =
            (name, call.args.last())
        {
            self.patterns.push(text.inner().to_owned());
        }
        Ok(match name {
            "startsWith" | "endsWith" | "contains" | "matches" | "hasValue" | "isURL" | "isIP"
            | "isCIDR" | "isQuantity" | "isSemver" | "isSorted" => Known::Kind(Kind::Boolean),
            "size" | "indexOf" | "lastIndexOf" => Known::Kind(Kind::Integer),
            "string" | "lowerAscii" | "upperAscii" | "trim" => Known::Kind(Kind::String),
            _ => Known::Nothing,
        })
    }
}

/// What is known of the field of a value.
fn field<'n>(operand: Known<'n>, name: &str) -> Outcome<'n> {
    let missing = || Problem { text: format!("undefined field '{name}'"), at: format!(".{name}") };
    match operand.kind() {
        Some(Kind::Object) => {}
        None | Some(Kind::IntOrString) => return Ok(Known::Nothing),
        Some(kind) => {
            let shown = match kind {
                Kind::Boolean => "bool",
                Kind::Integer => "int",
                Kind::Number => "double",
                Kind::Array => "list",
                _ => "string",
            };
            return Err(Problem {
                text: format!("type '{shown}' does not support field selection"),
                at: format!(".{name}"),
            });
        }
    }
    let Some(node) = operand.node() else { return Ok(Known::Nothing) };
    let is_object = matches!(operand, Known::Root(_)) || node.embedded;
    if is_object && ["apiVersion", "kind", "metadata"].contains(&name) {
        return Ok(Known::Nothing);
    }
    match (&node.additional, node.properties.get(&unescape(name))) {
        (_, Some(child)) => Ok(Known::Node(child)),
        (Additional::Schema(schema), None) => Ok(Known::Node(schema)),
        (Additional::Any, None) => Ok(Known::Nothing),
        _ if node.preserve => Ok(Known::Nothing),
        _ => Err(missing()),
    }
}

fn undeclared(name: &str) -> Problem {
    Problem {
        text: format!("undeclared reference to '{name}' (in container '')"),
        at: name.to_owned(),
    }
}

fn is_operator(name: &str) -> bool {
    name.contains('_') && !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        || name.starts_with('@')
}
