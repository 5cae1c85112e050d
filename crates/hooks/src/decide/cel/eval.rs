//! Evaluates: every step costs, and what it may cost is bounded.

use std::{borrow::Cow, collections::HashMap, rc::Rc, time::Instant};

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};
use regex::Regex;

use super::{Error, library, named, value::Val};

pub(super) type Outcome<'a> = Result<Val<'a>, Error>;

/// One evaluation.
pub(super) struct Evaluator<'a> {
    variables: Vec<(&'a str, Outcome<'a>)>,
    patterns: &'a HashMap<String, Regex>,
    left: u64,
    deadline: Instant,
}

pub(super) fn failed<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Failed(why.into()))
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        patterns: &'a HashMap<String, Regex>,
        budget: u64,
        deadline: Instant,
    ) -> Self {
        Self { variables: Vec::new(), patterns, left: budget, deadline }
    }

    pub(super) fn bind(&mut self, name: &'a str, value: Val<'a>) {
        self.variables.push((name, Ok(value)));
    }

    fn spend(&mut self, cost: u64) -> Result<(), Error> {
        let before = self.left;
        self.left = self.left.saturating_sub(cost);
        // The clock is asked now and then only.
        let look = before / 1024 != self.left / 1024;
        if self.left == 0 || look && Instant::now() >= self.deadline {
            self.left = 0;
            return Err(Error::TooCostly);
        }
        Ok(())
    }

    pub(super) fn eval(&mut self, expr: &'a IdedExpr) -> Outcome<'a> {
        self.spend(1)?;
        match &expr.expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(value) => Val::Bool(*value.inner()),
                LiteralValue::Int(value) => Val::Int(*value.inner()),
                LiteralValue::UInt(value) => Val::Uint(*value.inner()),
                LiteralValue::Double(value) => Val::Double(*value.inner()),
                LiteralValue::String(text) => Val::Text(Cow::Borrowed(text.inner())),
                LiteralValue::Null => Val::Null,
                LiteralValue::Bytes(_) => return failed("bytes are not supported"),
            }),
            Expr::Ident(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or_else(|| failed(format!("no variable {name}")), |(_, one)| one.clone())
            }
            Expr::Select(select) => {
                let operand = self.eval(&select.operand)?;
                match operand.field(&select.field) {
                    found if select.test => Ok(Val::Bool(found.is_some())),
                    Some(value) => Ok(value),
                    None => failed(format!("no such key: {}", select.field)),
                }
            }
            Expr::List(list) => {
                let elements = list.elements.iter().map(|element| self.eval(element));
                Ok(Val::List(Rc::new(elements.collect::<Result<_, _>>()?)))
            }
            Expr::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return failed("messages are not supported");
                    };
                    entries.push((self.eval(&entry.key)?, self.eval(&entry.value)?));
                }
                Ok(Val::Map(Rc::new(entries)))
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(loops) => self.comprehend(loops),
            Expr::Struct(_) | Expr::Unspecified => failed("messages are not supported"),
        }
    }

    fn truth(&mut self, expr: &'a IdedExpr) -> Result<bool, Error> {
        match self.eval(expr)? {
            Val::Bool(truth) => Ok(truth),
            _ => failed("neither true nor false"),
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Outcome<'a> {
        let (name, target) = named(call, |name| self.variables.iter().any(|(one, _)| *one == name));
        // A method's target is its first argument.
        let args: Vec<&'a IdedExpr> = target.into_iter().chain(&call.args).collect();
        match (&*name, &*args) {
            (operators::LOGICAL_AND, [one, two]) => self.either(one, two, false),
            (operators::LOGICAL_OR, [one, two]) => self.either(one, two, true),
            (operators::LOGICAL_NOT, [one]) => Ok(Val::Bool(!self.truth(one)?)),
            (operators::CONDITIONAL, [condition, yes, no]) => {
                if self.truth(condition)? {
                    self.eval(yes)
                } else {
                    self.eval(no)
                }
            }
            (operators::NOT_STRICTLY_FALSE, [one]) => match self.eval(one) {
                Err(Error::TooCostly) => Err(Error::TooCostly),
                Ok(Val::Bool(false)) => Ok(Val::Bool(false)),
                _ => Ok(Val::Bool(true)),
            },
            (operators::ADD, [one, two]) => {
                let taken = self.take(one);
                let one = taken.map_or_else(|| self.eval(one), Ok)?;
                let two = self.eval(two)?;
                self.add(one, two)
            }
            (name, _) if library::has(name) => self.library(name, &args),
            (name, [one]) => {
                let one = self.eval(one)?;
                self.spend(one_weight(name, &one))?;
                unary(name, &one)
            }
            (name, [one, two]) => {
                let (one, two) = (self.eval(one)?, self.eval(two)?);
                self.spend(one.weight().saturating_add(two.weight()))?;
                self.binary(name, &one, &two)
            }
            (name, _) => failed(format!("{name} does not take {} arguments", args.len())),
        }
    }

    fn library(&mut self, name: &str, args: &[&'a IdedExpr]) -> Outcome<'a> {
        let args = args.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<_>, _>>()?;
        self.spend(args.iter().map(Val::weight).sum())?;
        let mut spend = |cost| self.spend(u64::try_from(cost).unwrap_or(u64::MAX));
        library::call(name, &args, &mut spend)
    }

    /// `&&` (decided by false) or `||` (decided by true): what decides makes up for a failure on
    /// the other side.
    fn either(&mut self, one: &'a IdedExpr, two: &'a IdedExpr, decisive: bool) -> Outcome<'a> {
        let first = self.truth(one);
        if first == Ok(decisive) || first == Err(Error::TooCostly) {
            return first.map(Val::Bool);
        }
        let second = self.truth(two)?;
        if second == decisive { Ok(Val::Bool(decisive)) } else { first.map(Val::Bool) }
    }

    /// The result of a loop that is about to grow, taken out of its variable so that it need not be
    /// copied. Macros name it as nobody can.
    fn take(&mut self, expr: &IdedExpr) -> Option<Val<'a>> {
        let Expr::Ident(name) = &expr.expr else { return None };
        let (known, value) = self.variables.last_mut()?;
        if known != name || !name.starts_with(['@', '_']) {
            return None;
        }
        match value {
            Ok(value) => Some(std::mem::replace(value, Val::Null)),
            Err(_) => None,
        }
    }

    fn add(&mut self, one: Val<'a>, two: Val<'a>) -> Outcome<'a> {
        match (one, two) {
            (Val::Text(one), Val::Text(two)) => {
                let length = one.len() + two.len();
                self.spend(u64::try_from(length / 10).unwrap_or(u64::MAX))?;
                Ok(Val::Text(Cow::Owned(one.into_owned() + &two)))
            }
            (Val::List(mut one), two @ (Val::List(_) | Val::Array(_))) => {
                let more = two.elements().unwrap_or_default();
                // Copying a list that others hold as well costs.
                let copied = if Rc::strong_count(&one) == 1 { 0 } else { one.len() };
                self.spend(u64::try_from(copied + more.len()).unwrap_or(u64::MAX))?;
                Rc::make_mut(&mut one).extend(more);
                Ok(Val::List(one))
            }
            (one @ Val::Array(_), two @ (Val::List(_) | Val::Array(_))) => {
                let mut all = one.elements().unwrap_or_default();
                all.extend(two.elements().unwrap_or_default());
                self.spend(u64::try_from(all.len()).unwrap_or(u64::MAX))?;
                Ok(Val::List(Rc::new(all)))
            }
            (one, two) => arithmetic(operators::ADD, &one, &two),
        }
    }

    fn binary(&self, name: &str, one: &Val<'a>, two: &Val<'a>) -> Outcome<'a> {
        let ordered = |met: fn(std::cmp::Ordering) -> bool| match one.compare(two) {
            Some(order) => Ok(Val::Bool(met(order))),
            // A number that is none compares as nothing.
            None if one.double().is_some() && two.double().is_some() => Ok(Val::Bool(false)),
            None => failed("these cannot be compared"),
        };
        match (name, one, two) {
            (operators::EQUALS, ..) => Ok(Val::Bool(one.equals(two))),
            (operators::NOT_EQUALS, ..) => Ok(Val::Bool(!one.equals(two))),
            (operators::LESS, ..) => ordered(std::cmp::Ordering::is_lt),
            (operators::LESS_EQUALS, ..) => ordered(std::cmp::Ordering::is_le),
            (operators::GREATER, ..) => ordered(std::cmp::Ordering::is_gt),
            (operators::GREATER_EQUALS, ..) => ordered(std::cmp::Ordering::is_ge),
            (operators::INDEX, ..) => {
                one.at(two).map_or_else(|| failed("no such key or index"), Ok)
            }
            (operators::IN, _, Val::Object(_) | Val::Map(_)) => {
                Ok(Val::Bool(two.at(one).is_some()))
            }
            (operators::IN, _, Val::Array(_) | Val::List(_)) => {
                let elements = two.elements().unwrap_or_default();
                Ok(Val::Bool(elements.iter().any(|element| element.equals(one))))
            }
            ("contains", Val::Text(one), Val::Text(two)) => Ok(Val::Bool(one.contains(&**two))),
            ("startsWith", Val::Text(one), Val::Text(two)) => {
                Ok(Val::Bool(one.starts_with(&**two)))
            }
            ("endsWith", Val::Text(one), Val::Text(two)) => Ok(Val::Bool(one.ends_with(&**two))),
            ("matches", Val::Text(one), Val::Text(two)) => match self.patterns.get(&**two) {
                Some(pattern) => Ok(Val::Bool(pattern.is_match(one))),
                None => failed("unknown pattern"),
            },
            _ => arithmetic(name, one, two),
        }
    }

    fn comprehend(&mut self, loops: &'a ComprehensionExpr) -> Outcome<'a> {
        let range = self.eval(&loops.iter_range)?;
        self.spend(u64::try_from(range.size().unwrap_or(0)).unwrap_or(u64::MAX))?;
        let Some(elements) = range.elements() else { return failed("nothing to go through") };
        let mut result = self.eval(&loops.accu_init);
        let before = self.variables.len();
        for element in elements {
            self.variables.truncate(before);
            self.variables.push((&loops.iter_var, Ok(element)));
            self.variables.push((&loops.accu_var, result));
            let goes_on = self.truth(&loops.loop_cond);
            let next = match goes_on {
                Ok(true) => self.eval(&loops.loop_step),
                Ok(false) => {
                    result = self.last();
                    break;
                }
                Err(error) => Err(error),
            };
            if matches!(next, Err(Error::TooCostly)) {
                return next;
            }
            result = next;
        }
        self.variables.truncate(before);
        self.variables.push((&loops.accu_var, result));
        let value = self.eval(&loops.result);
        self.variables.truncate(before);
        value
    }

    fn last(&mut self) -> Outcome<'a> {
        self.variables.pop().map_or(Ok(Val::Null), |(_, value)| value)
    }
}

fn one_weight(name: &str, one: &Val<'_>) -> u64 {
    if name == "size" && !matches!(one, Val::Text(_)) { 1 } else { one.weight() }
}

fn unary<'a>(name: &str, one: &Val<'a>) -> Outcome<'a> {
    let text = |text: String| Ok(Val::Text(Cow::Owned(text)));
    match (name, one) {
        ("size", _) => match one.size().map(i64::try_from) {
            Some(Ok(size)) => Ok(Val::Int(size)),
            _ => failed("this has no size"),
        },
        ("lowerAscii", Val::Text(one)) => text(one.to_ascii_lowercase()),
        ("upperAscii", Val::Text(one)) => text(one.to_ascii_uppercase()),
        ("string", Val::Text(one)) => Ok(Val::Text(one.clone())),
        ("string", Val::Bool(one)) => text(one.to_string()),
        ("string", Val::Int(one)) => text(one.to_string()),
        ("string", Val::Uint(one)) => text(one.to_string()),
        ("string", Val::Double(one)) => text(one.to_string()),
        ("int", Val::Int(one)) => Ok(Val::Int(*one)),
        ("int", Val::Uint(one)) => {
            i64::try_from(*one).map_or_else(|_| failed("too large"), |one| Ok(Val::Int(one)))
        }
        ("int", Val::Text(one)) => {
            one.parse().map_or_else(|_| failed("no number"), |one| Ok(Val::Int(one)))
        }
        ("int", Val::Double(one)) => {
            // Too large for a number, it has too many digits.
            let digits = format!("{:.0}", one.trunc());
            digits.parse().map_or_else(|_| failed("too large"), |one| Ok(Val::Int(one)))
        }
        ("uint", Val::Text(one)) => {
            one.parse().map_or_else(|_| failed("no number"), |one| Ok(Val::Uint(one)))
        }
        ("uint", Val::Uint(one)) => Ok(Val::Uint(*one)),
        ("uint", Val::Int(one)) => {
            u64::try_from(*one).map_or_else(|_| failed("too small"), |one| Ok(Val::Uint(one)))
        }
        ("bool", Val::Bool(one)) => Ok(Val::Bool(*one)),
        ("bool", Val::Text(one)) => match &**one {
            "true" => Ok(Val::Bool(true)),
            "false" => Ok(Val::Bool(false)),
            _ => failed("neither true nor false"),
        },
        ("dyn", one) => Ok(one.clone()),
        ("double", Val::Text(one)) => {
            one.parse().map_or_else(|_| failed("no number"), |one| Ok(Val::Double(one)))
        }
        ("double", one) => {
            one.double().map_or_else(|| failed("no number"), |one| Ok(Val::Double(one)))
        }
        (operators::NEGATE, Val::Int(one)) => {
            one.checked_neg().map_or_else(|| failed("too large"), |one| Ok(Val::Int(one)))
        }
        (operators::NEGATE, Val::Double(one)) => Ok(Val::Double(-one)),
        _ => failed(format!("{name} does not take this")),
    }
}

fn arithmetic<'a>(name: &str, one: &Val<'a>, two: &Val<'a>) -> Outcome<'a> {
    if let (Some(one), Some(two)) = (one.integer(), two.integer()) {
        let result = match name {
            operators::ADD => one.checked_add(two),
            operators::SUBSTRACT => one.checked_sub(two),
            operators::MULTIPLY => one.checked_mul(two),
            operators::DIVIDE => one.checked_div(two),
            operators::MODULO => one.checked_rem(two),
            _ => return failed(format!("{name} does not take these")),
        };
        let result = result.and_then(|result| i64::try_from(result).ok());
        return result.map_or_else(|| failed("no such number"), |result| Ok(Val::Int(result)));
    }
    let (Some(one), Some(two)) = (one.double(), two.double()) else {
        return failed(format!("{name} does not take these"));
    };
    Ok(Val::Double(match name {
        operators::ADD => one + two,
        operators::SUBSTRACT => one - two,
        operators::MULTIPLY => one * two,
        operators::DIVIDE => one / two,
        _ => return failed(format!("{name} does not take these")),
    }))
}
