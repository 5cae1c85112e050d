//! The configuration file: flux-recv's own fields, and ours beside them, which the original
//! ignores.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::{fold::fold, names::FILE};
use crate::{
    controller::waited,
    decide::{
        filter::{Filter, Patterns},
        replay::{Policy, Replay},
        signature::Algorithm,
    },
    journal::{self, Pace, Payloads},
    limits::{Network, Rate},
    listener,
    meters::Meters,
    model::{AnnotationTemplate, HookTarget, Issuer, ResourceRef, Span, TargetAction, TargetKind},
    receive::{self, Keep},
    sources::{self, Hmac, SignatureMode, TokenMode},
};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Settings {
    pub(super) api: String,
    pub(super) api_token_path: Option<String>,
    pub(super) endpoints: Vec<Entry>,
    pub(super) delivery: Option<Delivery>,
    pub(super) targets: BTreeMap<String, TargetEntry>,
    pub(super) limits: Limits,
    strict: bool,
    trusted_proxies: Vec<Network>,
    #[serde(skip)]
    fixed: Fixed,
}

/// What counts until the program ends, as it is written: listener and journal are made of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Fixed(Value);

impl Fixed {
    const BOUNDS: [&str; 14] = [
        "/trustedProxies",
        "/limits/maxBodyBytes",
        "/limits/maxHeaderBytes",
        "/limits/maxHeaders",
        "/limits/readHeaderTimeout",
        "/limits/readTimeout",
        "/limits/minBodyRate",
        "/limits/idleTimeout",
        "/limits/maxConnections",
        "/limits/maxConnectionsPerAddress",
        "/limits/maxInflightBytes",
        "/limits/handlerTimeout",
        "/limits/rate/perAddress",
        "/limits/rate/exempt",
    ];
    const STORE: [&str; 8] = [
        "/delivery/store",
        "/delivery/schedule",
        "/delivery/retention",
        "/delivery/deadRetention",
        "/delivery/maxStoreBytes",
        "/delivery/storePayload",
        "/delivery/payloadRetention",
        "/delivery/encryptionKeyPath",
    ];

    /// The fields that are others in a new file; those of the store count only once there is one.
    pub(super) fn changed(&self, new: &Self, store: bool) -> Vec<String> {
        let store = Self::STORE.iter().filter(|_| store);
        let all = Self::BOUNDS.iter().chain(store);
        let changed = all.filter(|at| self.0.pointer(at) != new.0.pointer(at));
        changed.map(|at| at.trim_start_matches('/').replace('/', ".")).collect()
    }

    /// Takes what the store is made of from another file.
    pub(super) fn open_store(&mut self, new: &Self) {
        if let Some(fields) = self.0.as_object_mut() {
            fields.insert("delivery".to_owned(), new.0["delivery"].clone());
        }
    }
}

/// One endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Entry {
    pub(super) name: Option<String>,
    pub(super) source: String,
    pub(super) key_path: Option<String>,
    pub(super) key_paths: Vec<KeyItem>,
    pub(super) path: Option<String>,
    pub(super) registry_host: String,
    gcr: Option<Gcr>,
    pub(super) allow_empty_key: bool,
    min_algorithm: Algorithm,
    signature: SignatureMode,
    ignore_deletes: bool,
    events: Vec<String>,
    strict_status: bool,
    ignore_unwanted: bool,
    pub(super) targets: Option<Vec<String>>,
    pub(super) filter: Filter,
    pub(super) auth: Option<Auth>,
    pub(super) insecure: bool,
    #[serde(rename = "allowCIDRs")]
    pub(super) allow_cidrs: Vec<Network>,
    allowed_origins: Vec<String>,
    /// The header of a generic signature; `hmac.header` says the same.
    header: Option<String>,
    hmac: Hmac,
    topics: Vec<String>,
    auto_confirm: bool,
    pub(super) issuers: Vec<Issuer>,
    pub(super) signing_key_path: Option<String>,
    token_mode: TokenMode,
    azure_host: Option<String>,
    pub(super) opaque_token_path: Option<String>,
    pub(super) delivery: EndpointDelivery,
    pub(super) limits: EndpointLimits,
}

/// What an endpoint asks for beside what its source does; the values are in files.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub(super) enum Auth {
    #[serde(rename_all = "camelCase")]
    Basic {
        username_path: String,
        password_path: String,
    },
    #[serde(rename_all = "camelCase")]
    Bearer {
        token_path: String,
    },
    Oidc {
        issuers: Vec<Issuer>,
    },
    Mtls {
        subjects: Vec<String>,
    },
    #[serde(rename_all = "camelCase")]
    Header {
        name: String,
        value_path: String,
    },
}

/// When the sender is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ack {
    Downstream,
    Stored,
}

/// `delivery` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Delivery {
    pub(super) ack: Option<Ack>,
    pub(super) store: Option<String>,
    pub(super) inline_timeout: Option<Span>,
    pub(super) replay: Option<Policy>,
    pub(super) replay_window: Option<Span>,
    pub(super) replay_retention: Option<Span>,
    pub(super) schedule: Option<Vec<Span>>,
    pub(super) retention: Option<Span>,
    pub(super) dead_retention: Option<Span>,
    pub(super) max_store_bytes: Option<u64>,
    pub(super) dead_letter_target: Option<String>,
    store_payload: Payloads,
    payload_retention: Option<Span>,
    pub(super) encryption_key_path: Option<String>,
}

/// `delivery` of an endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointDelivery {
    pub(super) ack: Option<Ack>,
    pub(super) replay: Option<Policy>,
}

/// One target.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TargetEntry {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) api: Option<String>,
    pub(super) api_token_path: Option<String>,
    pub(super) url: Option<String>,
    pub(super) urls: Vec<String>,
    pub(super) forward_auth: bool,
    #[serde(rename = "allowHTTP")]
    pub(super) allow_http: bool,
    #[serde(rename = "allowCIDRs")]
    pub(super) allow_cidrs: Vec<Network>,
    pub(super) signing_key_path: Option<String>,
    pub(super) timeout: Option<Span>,
    pub(super) max_concurrency: Option<usize>,
    pub(super) rate: Option<f64>,
    pub(super) probe: Option<Span>,
    pub(super) filter: Option<Filter>,
    pub(super) namespace: Option<String>,
    resources: Vec<ResourceRef>,
    auto: bool,
    tag_filter: Patterns,
    action: Option<TargetAction>,
    annotation: Option<AnnotationTemplate>,
    name_template: Option<String>,
    debounce: Option<Span>,
    force: bool,
    reset: bool,
    wait_handled: Option<Span>,
}

impl TargetEntry {
    /// What it is, if there is such a thing.
    pub(super) fn kind(&self) -> Option<TargetKind> {
        serde_json::from_value(Value::from(self.kind.as_deref()?)).ok()
    }

    /// Whether it is objects of a cluster.
    fn in_cluster(&self) -> bool {
        match self.kind() {
            Some(TargetKind::ArgoCd) => self.url.is_none(),
            Some(
                TargetKind::FluxV2
                | TargetKind::DatasetRefresh
                | TargetKind::Workspace
                | TargetKind::Kubernetes,
            ) => true,
            Some(TargetKind::FluxV1 | TargetKind::Http | TargetKind::Relay | TargetKind::Log)
            | None => false,
        }
    }

    /// The same as a `Hook` would say it.
    pub(super) fn as_of_hook(&self, kind: TargetKind) -> HookTarget {
        HookTarget {
            kind,
            url: self.url.clone(),
            timeout: self.timeout,
            resources: self.resources.clone(),
            auto: self.auto,
            tag_filter: self.tag_filter.clone(),
            action: self.action,
            annotation: self.annotation.clone(),
            name_template: self.name_template.clone(),
            debounce: self.debounce,
            force: self.force,
            reset: self.reset,
            wait_handled: self.wait_handled,
            ..HookTarget::default()
        }
    }
}

/// One key among several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum KeyItem {
    Path(String),
    #[serde(rename_all = "camelCase")]
    Item {
        path: String,
        not_after: Option<jiff::Timestamp>,
    },
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Gcr {
    audience: String,
    email: Option<String>,
    #[serde(rename = "jwksURL")]
    jwks_url: Option<String>,
    issuers: Vec<String>,
    #[serde(rename = "tokenInfoURL")]
    token_info_url: Option<String>,
}

/// `limits` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Limits {
    max_body_bytes: Option<usize>,
    max_header_bytes: Option<usize>,
    max_headers: Option<usize>,
    read_header_timeout: Option<Span>,
    read_timeout: Option<Span>,
    min_body_rate: Option<usize>,
    idle_timeout: Option<Span>,
    max_connections: Option<usize>,
    max_connections_per_address: Option<usize>,
    max_inflight_bytes: Option<usize>,
    handler_timeout: Option<Span>,
    rate: Rates,
    #[serde(skip)]
    trusted_proxies: Vec<Network>,
}

/// `limits` of an endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointLimits {
    pub(super) max_body_bytes: Option<usize>,
    rate: Rates,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rates {
    per_endpoint: Option<PerSecond>,
    per_address: Option<PerMinute>,
    exempt: Option<Vec<Network>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PerSecond {
    per_second: f64,
    burst: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PerMinute {
    per_minute: f64,
    burst: f64,
}

/// Reads the file; beside the settings there may be warnings.
pub(super) fn read(text: &str) -> Result<(Settings, Vec<String>), String> {
    let mut value = first_document(text)?;
    let mut warnings = Vec::new();
    fold(&mut value, &FILE, "", &mut warnings);
    if value.get("fluxRecvVersion").and_then(Value::as_f64) != Some(1.0) {
        return Err("not a valid config file (field fluxRecvVersion != 1)".to_owned());
    }
    let mut settings: Settings = serde_json::from_value(value.clone())
        .map_err(|error| format!("cannot parse config file: {error}"))?;
    settings.fixed = Fixed(value);
    // A filter that is not applied would tell too much.
    if let Some(warning) = warnings.iter().find(|warning| warning.contains(".filter.")) {
        return Err(format!("cannot parse config file: {warning}"));
    }
    if settings.strict && !warnings.is_empty() {
        return Err(format!("strict config file: {}", warnings.join(", ")));
    }
    settings.limits.trusted_proxies = std::mem::take(&mut settings.trusted_proxies);
    if settings.api.is_empty() {
        settings.api = "http://localhost:3030/api/flux".to_owned();
    }
    Ok((settings, warnings))
}

/// What the original reads: what follows the first document is not looked at.
fn first_document(text: &str) -> Result<Value, String> {
    let mut bytes = text.as_bytes();
    let first = serde_saphyr::read(&mut bytes).next().unwrap_or(Ok(Value::Null));
    // With a snippet it would be many lines.
    first.map_err(|error| format!("cannot parse config file: {}", error.without_snippet()))
}

impl Settings {
    /// What another file cannot change.
    pub(super) fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    /// Whether any target is objects of a cluster.
    pub(super) fn in_cluster(&self) -> bool {
        self.targets.values().any(TargetEntry::in_cluster)
    }

    /// Where requests are kept and for how long.
    pub(super) fn journal(&self, meters: &Arc<Meters>) -> journal::Options {
        let default = journal::Options::default();
        let plain = Delivery::default();
        let delivery = self.delivery.as_ref().unwrap_or(&plain);
        let directory = match delivery.store.as_deref() {
            None => Some(PathBuf::from("./data")),
            Some("memory") => None,
            Some(directory) => Some(PathBuf::from(directory)),
        };
        let span = |span: Option<Span>, default| span.map_or(default, |span| span.0);
        let steps = delivery.schedule.as_ref();
        journal::Options {
            directory,
            capacity: delivery.max_store_bytes.unwrap_or(default.capacity),
            keep_done: span(delivery.retention, default.keep_done),
            keep_dead: span(delivery.dead_retention, default.keep_dead),
            steps: steps.map_or(default.steps, |steps| steps.iter().map(|step| step.0).collect()),
            meters: Arc::clone(meters),
            payloads: delivery.store_payload,
            keep_payloads: span(delivery.payload_retention, default.keep_payloads),
            seal: None,
        }
    }

    /// What is kept of an endpoint's requests, before or instead of telling the targets.
    pub(super) fn keep(&self, entry: &Entry, image: bool, side_effects: bool) -> Keep {
        let Some(delivery) = &self.delivery else {
            // The original lies to registries: it answers 200 and forgets what failed.
            return if image { Keep::Failures } else { Keep::Nothing };
        };
        let own = &entry.delivery;
        let default = if side_effects { Policy::Reject } else { Policy::Suppress };
        let mut replay = Replay::new(own.replay.or(delivery.replay).unwrap_or(default));
        replay.window = delivery.replay_window.map_or(replay.window, |span| span.0);
        replay.retention = delivery.replay_retention.map_or(replay.retention, |span| span.0);
        Keep::Everything { first: own.ack.or(delivery.ack) == Some(Ack::Stored), replay }
    }

    /// How long the sender waits for the targets.
    pub(super) fn inline_time(&self) -> Duration {
        let set = self.delivery.as_ref().and_then(|delivery| delivery.inline_timeout);
        set.map_or(Duration::from_secs(10), |span| span.0)
    }

    /// How fast a target is told in the background.
    pub(super) fn pace(&self, target: &str) -> Pace {
        let mut pace = Pace::default();
        let Some(entry) = self.targets.get(target) else { return pace };
        pace.concurrency = entry.max_concurrency.unwrap_or(pace.concurrency).max(1);
        if let Some(rate) = entry.rate {
            pace.rate = Rate { per_second: rate.max(0.001), burst: rate.max(1.0) };
        }
        pace.timeout = entry.timeout.map_or(pace.timeout, |span| span.0);
        pace.timeout += entry.wait_handled.map_or(Duration::ZERO, waited);
        pace.probe = entry.probe.map_or(pace.probe, |span| span.0);
        pace
    }
}

impl Entry {
    /// What the entry changes about its source.
    pub(super) fn options(&self) -> sources::Options {
        let google = self.gcr.clone().map(|gcr| sources::Google {
            audience: gcr.audience,
            email: gcr.email,
            jwks_url: gcr.jwks_url,
            issuers: gcr.issuers,
            token_info_url: gcr.token_info_url,
        });
        sources::Options {
            registry_host: self.registry_host.clone(),
            google,
            minimum: self.min_algorithm,
            signature: self.signature,
            ignore_deletes: self.ignore_deletes,
            events: self.events.clone(),
            strict_status: self.strict_status,
            ignore_unwanted: self.ignore_unwanted,
            allowed_origins: self.allowed_origins.clone(),
            hmac: Hmac {
                header: self.hmac.header.clone().or_else(|| self.header.clone()),
                ..self.hmac.clone()
            },
            topics: self.topics.clone(),
            auto_confirm: self.auto_confirm,
            token_mode: self.token_mode,
            azure_host: self.azure_host.clone(),
            ..sources::Options::default()
        }
    }
}

impl Limits {
    /// The bounds of requests.
    pub(super) fn receive(&self) -> receive::Limits {
        let default = receive::Limits::default();
        let span = |span: Option<Span>, default| span.map_or(default, |span| span.0);
        let failures = self.rate.per_address.map_or(default.failures, |rate| Rate {
            per_second: rate.per_minute / 60.0,
            burst: rate.burst,
        });
        receive::Limits {
            body_bytes: self.max_body_bytes.unwrap_or(default.body_bytes),
            body_time: span(self.read_timeout, default.body_time),
            body_patience: default.body_patience,
            body_rate: self.min_body_rate.unwrap_or(default.body_rate),
            inflight_bytes: self.max_inflight_bytes.unwrap_or(default.inflight_bytes),
            failures,
            exempt: self.rate.exempt.clone().unwrap_or(default.exempt),
            trusted_proxies: self.trusted_proxies.clone(),
            handler_time: span(self.handler_timeout, default.handler_time),
        }
    }

    /// The bounds of connections.
    pub(super) fn listener(&self) -> listener::Limits {
        let default = listener::Limits::default();
        let span = |span: Option<Span>, default| span.map_or(default, |span| span.0);
        listener::Limits {
            connections: self.max_connections.unwrap_or(default.connections).max(1),
            per_address: self.max_connections_per_address.unwrap_or(default.per_address).max(1),
            header_bytes: self.max_header_bytes.unwrap_or(default.header_bytes),
            headers: self.max_headers.unwrap_or(default.headers),
            header_time: span(self.read_header_timeout, default.header_time),
            idle_time: span(self.idle_timeout, default.idle_time),
            grace: default.grace,
        }
    }

    /// How often an endpoint may be called.
    pub(super) fn rate(&self, entry: &EndpointLimits) -> Rate {
        let rate = entry.rate.per_endpoint.or(self.rate.per_endpoint);
        let rate = rate.unwrap_or(PerSecond { per_second: 200.0, burst: 1000.0 });
        Rate { per_second: rate.per_second.max(0.0), burst: rate.burst.max(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        read(text).map(|_| ()).unwrap_err()
    }

    #[test]
    fn only_the_first_document_counts() {
        assert!(read("fluxRecvVersion: 1\n---\n").is_ok());
        assert!(read("---\nfluxRecvVersion: 1\n---\n[broken").is_ok());
        let version = "not a valid config file (field fluxRecvVersion != 1)";
        for other in ["", "---\n", "a: 1\n---\nfluxRecvVersion: 1\n", "a: 1\n---\nb: 2\n---\n"] {
            assert_eq!(wrong(other), version, "{other:?}");
        }
    }

    #[test]
    fn errors_of_yaml_are_one_line() {
        for broken in
            ["fluxRecvVersion: 1\nendpoints:\n  - [\n}\n", "a: b: c\n", "\"x", "a: 1\na: 2\n"]
        {
            let error = wrong(broken);
            assert!(error.starts_with("cannot parse config file: "), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn the_file_of_the_contract_is_read() {
        let (settings, warnings) = read(
            "fluxRecvVersion: 1\n\
             api: http://localhost:3030/api/flux\n\
             endpoints:\n\
             - {source: GitHub, keyPath: code.key}\n\
             - {source: Nexus, KEYPATH: repo.key, registryHost: registry.example.com}\n\
             - {source: GoogleContainerRegistry, keyPath: cloud.key, gcr: {audience: mine}}\n\
             - {source: GoogleContainerRegistry, keyPath: cloud.key, gcr: {}}\n\
             - {source: GoogleContainerRegistry, keyPath: cloud.key, gcr: }\n",
        )
        .unwrap();
        assert_eq!(warnings, [""; 0]);
        let google = |index: usize| settings.endpoints[index].options().google;
        assert_eq!(settings.endpoints[1].key_path.as_deref(), Some("repo.key"));
        assert_eq!(google(2).unwrap().audience, "mine");
        assert_eq!(google(3).unwrap().audience, "");
        assert!(google(4).is_none());
    }

    #[test]
    fn the_version_must_be_one() {
        for good in ["1", "1.0", "0x1"] {
            let (settings, _) = read(&format!("fluxRecvVersion: {good}")).unwrap();
            assert_eq!(settings.api, "http://localhost:3030/api/flux");
            assert!(settings.endpoints.is_empty());
        }
        assert!(read("{\"fluxRecvVersion\": 1, \"api\": \"\"}").is_ok());
        for bad in ["{}", "fluxRecvVersion: 2", "fluxRecvVersion: \"1\"", "a: 1", "- 1", "text", ""]
        {
            let message = "not a valid config file (field fluxRecvVersion != 1)";
            assert_eq!(wrong(bad), message, "{bad}");
        }
        assert!(wrong("fluxRecvVersion: [").starts_with("cannot parse config file: "));
        assert!(
            wrong("fluxRecvVersion: 1\nendpoints: {}").starts_with("cannot parse config file: ")
        );
        assert!(wrong("fluxRecvVersion: 1\napi: [1]").starts_with("cannot parse config file: "));
    }

    #[test]
    fn unknown_fields_warn_or_fail() {
        let text = "fluxRecvVersion: 1\nendpionts: []";
        let message = "unknown field \"endpionts\"; did you mean \"endpoints\"?";
        assert_eq!(read(text).unwrap().1, [message]);
        assert_eq!(
            wrong(&format!("{text}\nstrict: true")),
            format!("strict config file: {message}")
        );
    }

    #[test]
    fn limits_are_read() {
        let (settings, warnings) = read(
            "fluxRecvVersion: 1\n\
             trustedProxies: [10.0.0.0/8]\n\
             limits: {maxBodyBytes: 5, readTimeout: 1m30s, idleTimeout: 500ms,\n\
             \x20 rate: {perEndpoint: {perSecond: 1, burst: 2}, perAddress: {perMinute: 60, burst: 3}, exempt: []}}\n\
             endpoints: [{source: Quay, keyPath: a, limits: {maxBodyBytes: 7, rate: {perEndpoint: {perSecond: 9, burst: 9}}}}]\n",
        )
        .unwrap();
        assert_eq!(warnings, [""; 0]);
        let limits = settings.limits.receive();
        assert_eq!((limits.body_bytes, limits.body_time), (5, Duration::from_secs(90)));
        assert_eq!(limits.failures, Rate { per_second: 1.0, burst: 3.0 });
        assert_eq!((limits.exempt.len(), limits.trusted_proxies.len()), (0, 1));
        assert_eq!(settings.limits.listener().idle_time, Duration::from_millis(500));
        let own = settings.limits.rate(&settings.endpoints[0].limits);
        assert_eq!(own, Rate { per_second: 9.0, burst: 9.0 });
        let all = settings.limits.rate(&EndpointLimits::default());
        assert_eq!(all, Rate { per_second: 1.0, burst: 2.0 });
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text in ".{0,200}") {
            let _ = read(&text);
        }
    }
}
