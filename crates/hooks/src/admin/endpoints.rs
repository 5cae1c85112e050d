//! Endpoints: shown, tried out, paused.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use axum::{
    body::Body,
    extract::{Path, Query, State},
};
use bytes::Bytes;
use jiff::Timestamp;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admin,
    answer::{Problem, Said, ok},
    deliveries::read,
    gate::{Caller, Want},
};
use crate::{
    model::Hook,
    receive::{Endpoint, Pause, Route},
    sources::sample,
};

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    mut caller: Caller,
    Query(query): Query<HashMap<String, String>>,
) -> Said {
    let full = query.get("paths").is_some_and(|paths| paths == "full");
    let mut items = Vec::new();
    for (endpoint, paths) in admin.receiver.endpoints() {
        if !caller.may(Want::See, &endpoint.name).await? {
            continue;
        }
        let full = full && caller.may(Want::Do, &endpoint.name).await?;
        items.push(shown(&admin, &endpoint, &paths, full));
    }
    ok(json!({ "items": items }))
}

fn shown(admin: &Admin, endpoint: &Endpoint, paths: &[String], full: bool) -> Value {
    // Eight digits are enough to tell paths apart, and too few to use one.
    let masked = |path: &String| path.chars().take(14).chain("…".chars()).collect::<String>();
    let shown = |path: &String| if full { path.clone() } else { masked(path) };
    let paths: Vec<String> = paths.iter().map(shown).collect();
    let urls = admin.url.as_ref().filter(|_| full);
    let urls = urls.map(|url| paths.iter().map(|path| format!("{url}{path}")).collect::<Vec<_>>());
    let tally = admin.receiver.tally(&endpoint.name);
    let last = Timestamp::from_second(tally.last_accepted).ok();
    let last = last.filter(|_| tally.last_accepted > 0).map(|at| at.to_string());
    let age = endpoint.keys.newest().map(|since| Timestamp::now().as_second() - since);
    let meter = admin.receiver.meters().endpoint(&endpoint.name);
    let targets: Vec<&str> = endpoint.targets.iter().map(|target| target.name()).collect();
    json!({
        "name": endpoint.name,
        "source": endpoint.source.name(),
        "paths": paths,
        "urls": urls,
        "targets": targets,
        "accepted": tally.accepted,
        "refused": tally.refused,
        "lastAccepted": last,
        "keyAgeSeconds": age,
        "paused": meter.paused.load(Relaxed) || endpoint.pause != Pause::No,
        "warnings": warnings(endpoint),
    })
}

/// What the owner should know about an endpoint.
fn warnings(endpoint: &Endpoint) -> Vec<String> {
    const WEEK: i64 = 7 * 24 * 3600;
    let now = Timestamp::now().as_second();
    let mut warnings = Vec::new();
    for key in &endpoint.keys.0 {
        if key.bytes().len() < 16 {
            warnings.push("a key has fewer than 16 bytes".to_owned());
        }
        if key.not_after().is_some_and(|end| end < now) {
            warnings.push("a key has expired".to_owned());
        } else if key.not_after().is_some_and(|end| end - now < WEEK) {
            warnings.push("a key expires within 7 days".to_owned());
        }
    }
    if endpoint.source.needs_auth() && endpoint.auth.is_none() {
        warnings.push("the URL is the only secret: the sender proves nothing else".to_owned());
    }
    warnings
}

/// `{name}/test`, `{name}/pause` and `{name}/resume`.
pub(super) async fn act(
    State(admin): State<Arc<Admin>>,
    mut caller: Caller,
    Path(rest): Path<String>,
    body: Body,
) -> Said {
    let (name, action) = rest.rsplit_once('/').ok_or_else(|| Problem::not_found("route"))?;
    if !["test", "pause", "resume"].contains(&action) {
        return Err(Problem::not_found("route"));
    }
    let route = admin.receiver.endpoint(name).ok_or_else(|| Problem::not_found("endpoint"));
    let route = match route {
        Ok(route) => route,
        Err(missing) => {
            // Whether there is one is nobody's business who may not see it.
            caller.demand(Want::See, name).await?;
            return Err(missing);
        }
    };
    caller.demand(Want::Do, name).await?;
    match action {
        "test" => test(&admin, route, read(body).await?).await,
        "pause" => pause(&admin, &route, Some(read(body).await?)).await,
        _ => pause(&admin, &route, None).await,
    }
}

/// What is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Trial {
    /// The sender's name of the event, if it is in a header.
    event: Option<String>,
    /// The body; without one a sample.
    payload: Option<String>,
}

async fn test(admin: &Admin, route: Route, trial: Trial) -> Said {
    let endpoint = route.endpoint();
    let now = Timestamp::now().as_second();
    let made = sample::request(endpoint, trial.event.as_deref(), trial.payload, now);
    let (headers, body) = made.map_err(Problem::conflict)?;
    let event = body.len();
    let tried = admin.receiver.try_out(route, headers, Bytes::from(body)).await;
    let tried = tried.ok_or(crate::journal::Unavailable)?;
    ok(json!({
        "status": tried.status,
        "body": tried.text,
        "state": tried.state,
        "delivery": tried.delivery.map(|id| id.to_string()),
        "sentBytes": event,
    }))
}

/// How an endpoint is paused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Wish {
    buffer: bool,
}

async fn pause(admin: &Admin, route: &Route, wish: Option<Wish>) -> Said {
    let name = &route.endpoint().name;
    let (paused, buffer) = (wish.is_some(), wish.is_some_and(|wish| wish.buffer));
    match (&admin.hooks, name.split_once('/')) {
        // A pause outlives the server: it is written where everybody looks.
        (Some(client), Some((namespace, name))) => {
            let patch = json!({"spec": {"suspend": paused, "buffer": buffer}});
            let api = Api::<Hook>::namespaced(client.clone(), namespace);
            let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
            patched.map_err(cluster::error::public)?;
        }
        _ if buffer => {
            return Err(Problem::bad("only the endpoints of Hook objects can keep what comes in"));
        }
        _ => route.meter().paused.store(paused, Relaxed),
    }
    ok(json!({ "name": name, "paused": paused, "buffer": buffer }))
}
