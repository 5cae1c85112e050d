//! The cost of an expression at worst, part by part.

use std::collections::HashMap;

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};

use super::declared::{Declared, Type};
use crate::schema::cel::value::unescape;

/// One step of a way through the schema.
const ITEMS: &str = "@items";
const VALUES: &str = "@values";
const KEYS: &str = "@keys";

const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;

/// What can be said of the value of an expression.
#[derive(Clone, Debug)]
pub(super) struct Value<'d> {
    /// What it costs to get it.
    pub(super) cost: u64,
    pub(super) ty: Type,
    /// The type in the schema, if it comes from there.
    declared: Option<&'d Declared>,
    /// The way to it through the schema, beginning with a variable; empty if there is none.
    path: Vec<String>,
    /// The most bytes, items or entries.
    size: Option<u64>,
    /// The sizes of keys and of values or items.
    entries: Option<(u64, u64)>,
    /// The type of items of a computed list.
    item: Option<Box<Self>>,
}

impl<'d> Value<'d> {
    pub(super) fn of(ty: Type, cost: u64) -> Self {
        let size = ty.is_scalar().then_some(1);
        Self { cost, ty, declared: None, path: Vec::new(), size, entries: None, item: None }
    }

    pub(super) fn sized(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    pub(super) fn size(&self) -> u64 {
        self.size.unwrap_or(u64::MAX)
    }

    /// Becomes a list of what two others have.
    pub(super) fn take_items(&mut self, one: &Self, other: &Self) {
        self.entries = one
            .entries
            .zip(other.entries)
            .map(|(one, other)| (one.0.max(other.0), one.1.max(other.1)));
        // A list that grows begins empty, so the second part says more.
        self.item = other.item.clone().or_else(|| one.item.clone());
        self.declared = other.declared.or(one.declared).filter(|_| self.item.is_none());
    }

    fn element(&self) -> Option<&'d Declared> {
        self.declared.and_then(|declared| declared.element.as_deref())
    }

    /// The most bytes of an item of a list of texts; none for other lists.
    pub(super) fn text_item(&self, root: &'d Declared) -> Option<Option<u64>> {
        if self.ty != Type::List {
            return None;
        }
        let ty = self.element().map(|element| element.ty);
        let ty = ty.or(self.item.as_ref().map(|item| item.ty));
        Some(match ty {
            Some(Type::String | Type::Bytes) => {
                let mut path = self.path.clone();
                if !path.is_empty() {
                    path.push(ITEMS.into());
                }
                Some(look_up(root, &path).unwrap_or(u64::MAX))
            }
            _ => None,
        })
    }
}

/// The size that the schema bounds at the end of a way.
fn look_up(root: &Declared, path: &[String]) -> Option<u64> {
    let (_, steps) = path.split_first()?;
    let mut here = root;
    for step in steps {
        here = match step.as_str() {
            ITEMS | VALUES => here.element.as_deref()?,
            // Keys have no bound of their own.
            KEYS if here.ty == Type::Map => return Some(u64::MAX >> 1),
            name => here.fields.get(name)?,
        };
    }
    Some(here.most)
}

/// Estimates the expressions of one level.
pub(super) struct Estimator<'d> {
    pub(super) root: &'d Declared,
    variables: HashMap<String, Vec<Value<'d>>>,
}

impl<'d> Estimator<'d> {
    pub(super) fn new(root: &'d Declared) -> Self {
        Self { root, variables: HashMap::new() }
    }

    pub(super) fn cost(mut self, expr: &IdedExpr) -> u64 {
        self.visit(expr).cost
    }

    pub(super) fn visit(&mut self, expr: &IdedExpr) -> Value<'d> {
        match &expr.expr {
            Expr::Literal(literal) => literal_value(literal),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let items: Vec<_> = list.elements.iter().map(|item| self.visit(item)).collect();
                let cost = sum(items.iter().map(|item| item.cost)).saturating_add(LIST_COST);
                let largest = items.iter().map(Value::size).max().unwrap_or(0);
                let size = u64::try_from(items.len()).unwrap_or(u64::MAX);
                let mut made = Value::of(Type::List, cost).sized(size);
                made.entries = Some((1, largest));
                made.item = items.into_iter().next().map(Box::new);
                made
            }
            Expr::Map(map) => {
                let (mut cost, mut key, mut largest) = (MAP_COST, 0, 0);
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        let (name, value) = (self.visit(&entry.key), self.visit(&entry.value));
                        cost = sum([cost, name.cost, value.cost]);
                        (key, largest) = (name.size().max(key), value.size().max(largest));
                    }
                }
                let size = u64::try_from(map.entries.len()).unwrap_or(u64::MAX);
                let mut made = Value::of(Type::Map, cost).sized(size);
                made.entries = Some((key, largest));
                made
            }
            Expr::Comprehension(loops) => self.comprehension(loops),
            Expr::Struct(_) | Expr::Unspecified => Value::of(Type::Dynamic, 0),
        }
    }

    /// A value at a place of the schema.
    fn at(&self, path: Vec<String>, declared: Option<&'d Declared>, cost: u64) -> Value<'d> {
        let ty = declared.map_or(Type::Dynamic, |declared| declared.ty);
        let mut value = Value::of(ty, cost);
        value.size = look_up(self.root, &path).or(value.size);
        value.declared = declared;
        value.path = path;
        value
    }

    fn name(&self, name: &str) -> Value<'d> {
        if let Some(value) = self.variables.get(name).and_then(|all| all.last()) {
            return Value { cost: 1, ..value.clone() };
        }
        match name {
            "self" | "oldSelf" => self.at(vec![name.into()], Some(self.root), 1),
            // A type is as a value at the root.
            _ => self.at(vec![name.into()], None, 1),
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Value<'d> {
        let operand = self.visit(&select.operand);
        if select.test {
            return Value::of(Type::Bool, operand.cost);
        }
        let costs = matches!(operand.ty, Type::Map | Type::Object);
        let cost = operand.cost.saturating_add(u64::from(costs));
        let name = unescape(&select.field);
        let declared = match operand.ty {
            Type::Map => operand.element(),
            _ => operand.declared.and_then(|declared| declared.fields.get(&name)),
        };
        let mut path = operand.path;
        path.push(name);
        // Without a way to the operand, this begins with the field, and leads nowhere.
        self.at(path, declared, cost)
    }

    fn comprehension(&mut self, loops: &ComprehensionExpr) -> Value<'d> {
        let range = self.visit(&loops.iter_range);
        let start = self.visit(&loops.accu_init);
        let literal = matches!(loops.accu_init.expr, Expr::Literal(_));
        let accumulated = Value { path: Vec::new(), ..start.clone() };
        self.push(&loops.accu_var, accumulated);
        self.push(&loops.iter_var, self.entry(&range, loops.iter_var2.is_some()));
        if let Some(name) = &loops.iter_var2 {
            self.push(name, self.item(&range));
        }
        let (condition, step) = (self.visit(&loops.loop_cond), self.visit(&loops.loop_step));
        self.pop(&loops.iter_var);
        if let Some(name) = &loops.iter_var2 {
            self.pop(name);
        }
        let mut result = self.visit(&loops.result);
        self.pop(&loops.accu_var);
        let each = condition.cost.saturating_add(step.cost);
        let all = range.size().saturating_mul(each);
        result.cost = sum([range.cost, start.cost, result.cost, all]);
        result.path = Vec::new();
        if literal {
            result.size = start.size;
        } else if matches!(start.ty, Type::List | Type::Map) {
            result.size = Some(range.size());
            result.entries = step.entries;
            result.item = step.item;
        }
        result
    }

    fn push(&mut self, name: &str, value: Value<'d>) {
        self.variables.entry(name.to_owned()).or_default().push(value);
    }

    fn pop(&mut self, name: &str) {
        if let Some(all) = self.variables.get_mut(name) {
            all.pop();
        }
    }

    /// What a loop with one variable goes through: the items of a list, the keys of a map. With
    /// two, the first has the keys or the numbers of the items.
    fn entry(&self, range: &Value<'d>, first_of_two: bool) -> Value<'d> {
        if range.ty == Type::List && !first_of_two {
            return self.item(range);
        }
        let ty = if range.ty == Type::List { Type::Number } else { Type::String };
        let mut path = range.path.clone();
        path.push(KEYS.into());
        let mut key = Value::of(ty, 1);
        key.size = look_up(self.root, &path).or(key.size).or(range.entries.map(|sizes| sizes.0));
        key
    }

    fn item(&self, range: &Value<'d>) -> Value<'d> {
        let declared = range.element();
        let mut path = range.path.clone();
        path.push(if range.ty == Type::List { ITEMS } else { VALUES }.into());
        let mut item = self.at(path, declared, 1);
        if let (None, Some(known)) = (declared, &range.item) {
            (item.ty, item.declared) = (known.ty, known.declared);
            item.size = item.size.or(known.ty.is_scalar().then_some(1));
        }
        item.size = item.size.or(range.entries.map(|sizes| sizes.1));
        item
    }

    fn call(&mut self, call: &CallExpr) -> Value<'d> {
        let name = call.func_name.as_str();
        if let Some(bound) = self.macros(call) {
            return bound;
        }
        let args: Vec<_> = call.args.iter().map(|arg| self.visit(arg)).collect();
        let before = sum(args.iter().map(|arg| arg.cost));
        match (name, args.as_slice(), &call.target) {
            (operators::INDEX, [operand, _], _) => {
                let step = if operand.ty == Type::List { ITEMS } else { VALUES };
                let mut path = operand.path.clone();
                path.push(step.into());
                let mut value = self.at(path, operand.element(), before.saturating_add(1));
                value.size = operand.entries.map(|sizes| sizes.1).or(value.size);
                value
            }
            (operators::CONDITIONAL, [condition, yes, no], _) => {
                let cost = condition.cost.saturating_add(yes.cost.max(no.cost));
                let mut value = Value::of(yes.ty, cost).sized(yes.size().max(no.size()));
                value.declared = yes.declared.or(no.declared);
                value.item = yes.item.clone().or(no.item.clone());
                value.entries =
                    yes.entries.zip(no.entries).map(|(yes, no)| (yes.0.max(no.0), yes.1.max(no.1)));
                value
            }
            ("dyn", [arg], None) => Value { cost: before.saturating_add(1), ..arg.clone() },
            (_, _, Some(target)) => {
                let target = self.visit(target);
                let mut value = self.function(name, Some(&target), &args);
                value.cost = sum([value.cost, before, target.cost]);
                value
            }
            _ => {
                let mut value = self.function(name, None, &args);
                value.cost = value.cost.saturating_add(before);
                value
            }
        }
    }

    /// Macros that the parser leaves as calls: `optMap` and `optFlatMap`.
    fn macros(&mut self, call: &CallExpr) -> Option<Value<'d>> {
        let target = call.target.as_deref()?;
        let (IdedExpr { expr: Expr::Ident(variable), .. }, [body]) = call.args.split_first()?
        else {
            return None;
        };
        if !matches!(call.func_name.as_str(), "optMap" | "optFlatMap") {
            return None;
        }
        let bound = self.visit(target);
        // A test for the value, the value, and a list for the loop.
        let before = bound.cost.saturating_mul(3).saturating_add(LIST_COST + 2);
        self.push(variable, bound);
        let mut result = self.visit(body);
        self.pop(variable);
        result.cost = result.cost.saturating_add(before);
        Some(result)
    }
}

fn literal_value<'d>(literal: &LiteralValue) -> Value<'d> {
    let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    match literal {
        LiteralValue::String(text) => {
            Value::of(Type::String, 0).sized(length(text.inner().chars().count()))
        }
        LiteralValue::Bytes(bytes) => Value::of(Type::Bytes, 0).sized(length(bytes.inner().len())),
        LiteralValue::Boolean(_) => Value::of(Type::Bool, 0),
        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => {
            Value::of(Type::Number, 0)
        }
        LiteralValue::Null => Value::of(Type::Dynamic, 0).sized(1),
    }
}

pub(super) fn sum(costs: impl IntoIterator<Item = u64>) -> u64 {
    costs.into_iter().fold(0, u64::saturating_add)
}
