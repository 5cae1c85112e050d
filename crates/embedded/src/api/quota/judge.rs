//! Whether a quota lets a write through.

use serde_json::{Value, json};

use super::{
    super::{kinds::text, metadata::Object},
    amount::{self, Amounts, read, shown},
    usage::{self, tracks},
};

/// A ResourceQuota.
#[derive(Debug)]
pub(super) struct Quota {
    pub(super) key: String,
    name: String,
    pub(super) spec_hard: Amounts,
    /// Scopes and scope selectors, all as selectors.
    pub(super) scopes: Vec<Value>,
    /// What is enforced; `None` before the first count.
    hard: Option<Amounts>,
    pub(super) used: Amounts,
    counted: bool,
}

impl Quota {
    pub(super) fn new(key: &str, object: Object) -> Self {
        let object = Value::Object(object);
        let list = |pointer: &str| {
            object.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let plain = list("/spec/scopes")
            .into_iter()
            .map(|name| json!({"scopeName": name, "operator": "Exists"}));
        let scopes = plain.chain(list("/spec/scopeSelector/matchExpressions")).collect();
        let hard = object.pointer("/status/hard");
        let used = object.pointer("/status/used");
        Self {
            key: key.to_owned(),
            name: text(&object, "/metadata/name").to_owned(),
            spec_hard: read(object.pointer("/spec/hard")),
            scopes,
            hard: hard.map(|hard| read(Some(hard))),
            used: read(used),
            counted: used.is_some(),
        }
    }

    /// Whether the status says what it should.
    pub(super) fn is_current(&self, used: &Amounts) -> bool {
        self.counted && self.hard.as_ref() == Some(&self.spec_hard) && self.used == *used
    }

    fn matches(&self, table: &str, object: &Value) -> bool {
        self.scopes.iter().all(|scope| usage::in_scope(table, object, scope))
    }

    /// What would be used after a write, `None` if that is the same as before; or why the write is
    /// refused.
    pub(super) fn judge(
        &self,
        table: &str,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<Option<Amounts>, String> {
        let Some(hard) = &self.hard else { return Ok(None) };
        let limited: Vec<&String> = hard.keys().filter(|name| tracks(table, name)).collect();
        if limited.is_empty() || !self.matches(table, new) {
            return Ok(None);
        }
        // Pods cannot ask for more later: only what comes into the scope is looked at again.
        if table == "pods" && old.is_some_and(|old| self.matches(table, old)) {
            return Ok(None);
        }
        if let Some(problem) = usage::unnamed(table, new, &limited) {
            return Err(format!("failed quota: {}: {problem}", self.name));
        }
        let names = || limited.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",");
        if limited.iter().any(|name| !self.used.contains_key(*name)) {
            return Err(format!("status unknown for quota: {}, resources: {}", self.name, names()));
        }
        let now = jiff::Timestamp::now();
        let mut asked = usage::usage(table, new, now);
        let negative: Vec<&str> = asked
            .iter()
            .filter(|(_, amount)| amount.is_negative())
            .map(|(name, _)| name.as_str())
            .collect();
        if !negative.is_empty() {
            return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
        }
        if let Some(old) = old.filter(|old| self.matches(table, old)) {
            let before = usage::usage(table, old, now);
            for (name, amount) in &mut asked {
                *amount = amount.minus(before.get(name).copied().unwrap_or_default());
            }
        }
        asked.retain(|name, amount| !amount.is_zero() && hard.contains_key(name));
        if asked.is_empty() {
            return Ok(None);
        }
        let mut used = self.used.clone();
        amount::add(&mut used, &asked);
        let of = |all: &Amounts, name: &String| all.get(name).copied().unwrap_or_default();
        let exceeded: Vec<&String> =
            asked.keys().filter(|name| of(&used, name).exceeds(of(hard, name))).collect();
        if exceeded.is_empty() {
            return Ok(Some(used));
        }
        let part = |all: &Amounts| shown(exceeded.iter().map(|name| (*name, of(all, name))));
        Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            self.name,
            part(&asked),
            part(&self.used),
            part(hard)
        ))
    }
}
