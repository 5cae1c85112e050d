//! Evaluates expressions: every step costs, and the cost has a limit.

use std::{collections::HashMap, rc::Rc};

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr,
    SelectExpr, operators,
};
use regex::Regex;

use super::{
    functions::{self, Error},
    operations,
    value::Val,
};
use crate::schema::pattern;

type Outcome<'a> = Result<Val<'a>, Error>;

/// One evaluation.
pub(super) struct Evaluator<'a> {
    variables: Vec<(&'a str, Val<'a>)>,
    patterns: &'a HashMap<String, Regex>,
    left: u64,
}

impl<'a> Evaluator<'a> {
    /// `patterns` holds the compiled regular expressions that the expression spells out.
    pub(super) fn new(patterns: &'a HashMap<String, Regex>, budget: u64) -> Self {
        Self { variables: Vec::new(), patterns, left: budget }
    }

    pub(super) fn bind(&mut self, name: &'a str, value: Val<'a>) {
        self.variables.push((name, value));
    }

    /// What is left of the budget.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn spend(&mut self, cost: u64) -> Result<(), Error> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Error::TooCostly)
            }
        }
    }

    fn variable(&self, name: &str) -> Option<Val<'a>> {
        self.variables
            .iter()
            .rev()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    }

    pub(super) fn eval(&mut self, expr: &'a IdedExpr) -> Outcome<'a> {
        self.spend(1)?;
        match &expr.expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(value) => Val::Bool(*value.inner()),
                LiteralValue::Int(value) => Val::Int(*value.inner()),
                LiteralValue::UInt(value) => Val::UInt(*value.inner()),
                LiteralValue::Double(value) => Val::Double(*value.inner()),
                LiteralValue::String(text) => Val::text(text.inner()),
                LiteralValue::Bytes(bytes) => Val::Bytes(bytes.inner().into()),
                LiteralValue::Null => Val::Null,
            }),
            Expr::Ident(name) => match self.variable(name) {
                Some(value) => Ok(value),
                None => type_name(name)
                    .map(Val::Type)
                    .ok_or_else(|| Error::failed(format!("no such attribute(s): {name}"))),
            },
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(_) | Expr::Unspecified => Err(Error::failed("unsupported expression")),
        }
    }

    fn select(&mut self, select: &'a SelectExpr) -> Outcome<'a> {
        let operand = self.eval(&select.operand)?;
        let key = Val::text(select.field.as_str());
        if let Val::Optional(inner) = &operand {
            let found = inner.as_ref().and_then(|inner| inner.entry(&key));
            return Ok(if select.test {
                Val::Bool(found.is_some())
            } else {
                Val::Optional(found.map(Rc::new))
            });
        }
        if !matches!(operand, Val::Map(_) | Val::Fields(..)) {
            return Err(Error::failed(format!("no such key: {}", select.field)));
        }
        match (operand.entry(&key), select.test) {
            (found, true) => Ok(Val::Bool(found.is_some())),
            (Some(value), false) => Ok(value),
            (None, false) => Err(Error::failed(format!("no such key: {}", select.field))),
        }
    }

    fn list(&mut self, list: &'a ListExpr) -> Outcome<'a> {
        let mut items = Vec::with_capacity(list.elements.len());
        for (index, element) in list.elements.iter().enumerate() {
            match (self.eval(element)?, list.optional_indices.contains(&index)) {
                (Val::Optional(value), true) => items.extend(value.map(|value| (*value).clone())),
                (value, _) => items.push(value),
            }
        }
        Ok(Val::List(Rc::new(items)))
    }

    fn map(&mut self, map: &'a MapExpr) -> Outcome<'a> {
        let mut entries: Vec<(Val<'a>, Val<'a>)> = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                return Err(Error::failed("unsupported expression"));
            };
            let key = self.eval(&entry.key)?;
            if !matches!(key, Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Text(_)) {
                return Err(Error::failed(format!("unsupported key type: {}", key.type_name())));
            }
            if entries.iter().any(|(known, _)| known.equals(&key)) {
                return Err(Error::failed("failed with repeated key"));
            }
            match (self.eval(&entry.value)?, entry.optional) {
                (Val::Optional(value), true) => {
                    entries.extend(value.map(|value| (key, (*value).clone())))
                }
                (value, _) => entries.push((key, value)),
            }
        }
        Ok(Val::Map(Rc::new(entries)))
    }

    fn comprehension(&mut self, expr: &'a ComprehensionExpr) -> Outcome<'a> {
        let range = self.eval(&expr.iter_range)?;
        self.spend(range.size().unwrap_or(0) as u64)?;
        let Some(items) = range.elements() else {
            return Err(Error::overload("comprehension", &[&range]));
        };
        let accumulator = self.eval(&expr.accu_init)?;
        let base = self.variables.len();
        self.bind(&expr.accu_var, accumulator);
        let result = self.loop_over(expr, base, items);
        self.variables.truncate(base);
        result
    }

    fn loop_over(
        &mut self,
        expr: &'a ComprehensionExpr,
        base: usize,
        items: Vec<Val<'a>>,
    ) -> Outcome<'a> {
        for item in items {
            // An error in the condition means: go on, and let the result tell.
            if matches!(self.eval(&expr.loop_cond), Ok(Val::Bool(false))) {
                break;
            }
            self.bind(&expr.iter_var, item);
            let step = self.step(&expr.loop_step, &expr.accu_var);
            self.variables.truncate(base);
            self.bind(&expr.accu_var, step?);
        }
        self.eval(&expr.result)
    }

    /// One step; lists that grow do so in place, not by a copy of all before.
    fn step(&mut self, step: &'a IdedExpr, accumulator: &str) -> Outcome<'a> {
        if let Expr::Call(call) = &step.expr
            && call.func_name == operators::CONDITIONAL
            && let [condition, yes, no] = call.args.as_slice()
        {
            return match self.eval(condition)? {
                Val::Bool(decision) => self.step(if decision { yes } else { no }, accumulator),
                other => Err(Error::overload("_?_:_", &[&other])),
            };
        }
        if let Expr::Call(call) = &step.expr
            && call.func_name == operators::ADD
            && let [IdedExpr { expr: Expr::Ident(name), .. }, added] = call.args.as_slice()
            && name == accumulator
            && let Some(Val::List(_)) = self.variable(name)
        {
            let added = self.eval(added)?;
            let (Some(more), Some(slot)) = (
                added.elements(),
                self.variables.iter_mut().rev().find(|(known, _)| *known == accumulator),
            ) else {
                return Err(Error::overload("_+_", &[&added]));
            };
            let Val::List(mut list) = std::mem::replace(&mut slot.1, Val::Null) else {
                return Err(Error::overload("_+_", &[&added]));
            };
            Rc::make_mut(&mut list).extend(more);
            return Ok(Val::List(list));
        }
        self.eval(step)
    }

    fn call(&mut self, call: &'a CallExpr) -> Outcome<'a> {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::CONDITIONAL, [condition, yes, no]) => match self.eval(condition)? {
                Val::Bool(true) => self.eval(yes),
                Val::Bool(false) => self.eval(no),
                other => Err(Error::overload("_?_:_", &[&other])),
            },
            (operators::LOGICAL_AND, [left, right]) => self.logical(left, right, false),
            (operators::LOGICAL_OR, [left, right]) => self.logical(left, right, true),
            (operators::NOT_STRICTLY_FALSE, [value]) => match self.eval(value) {
                Err(Error::TooCostly) => Err(Error::TooCostly),
                Ok(Val::Bool(value)) => Ok(Val::Bool(value)),
                _ => Ok(Val::Bool(true)),
            },
            (operators::LOGICAL_NOT, [value]) => match self.eval(value)? {
                Val::Bool(value) => Ok(Val::Bool(!value)),
                other => Err(Error::overload("!_", &[&other])),
            },
            (operators::NEGATE, [value]) => match self.eval(value)? {
                Val::Int(value) => value
                    .checked_neg()
                    .map(Val::Int)
                    .ok_or_else(|| Error::failed("integer overflow")),
                Val::Double(value) => Ok(Val::Double(-value)),
                other => Err(Error::overload("-_", &[&other])),
            },
            (operators::INDEX, [operand, index]) => self.index(operand, index, false),
            (operators::OPT_INDEX, [operand, index]) => self.index(operand, index, true),
            (operators::OPT_SELECT, [operand, field]) => self.index(operand, field, true),
            (operator, [left, right])
                if call.target.is_none() && operations::is_binary(operator) =>
            {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                self.binary(operator, &left, &right)
            }
            _ => self.function(call),
        }
    }

    /// `&&` and `||`: one side may fail if the other decides.
    fn logical(&mut self, left: &'a IdedExpr, right: &'a IdedExpr, decisive: bool) -> Outcome<'a> {
        let operator = if decisive { "_||_" } else { "_&&_" };
        let first = self.eval(left);
        match &first {
            Ok(Val::Bool(value)) if *value == decisive => return first,
            Err(Error::TooCostly) => return first,
            _ => {}
        }
        match (first, self.eval(right)) {
            (_, Err(Error::TooCostly)) => Err(Error::TooCostly),
            (_, Ok(Val::Bool(value))) if value == decisive => Ok(Val::Bool(decisive)),
            (Ok(Val::Bool(_)), Ok(Val::Bool(_))) => Ok(Val::Bool(!decisive)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(left), Ok(right)) => Err(Error::overload(operator, &[&left, &right])),
        }
    }

    fn index(&mut self, operand: &'a IdedExpr, index: &'a IdedExpr, optional: bool) -> Outcome<'a> {
        let operand = self.eval(operand)?;
        let index = self.eval(index)?;
        let (operand, optional) = match operand {
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(value)) => ((*value).clone(), true),
            other => (other, optional),
        };
        let found = match (&operand, &index) {
            (Val::Map(_) | Val::Fields(..), key) => {
                self.spend(operand.size().unwrap_or(0) as u64 / 10)?;
                operand
                    .entry(key)
                    .ok_or_else(|| Error::failed(format!("no such key: {}", shown(key))))
            }
            (Val::List(items), Val::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| items.get(at))
                .cloned()
                .ok_or_else(|| out_of_bounds(*at)),
            (Val::Items(items, node), Val::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| items.get(at))
                .map(|item| Val::of(item, *node))
                .ok_or_else(|| out_of_bounds(*at)),
            _ => return Err(Error::overload("_[_]", &[&operand, &index])),
        };
        if optional { Ok(Val::Optional(found.ok().map(Rc::new))) } else { found }
    }

    fn binary(&mut self, operator: &str, left: &Val<'a>, right: &Val<'a>) -> Outcome<'a> {
        match operator {
            operators::EQUALS | operators::NOT_EQUALS => {
                let limit = self.left;
                self.spend(left.weight(limit).min(right.weight(limit)))?;
                Ok(Val::Bool(left.equals(right) == (operator == operators::EQUALS)))
            }
            operators::IN => self.contains(left, right),
            operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS => {
                self.spend(left.weight(u64::MAX / 2).min(right.weight(u64::MAX / 2)))?;
                let nan = |value: &Val<'_>| matches!(value, Val::Double(value) if value.is_nan());
                let Some(order) = left.compare(right) else {
                    if nan(left) || nan(right) {
                        return Ok(Val::Bool(false));
                    }
                    return Err(Error::overload(operator, &[left, right]));
                };
                Ok(Val::Bool(match operator {
                    operators::LESS => order.is_lt(),
                    operators::LESS_EQUALS => order.is_le(),
                    operators::GREATER => order.is_gt(),
                    _ => order.is_ge(),
                }))
            }
            _ => self.arithmetic(operator, left, right),
        }
    }

    fn contains(&mut self, item: &Val<'a>, container: &Val<'a>) -> Outcome<'a> {
        match container {
            Val::Map(_) | Val::Fields(..) => Ok(Val::Bool(container.entry(item).is_some())),
            Val::List(_) | Val::Items(..) => {
                let limit = self.left;
                let each = item.weight(limit);
                self.spend(each.saturating_mul(container.size().unwrap_or(0) as u64))?;
                Ok(Val::Bool(
                    container
                        .elements()
                        .is_some_and(|items| items.iter().any(|one| one.equals(item))),
                ))
            }
            _ => Err(Error::overload("@in", &[item, container])),
        }
    }

    fn arithmetic(&mut self, operator: &str, left: &Val<'a>, right: &Val<'a>) -> Outcome<'a> {
        if operator == operators::ADD && left.size().is_some() {
            // What is joined is copied.
            let limit = self.left;
            let size = |value: &Val<'a>| match value {
                Val::List(_) | Val::Items(..) => value.size().unwrap_or(0) as u64,
                other => other.weight(limit),
            };
            self.spend(size(left) + size(right))?;
        }
        operations::arithmetic(operator, left, right)
    }

    fn function(&mut self, call: &'a CallExpr) -> Outcome<'a> {
        let name = call.func_name.as_str();
        let namespace = match call.target.as_deref() {
            Some(IdedExpr { expr: Expr::Ident(namespace), .. })
                if functions::NAMESPACES.contains(&namespace.as_str())
                    && self.variable(namespace).is_none() =>
            {
                Some(namespace.as_str())
            }
            _ => None,
        };
        if let (
            None,
            "optMap" | "optFlatMap",
            [IdedExpr { expr: Expr::Ident(variable), .. }, body],
        ) = (namespace, name, call.args.as_slice())
        {
            let Some(target) = &call.target else { return Err(Error::overload(name, &[])) };
            return match self.eval(target)? {
                Val::Optional(None) => Ok(Val::Optional(None)),
                Val::Optional(Some(value)) => {
                    let mapped = self.scoped(variable, (*value).clone(), body)?;
                    Ok(match name {
                        "optMap" => Val::Optional(Some(Rc::new(mapped))),
                        _ => mapped,
                    })
                }
                other => Err(Error::overload(name, &[&other])),
            };
        }
        let target = match (&call.target, namespace) {
            (Some(target), None) => Some(self.eval(target)?),
            _ => None,
        };
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        if name == "matches" {
            return self.matches(target, &args);
        }
        let cheap = ["size", "hasValue", "value", "orValue", "or", "dyn", "type"].contains(&name)
            || namespace == Some("optional");
        if !cheap {
            self.spend(functions::cost(name, target.as_ref(), &args, self.left))?;
        }
        functions::call(namespace, name, target, args)
    }

    fn scoped(&mut self, variable: &'a str, value: Val<'a>, body: &'a IdedExpr) -> Outcome<'a> {
        let base = self.variables.len();
        self.bind(variable, value);
        let result = self.eval(body);
        self.variables.truncate(base);
        result
    }

    fn matches(&mut self, target: Option<Val<'a>>, args: &[Val<'a>]) -> Outcome<'a> {
        let values: Vec<&Val<'a>> = target.iter().chain(args).collect();
        let [Val::Text(text), Val::Text(source)] = values.as_slice() else {
            return Err(Error::overload("matches", &values));
        };
        self.spend((1 + text.len() as u64 / 10).saturating_mul(1 + source.len() as u64 / 4))?;
        if let Some(regex) = self.patterns.get(&**source) {
            return Ok(Val::Bool(regex.is_match(text)));
        }
        self.spend(1_000)?;
        let regex = pattern::compile(source)
            .map_err(|_| Error::failed(format!("error parsing regexp: {source}")))?;
        Ok(Val::Bool(regex.is_match(text)))
    }
}

fn out_of_bounds(at: i64) -> Error {
    Error::failed(format!("index out of bounds: {at}"))
}

fn shown(key: &Val<'_>) -> String {
    match key {
        Val::Text(text) => text.to_string(),
        Val::Int(value) => value.to_string(),
        Val::UInt(value) => value.to_string(),
        Val::Bool(value) => value.to_string(),
        other => other.type_name().to_owned(),
    }
}

/// Identifiers that name types.
pub(super) fn type_name(name: &str) -> Option<&'static str> {
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"]
        .into_iter()
        .find(|known| *known == name)
}
