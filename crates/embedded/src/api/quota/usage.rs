//! What an object uses, and which quotas it counts for.

use serde_json::Value;

use super::{
    super::kinds::text,
    amount::{Amount, Amounts, read},
};

/// Between the name of a storage class and what is limited of it.
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
/// What quotas may limit of pods.
const OF_PODS: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// What a container must name when a quota limits it.
const DEMANDED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Whether a quota's resource is about the objects of a table.
pub(crate) fn tracks(table: &str, name: &str) -> bool {
    name.strip_prefix("count/") == Some(table)
        || match table {
            "pods" => {
                OF_PODS.contains(&name)
                    || name.starts_with("hugepages-")
                    || name
                        .strip_prefix("requests.")
                        .is_some_and(|rest| rest.starts_with("hugepages-") || rest.contains('/'))
            }
            "services" => {
                matches!(name, "services" | "services.nodeports" | "services.loadbalancers")
            }
            "persistentvolumeclaims" => {
                let own =
                    |name: &str| matches!(name, "persistentvolumeclaims" | "requests.storage");
                own(name) || name.split_once(BY_CLASS).is_some_and(|(_, rest)| own(rest))
            }
            "configmaps" | "secrets" | "resourcequotas" => name == table,
            _ => false,
        }
}

/// Whether each object of a table uses the same.
pub(crate) fn is_uniform(table: &str) -> bool {
    !matches!(table, "pods" | "services" | "persistentvolumeclaims")
}

/// What an object uses now.
pub(crate) fn usage(table: &str, object: &Value, now: jiff::Timestamp) -> Amounts {
    let mut usage = Amounts::from([(format!("count/{table}"), Amount::whole(1))]);
    let mut put = |name: &str, amount: Amount| {
        usage.insert(name.to_owned(), amount);
    };
    match table {
        "configmaps" | "secrets" | "resourcequotas" => put(table, Amount::whole(1)),
        "services" => {
            let (ports, balancers) = service(object);
            put("services", Amount::whole(1));
            put("services.nodeports", Amount::whole(ports));
            put("services.loadbalancers", Amount::whole(balancers));
        }
        "persistentvolumeclaims" => {
            let annotation = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
            let class = match text(object, annotation) {
                "" => text(object, "/spec/storageClassName"),
                class => class,
            };
            let mut both = |name: &str, amount: Amount| {
                put(name, amount);
                if !class.is_empty() {
                    put(&format!("{class}{BY_CLASS}{name}"), amount);
                }
            };
            both("persistentvolumeclaims", Amount::whole(1));
            if let Some(storage) = claimed(object) {
                both("requests.storage", storage);
            }
        }
        "pods" if is_alive(object, now) => usage.extend(pod(object)),
        _ => {}
    }
    usage
}

/// Node ports and load balancers that a service asks for.
fn service(object: &Value) -> (usize, usize) {
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    let all = ports.map_or(0, Vec::len);
    match text(object, "/spec/type") {
        "NodePort" => (all, 0),
        "LoadBalancer" => {
            let on_demand = object.pointer("/spec/allocateLoadBalancerNodePorts");
            let named = |port: &&Value| port.get("nodePort").is_some_and(|port| *port != 0);
            let ports = match on_demand {
                Some(Value::Bool(false)) => ports.into_iter().flatten().filter(named).count(),
                _ => all,
            };
            (ports, 1)
        }
        _ => (0, 0),
    }
}

/// The storage of a claim: what it asks for, or what it got already if that is more.
fn claimed(object: &Value) -> Option<Amount> {
    let amount = |pointer: &str| object.pointer(pointer).and_then(Amount::of);
    let asked = amount("/spec/resources/requests/storage")?.rounded_up();
    let allocated = amount("/status/allocatedResources/storage");
    Some(allocated.map_or(asked, |allocated| asked.larger(allocated.rounded_up())))
}

/// Whether a pod still uses what it asked for.
fn is_alive(object: &Value, now: jiff::Timestamp) -> bool {
    if matches!(text(object, "/status/phase"), "Succeeded" | "Failed") {
        return false;
    }
    let grace = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    let deleted = text(object, "/metadata/deletionTimestamp").parse::<jiff::Timestamp>();
    match (grace, deleted) {
        (Some(grace), Ok(deleted)) => now.as_second() <= deleted.as_second().saturating_add(grace),
        _ => true,
    }
}

pub(crate) fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array).into_iter().flatten()
}

/// `requests` or `limits` of a container or pod.
pub(crate) fn resources(holder: &Value, which: &str) -> Amounts {
    let all = holder.get("resources");
    read(all.and_then(|resources| resources.get(which)))
}

fn larger(one: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = one.entry(name.clone()).or_insert(*amount);
        *entry = entry.larger(*amount);
    }
}

/// What all containers of a pod together request, or are limited to.
pub(crate) fn sum(pod: &Value, which: &str) -> Amounts {
    let mut sum = Amounts::new();
    for container in containers(pod, "containers") {
        super::amount::add(&mut sum, &resources(container, which));
    }
    let (mut beside, mut before) = (Amounts::new(), Amounts::new());
    for container in containers(pod, "initContainers") {
        let mut own = resources(container, which);
        if text(container, "/restartPolicy") == "Always" {
            super::amount::add(&mut sum, &own);
            super::amount::add(&mut beside, &own);
            own = beside.clone();
        } else {
            super::amount::add(&mut own, &beside);
        }
        larger(&mut before, &own);
    }
    larger(&mut sum, &before);
    if let Some(spec) = pod.get("spec") {
        sum.extend(resources(spec, which));
        let overhead = read(spec.get("overhead"));
        let counts = |name: &String| which == "requests" || sum.contains_key(name);
        let overhead = overhead.into_iter().filter(|(name, _)| counts(name)).collect();
        super::amount::add(&mut sum, &overhead);
    }
    sum
}

/// The names that a quota may use for requests and limits.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut named = Amounts::from([("pods".to_owned(), Amount::whole(1))]);
    for (name, amount) in requests {
        let native = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if native || name.starts_with("hugepages-") {
            named.insert(name.clone(), *amount);
        }
        named.insert(format!("requests.{name}"), *amount);
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            named.insert(format!("limits.{name}"), *amount);
        }
    }
    named
}

fn pod(pod: &Value) -> Amounts {
    named(&sum(pod, "requests"), &sum(pod, "limits"))
}

/// What a container of a pod must name and does not, as the refusal says it.
pub(crate) fn unnamed(table: &str, object: &Value, limited: &[&String]) -> Option<String> {
    let of_pod = object.pointer("/spec/resources");
    if table != "pods"
        || of_pod.is_some_and(|all| all.get("requests").or(all.get("limits")).is_some())
    {
        return None;
    }
    let mut limited: Vec<&str> =
        limited.iter().map(|name| name.as_str()).filter(|name| DEMANDED.contains(name)).collect();
    limited.sort_unstable();
    let missing = |name: &&str| {
        let all = containers(object, "containers").chain(containers(object, "initContainers"));
        let mut lacking: Vec<&str> = all
            .filter(|container| {
                !named(&resources(container, "requests"), &resources(container, "limits"))
                    .contains_key(*name)
            })
            .map(|container| text(container, "/name"))
            .collect();
        lacking.sort_unstable();
        (!lacking.is_empty()).then(|| format!("{name} for: {}", lacking.join(",")))
    };
    let problems: Vec<String> = limited.iter().filter_map(missing).collect();
    (!problems.is_empty()).then(|| format!("must specify {}", problems.join("; ")))
}

/// Whether an object is in a scope of a quota. Only pods are in any.
pub(crate) fn in_scope(table: &str, object: &Value, scope: &Value) -> bool {
    if table != "pods" {
        return false;
    }
    let ends = object
        .pointer("/spec/activeDeadlineSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|seconds| seconds >= 0);
    let all = || containers(object, "containers").chain(containers(object, "initContainers"));
    let best_effort = || {
        all().all(|one| {
            let of = |which: &str| resources(one, which);
            let counts = |(name, amount): (&String, &Amount)| {
                matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero()
            };
            !of("requests").iter().chain(of("limits").iter()).any(counts)
        })
    };
    match text(scope, "/scopeName") {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => {
            let class = text(object, "/spec/priorityClassName");
            let values = scope.get("values").and_then(Value::as_array);
            let listed = values.is_some_and(|values| values.iter().any(|value| value == class));
            match text(scope, "/operator") {
                "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                "In" => !class.is_empty() && listed,
                "NotIn" => class.is_empty() || !listed,
                _ => false,
            }
        }
        _ => false,
    }
}
