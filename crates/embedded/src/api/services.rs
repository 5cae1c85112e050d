//! Addresses and node ports of Services: who holds which, and the next free one.
//!
//! What is held follows from the stored Services. A write reserves what it needs first, so that two
//! writes at once never get the same, and the reservation ends with the write. Nothing routes these
//! addresses on one machine; programs and tools rely on their being there.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Api, kinds::Resource, metadata::Object, status::Status, write::Target};
use crate::schema::{
    Cause,
    builtin::service::{self, number},
};
use crate::store::Store;

pub(crate) const TABLE: &str = "services";
/// The network of the addresses, the same as in most clusters.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
const RANGE: &str = "10.96.0.0/16";
/// The first address is that of the API itself in a cluster, the last one is for broadcasts.
const ADDRESSES: std::ops::RangeInclusive<u32> = 2..=0xfffe;
const PORTS: std::ops::RangeInclusive<i64> = 30000..=32767;
/// What is before these is given only when all else is taken, so that clients may choose from it.
const FIRST_DRAWN: u32 = 257;
const FIRST_DRAWN_PORT: i64 = 30086;
const PORT_RANGE: &str = "30000-32767";
/// What a dry run shows, as nothing is given then.
const DRY_PORT: i64 = 32769;

/// Something that one Service has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Item {
    Address(Ipv4Addr),
    Port(i64),
}

/// Who has what.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// What stored Services have.
    stored: HashMap<Item, Arc<str>>,
    by_service: HashMap<Arc<str>, Vec<Item>>,
    /// What writes under way have reserved.
    reserved: HashSet<Item>,
}

impl Held {
    fn is_taken(&self, item: Item) -> bool {
        self.reserved.contains(&item) || self.stored.contains_key(&item)
    }

    fn set(&mut self, key: &Arc<str>, items: Vec<Item>) {
        for item in self.by_service.remove(key).into_iter().flatten() {
            if self.stored.get(&item) == Some(key) {
                self.stored.remove(&item);
            }
        }
        for item in &items {
            self.stored.insert(*item, key.clone());
        }
        if !items.is_empty() {
            self.by_service.insert(key.clone(), items);
        }
    }
}

impl Ledger {
    /// What the Services of a store hold.
    pub(crate) fn of(store: &Store) -> Self {
        let mut held = Held::default();
        for (key, entry) in store.list(TABLE, "").entries {
            held.set(&key, items(&Value::Object(entry.object())));
        }
        Self { held: Mutex::new(held) }
    }

    /// Takes note of how a Service is stored now, be it not at all.
    pub(crate) fn settle(&self, store: &Store, key: &Arc<str>) {
        let mut held = self.held.lock();
        let stored = store.get(TABLE, key);
        held.set(key, stored.map_or(Vec::new(), |entry| items(&Value::Object(entry.object()))));
    }
}

/// What a Service holds.
fn items(service: &Value) -> Vec<Item> {
    let address = service.pointer("/spec/clusterIP").and_then(Value::as_str);
    let address = address.and_then(service::ipv4).map(Item::Address);
    let health = number(service.get("spec").unwrap_or(&Value::Null), "healthCheckNodePort");
    let ports = service::node_ports(service).chain((health != 0).then_some(health));
    let mut items: Vec<Item> = address.into_iter().chain(ports.map(Item::Port)).collect();
    items.dedup();
    items
}

/// What a write has reserved, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    ledger: &'a Ledger,
    items: Vec<Item>,
    dry_run: bool,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut held = self.ledger.held.lock();
        for item in &self.items {
            held.reserved.remove(item);
        }
    }
}

impl Reservation<'_> {
    fn address(&mut self, wanted: &str) -> Result<Ipv4Addr, String> {
        let Some(wanted) = service::ipv4(wanted) else {
            return self.any_address();
        };
        let offset = u32::from(wanted).wrapping_sub(u32::from(NETWORK));
        if !(1..=0xfffe).contains(&offset) {
            return Err(if self.dry_run {
                format!(
                    "the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {RANGE}"
                )
            } else {
                "the provided network does not match the current range".into()
            });
        }
        let free = ADDRESSES.contains(&offset) && self.take(Item::Address(wanted));
        if free || self.dry_run {
            Ok(wanted)
        } else {
            Err("provided IP is already allocated".into())
        }
    }

    fn any_address(&mut self) -> Result<Ipv4Addr, String> {
        if self.dry_run {
            return Ok(NETWORK);
        }
        let count = ADDRESSES.end() - FIRST_DRAWN + 1;
        let start = chance()? % count;
        let drawn = (0..count).map(|step| FIRST_DRAWN + (start + step) % count);
        let offsets = drawn.chain(*ADDRESSES.start()..FIRST_DRAWN);
        let mut all = offsets.map(|offset| Ipv4Addr::from(u32::from(NETWORK) + offset));
        all.find(|address| self.take(Item::Address(*address))).ok_or("range is full".into())
    }

    fn port(&mut self, wanted: i64) -> Result<(), String> {
        if !PORTS.contains(&wanted) && !self.dry_run {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {PORT_RANGE}"
            ));
        }
        if self.take(Item::Port(wanted)) {
            return Ok(());
        }
        Err("provided port is already allocated".into())
    }

    fn any_port(&mut self) -> Result<i64, String> {
        if self.dry_run {
            let ports = self.items.iter().filter_map(|item| match item {
                Item::Port(port) => Some(port + 1),
                Item::Address(_) => None,
            });
            let port = ports.max().unwrap_or(DRY_PORT);
            self.items.push(Item::Port(port));
            return Ok(port);
        }
        let count = PORTS.end() - FIRST_DRAWN_PORT + 1;
        let start = i64::from(chance()?) % count;
        let drawn = (0..count).map(|step| FIRST_DRAWN_PORT + (start + step) % count);
        let mut all = drawn.chain(*PORTS.start()..FIRST_DRAWN_PORT);
        all.find(|port| self.take(Item::Port(*port))).ok_or("range is full".into())
    }

    /// Reserves something, if it is free.
    fn take(&mut self, item: Item) -> bool {
        let mut held = self.ledger.held.lock();
        if held.is_taken(item) || (self.dry_run && self.items.contains(&item)) {
            return false;
        }
        if !self.dry_run {
            held.reserved.insert(item);
        }
        self.items.push(item);
        true
    }
}

fn chance() -> Result<u32, String> {
    getrandom::u32().map_err(|error| error.to_string())
}

impl Api {
    /// Gives a Service that is about to be written its address and ports; other kinds none.
    pub(crate) fn give_addresses(
        &self,
        target: &Target,
        object: &mut Object,
        old: Option<&Object>,
        dry_run: bool,
    ) -> Result<Option<Reservation<'_>>, Status> {
        if !target.resource.is(TABLE) {
            return Ok(None);
        }
        let mut service = Value::Object(std::mem::take(object));
        let old = old.map(|old| Value::Object(old.clone()));
        let given = self.complete(target, &mut service, old.as_ref(), dry_run)?;
        if let Value::Object(completed) = service {
            *object = completed;
        }
        Ok(Some(given))
    }

    fn complete(
        &self,
        target: &Target,
        service: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Reservation<'_>, Status> {
        let causes = service::prepare(service, old);
        if !causes.is_empty() {
            return Err(invalid(target, causes));
        }
        let mut given = Reservation { ledger: &self.services, items: Vec::new(), dry_run };
        let nothing = |one: &Value| {
            one.pointer("/spec/clusterIPs").and_then(Value::as_array).is_none_or(Vec::is_empty)
        };
        if service::needs_address(service)
            && !service::is_headless(service)
            && old.is_none_or(nothing)
        {
            give_address(target, service, &mut given)?;
        }
        if service::has_node_ports(service) {
            let before: Vec<i64> = old.map_or(Vec::new(), |old| service::node_ports(old).collect());
            match old {
                None => give_first_ports(target, service, &mut given)?,
                Some(_) => give_more_ports(target, service, &before, &mut given)?,
            }
        }
        if service::needs_health_port(service) && !old.is_some_and(service::needs_health_port) {
            give_health_port(service, &mut given)?;
        }
        if let Some(old) = old {
            service::tidy(service, old);
        }
        Ok(given)
    }
}

fn invalid(target: &Target, causes: Vec<Cause>) -> Status {
    let Resource { group, kind, .. } = &*target.resource;
    Status::invalid(group, kind, &target.name, causes)
}

fn give_address(
    target: &Target,
    service: &mut Value,
    given: &mut Reservation<'_>,
) -> Result<(), Status> {
    let all = service.pointer("/spec/clusterIPs").cloned().unwrap_or_default();
    let wanted = all.get(0).and_then(Value::as_str).unwrap_or_default().to_owned();
    let address = match given.address(&wanted) {
        Ok(_) if !wanted.is_empty() => wanted,
        Ok(address) => address.to_string(),
        Err(problem) if wanted.is_empty() => {
            return Err(Status::internal(format!("failed to allocate a serviceIP: {problem}")));
        }
        Err(problem) => {
            let detail = format!("failed to allocate IP {wanted}: {problem}");
            return Err(invalid(target, vec![Cause::invalid("spec.clusterIPs", &all, &detail)]));
        }
    };
    if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("clusterIPs".into(), json!([address]));
        spec.insert("clusterIP".into(), address.into());
    }
    Ok(())
}

fn refused_port(target: &Target, index: usize, port: i64, problem: &str) -> Status {
    let field = format!("spec.ports[{index}].nodePort");
    invalid(target, vec![Cause::invalid(field, &json!(port), problem)])
}

fn no_port(problem: String) -> Status {
    Status::internal(format!("failed to allocate a nodePort: {problem}"))
}

fn ports_of(service: &mut Value) -> Vec<&mut Object> {
    let ports = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    ports.into_iter().flatten().filter_map(Value::as_object_mut).collect()
}

fn field(port: &Object, name: &str) -> i64 {
    port.get(name).and_then(Value::as_i64).unwrap_or(0)
}

/// Ports of nodes for a new Service. Ports of the same number, for several protocols, share one.
fn give_first_ports(
    target: &Target,
    service: &mut Value,
    given: &mut Reservation<'_>,
) -> Result<(), Status> {
    let on_demand = !service::wants_node_ports(service);
    let mut ports = ports_of(service);
    let wishes: Vec<(i64, i64)> =
        ports.iter().map(|port| (field(port, "port"), field(port, "nodePort"))).collect();
    let mut shared: HashMap<i64, i64> = HashMap::new();
    for (index, port) in ports.iter_mut().enumerate() {
        let Some(&(number, own)) = wishes.get(index) else { break };
        if own == 0 && on_demand {
            continue;
        }
        let node_port = match shared.get(&number) {
            Some(known) if own == 0 || own == *known => *known,
            Some(_) => {
                given.port(own).map_err(|why| refused_port(target, index, own, &why))?;
                own
            }
            None => {
                let wish = wishes.iter().find(|wish| wish.0 == number && wish.1 != 0);
                let chosen = match wish {
                    Some(&(_, wish)) => {
                        given.port(wish).map_err(|why| refused_port(target, index, wish, &why))?;
                        wish
                    }
                    None => given.any_port().map_err(no_port)?,
                };
                shared.insert(number, chosen);
                chosen
            }
        };
        port.insert("nodePort".into(), node_port.into());
    }
    Ok(())
}

/// Ports of nodes for a changed Service.
fn give_more_ports(
    target: &Target,
    service: &mut Value,
    before: &[i64],
    given: &mut Reservation<'_>,
) -> Result<(), Status> {
    let on_demand = !service::wants_node_ports(service);
    let mut seen: Vec<(i64, String)> = Vec::new();
    let mut mine: Vec<i64> = Vec::new();
    for (index, port) in ports_of(service).into_iter().enumerate() {
        let mut number = field(port, "nodePort");
        if number == 0 && on_demand {
            continue;
        }
        if number == 0 {
            number = given.any_port().map_err(no_port)?;
            port.insert("nodePort".into(), number.into());
        } else if !before.contains(&number) && !mine.contains(&number) {
            given.port(number).map_err(|why| refused_port(target, index, number, &why))?;
            mine.push(number);
        }
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or_default();
        let this = (number, protocol.to_owned());
        if seen.contains(&this) {
            return Err(Status::unknown(format!("duplicate nodePort: {{{protocol} {number}}}")));
        }
        seen.push(this);
    }
    Ok(())
}

fn give_health_port(service: &mut Value, given: &mut Reservation<'_>) -> Result<(), Status> {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    let refused = |what: &str, port: i64, why: String| {
        Status::internal(format!("failed to allocate {what}HealthCheck NodePort {port}: {why}"))
    };
    match field(spec, "healthCheckNodePort") {
        0 => {
            let port = given.any_port().map_err(|why| refused("a ", 0, why))?;
            spec.insert("healthCheckNodePort".into(), port.into());
        }
        wanted => given.port(wanted).map_err(|why| refused("requested ", wanted, why))?,
    }
    Ok(())
}
