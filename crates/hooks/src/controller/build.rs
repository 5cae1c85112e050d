//! From a `Hook` and its Secrets to an endpoint.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use sha2::{Digest as _, Sha256};

use super::Options;
use crate::{
    decide::{
        auth::Auth,
        digest,
        replay::{Policy, Replay},
        standard_webhooks,
    },
    journal::Pace,
    limits::{Bucket, Network, Rate},
    model::{Ack, AuthKind, Hook, HookOptions, Issuer, Key, Keys, SecretKey},
    oidc::{Oidc, Provider},
    receive::{Endpoint, Keep, Pause, Table},
    sources::{self, Source},
    targets::{Guard, Target},
};

/// Why there is no endpoint.
#[derive(Debug)]
pub(super) enum Problem {
    /// The API does not answer now.
    Unavailable(kube::Error),
    /// The hook has to be changed, or what it names.
    Hook(Reason),
}

/// Reason and message of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self::Hook(reason)
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Reason {
    Reason { reason: "InvalidSpec", message: message.into() }
}

/// Another hook has the path, and was there first.
pub(super) fn taken(by: &str) -> Reason {
    let message = format!("{by} has the same path: give each hook a secret of its own");
    Reason { reason: "PathTaken", message }
}

/// Paths, and until when they count.
type Paths = Vec<(String, Option<i64>)>;
/// Targets, and how fast they are told.
pub(super) type Paced = Vec<(Arc<dyn Target>, Pace)>;

/// An endpoint that is complete.
#[derive(Debug)]
pub(super) struct Built {
    /// What it was made of: if that is the same, so is this.
    print: [u8; 32],
    /// Its paths, and until when; the first is the one for the sender.
    paths: Paths,
    endpoint: Arc<Endpoint>,
    pub(super) targets: Paced,
}

impl Built {
    /// Whether its targets are told now.
    pub(super) fn tells(&self) -> bool {
        self.endpoint.pause != Pause::Buffer
    }

    /// The path for the sender.
    pub(super) fn path(&self) -> &str {
        self.paths.first().map_or("", |(path, _)| path)
    }

    /// Takes its paths, all or none; if one is taken, says by whom.
    pub(super) fn register(&self, table: &mut Table) -> Result<(), String> {
        for (path, _) in &self.paths {
            if let Some(by) = table.taken(path) {
                return Err(by.to_owned());
            }
        }
        for (path, not_after) in &self.paths {
            table.add(path.clone(), &self.endpoint, *not_after)?;
        }
        Ok(())
    }
}

/// Makes the endpoint of a hook. One that would be the same as before is the one before: its limits
/// go on counting.
pub(super) async fn build(
    client: &Client,
    hook: &Hook,
    options: &Options,
    before: Option<&Arc<Built>>,
) -> Result<Arc<Built>, Problem> {
    let secrets = Secrets::read(client, hook).await?;
    let print = secrets.print(hook);
    if let Some(before) = before.filter(|before| before.print == print) {
        return Ok(Arc::clone(before));
    }
    let builder = Builder { client, hook, secrets: &secrets, options };
    Ok(Arc::new(builder.build(print)?))
}

/// The Secrets of one hook.
pub(super) struct Secrets(BTreeMap<String, Option<Secret>>);

impl Secrets {
    async fn read(client: &Client, hook: &Hook) -> Result<Self, Problem> {
        let namespace = hook.metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<Secret>::namespaced(client.clone(), namespace);
        let spec = &hook.spec;
        let own = std::iter::once(&spec.secret_ref.name)
            .chain(spec.previous_secret_refs.iter().map(|previous| &previous.secret.name))
            .chain(spec.auth.iter().filter_map(|auth| Some(&auth.secret_ref.as_ref()?.name)))
            .chain(spec.options.iter().flat_map(|options| options.secrets()).map(|key| &key.name))
            .chain(spec.targets.iter().filter_map(|t| Some(&t.secret_ref.as_ref()?.name)));
        let mut read = BTreeMap::new();
        for name in own {
            if !read.contains_key(name) {
                let secret = api.get_opt(name).await.map_err(Problem::Unavailable)?;
                read.insert(name.clone(), secret);
            }
        }
        Ok(Self(read))
    }

    fn get(&self, name: &str, key: &str) -> Result<&[u8], Reason> {
        let missing = |message| Reason { reason: "SecretNotFound", message };
        let secret = self.0.get(name).and_then(Option::as_ref);
        let secret = secret.ok_or_else(|| missing(format!("there is no Secret {name}")))?;
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        let value = value.ok_or_else(|| missing(format!("Secret {name} has no key {key}")))?;
        if value.0.is_empty() {
            return Err(missing(format!("key {key} of Secret {name} is empty")));
        }
        Ok(&value.0)
    }

    fn of(&self, key: &SecretKey) -> Result<&[u8], Reason> {
        self.get(&key.name, &key.key)
    }

    /// A secret that is sent: nobody can send a line end, so it is not meant.
    pub(super) fn sent(&self, name: &str, key: &str) -> Result<Vec<u8>, Reason> {
        let value = self.get(name, key)?.trim_ascii_end();
        if value.is_empty() {
            return Err(invalid(format!("key {key} of Secret {name} is blank")));
        }
        Ok(value.to_vec())
    }

    /// When a Secret was made or changed last, in Unix seconds.
    fn since(&self, name: &str) -> Option<i64> {
        let metadata = &self.0.get(name)?.as_ref()?.metadata;
        let changes = metadata.managed_fields.iter().flatten().filter_map(|one| one.time.as_ref());
        let times = metadata.creation_timestamp.iter().chain(changes);
        times.map(|time| time.0.as_second()).max()
    }

    /// A digest of everything that the endpoint is made of.
    fn print(&self, hook: &Hook) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(serde_json::to_vec(&hook.spec).unwrap_or_default());
        for (name, secret) in &self.0 {
            digest.update(Sha256::digest(name));
            for (key, value) in secret.iter().filter_map(|s| s.data.as_ref()).flatten() {
                digest.update(Sha256::digest(key));
                digest.update(Sha256::digest(&value.0));
            }
        }
        digest.finalize().into()
    }
}

pub(super) struct Builder<'a> {
    pub(super) client: &'a Client,
    pub(super) hook: &'a Hook,
    pub(super) secrets: &'a Secrets,
    pub(super) options: &'a Options,
}

impl Builder<'_> {
    fn build(&self, print: [u8; 32]) -> Result<Built, Reason> {
        let spec = &self.hook.spec;
        let source = sources::named(&spec.source, &self.source_options()?)
            .ok_or_else(|| invalid(format!("there is no source \"{}\"", spec.source)))?;
        if let Some(problem) = source.problem() {
            return Err(invalid(format!("options: {problem}")));
        }
        let auth = self.auth()?;
        if source.needs_auth() && auth.is_none() && !spec.insecure {
            return Err(invalid(format!(
                "{} cannot prove who it is: add auth, or insecure: true if the URL is secret enough",
                spec.source
            )));
        }
        let (keys, mut paths) = self.keys(&*source)?;
        paths.extend(spec.path.iter().map(|path| (path.clone(), None)));
        let targets = self.targets()?;
        let side_effects = targets.iter().any(|(target, _)| target.side_effects());
        let limits = spec.limits.clone().unwrap_or_default();
        let delivery = spec.delivery.clone().unwrap_or_default();
        let rate = Rate {
            per_second: f64::from(limits.per_second.unwrap_or(200)),
            burst: f64::from(limits.burst.unwrap_or(1000)),
        };
        let dead_letter = delivery.dead_letter_target.as_ref();
        let dead_letter = dead_letter.map(|name| format!("{}/{name}", self.name()));
        let is_grave = |target: &Arc<dyn Target>| dead_letter.as_deref() == Some(target.name());
        let (graves, told): (Vec<_>, Vec<_>) =
            targets.iter().map(|(target, _)| Arc::clone(target)).partition(is_grave);
        if dead_letter.is_some() && graves.is_empty() {
            return Err(invalid("delivery.deadLetterTarget is none of the targets"));
        }
        let endpoint = Arc::new(Endpoint {
            name: self.name(),
            source,
            keys,
            auth,
            filter: spec.filter.clone().unwrap_or_default(),
            targets: told,
            dead_letter,
            body_bytes: limits.max_body_bytes.and_then(|bytes| usize::try_from(bytes).ok()),
            rate: Bucket::new(rate),
            keep: self.keep(side_effects),
            inline_time: delivery.inline_timeout.map_or(Duration::from_secs(10), |span| span.0),
            allow: self.networks()?,
            pause: match (spec.suspend, spec.buffer) {
                (false, _) => Pause::No,
                (true, false) => Pause::Refuse,
                (true, true) => Pause::Buffer,
            },
        });
        Ok(Built { print, paths, endpoint, targets })
    }

    fn networks(&self) -> Result<Vec<Network>, Reason> {
        let all = self.hook.spec.allow_cidrs.iter();
        all.map(|text| text.parse().map_err(|wrong: String| invalid(wrong))).collect()
    }

    /// `namespace/name`.
    pub(super) fn name(&self) -> String {
        let metadata = &self.hook.metadata;
        format!(
            "{}/{}",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default()
        )
    }

    fn source_options(&self) -> Result<sources::Options, Reason> {
        let own = self.hook.spec.options.clone().unwrap_or_default();
        let HookOptions { audience, email, signing_secret_ref, .. } = own;
        let signing = match &signing_secret_ref {
            None => None,
            Some(key) => {
                let token = self.secrets.sent(&key.name, &key.key)?;
                if !standard_webhooks::is_secret(&token) {
                    return Err(invalid(format!("Secret {} holds no signing token", key.name)));
                }
                Some(Keys(vec![Key::new(token, None)]))
            }
        };
        let opaque = own.opaque_secret_ref.as_ref();
        let opaque = opaque.map(|key| self.secrets.sent(&key.name, &key.key)).transpose()?;
        Ok(sources::Options {
            registry_host: self.hook.spec.registry_host.clone().unwrap_or_default(),
            google: audience.map(|audience| sources::Google {
                audience,
                email,
                ..sources::Google::default()
            }),
            minimum: own.min_algorithm.unwrap_or_default(),
            signature: own.signature.unwrap_or_default(),
            ignore_deletes: own.ignore_deletes,
            events: own.events,
            strict_status: own.strict_status,
            signing,
            hmac: own.hmac.unwrap_or_default(),
            topics: own.topics,
            auto_confirm: own.auto_confirm,
            oidc: self.issuers(&own.issuers)?,
            ignore_unwanted: own.ignore_unwanted,
            allowed_origins: own.allowed_origins,
            token_mode: own.token_mode.unwrap_or_default(),
            azure_host: own.azure_host,
            opaque_token: opaque.map(|token| Keys(vec![Key::new(token, None)])),
        })
    }

    /// Issuers, whose URLs come from whoever wrote the hook.
    fn issuers(&self, issuers: &[Issuer]) -> Result<Option<Arc<Oidc>>, Reason> {
        if issuers.is_empty() {
            return Ok(None);
        }
        let guard = Guard::new(self.options.allow.clone()).without_tls(self.options.allow_http);
        let providers = issuers.iter().map(|issuer| {
            let validations = issuer.validations.iter();
            let validations = validations.map(|one| (one.cel.clone(), one.message.clone()));
            let guard = Some(guard.clone());
            Provider::new(&issuer.url, &issuer.audience, validations.collect(), guard)
        });
        let providers = providers.collect::<Result<_, _>>().map_err(invalid)?;
        Oidc::new(providers).map(|oidc| Some(Arc::new(oidc))).map_err(invalid)
    }

    fn keys(&self, source: &dyn Source) -> Result<(Keys, Paths), Reason> {
        let spec = &self.hook.spec;
        let previous = spec.previous_secret_refs.iter();
        let previous =
            previous.map(|one| (&one.secret, one.not_after.map(jiff::Timestamp::as_second)));
        let (mut keys, mut paths) = (Vec::new(), Vec::new());
        for (place, not_after) in std::iter::once((&spec.secret_ref, None)).chain(previous) {
            let bytes = self.secrets.of(place)?;
            if let Some(problem) = source.key_problem(bytes) {
                return Err(invalid(format!(
                    "key {} of Secret {} {problem}",
                    place.key, place.name
                )));
            }
            let host = spec.registry_host.as_deref().unwrap_or_default();
            let path = format!("/hook/{}", digest::endpoint(bytes, host));
            // The same secret twice is one secret.
            if paths.iter().all(|(known, _)| *known != path) {
                paths.push((path, not_after));
                keys.push(
                    Key::new(bytes.to_vec(), not_after).since(self.secrets.since(&place.name)),
                );
            }
        }
        Ok((Keys(keys), paths))
    }

    fn auth(&self) -> Result<Option<Auth>, Reason> {
        let Some(auth) = &self.hook.spec.auth else { return Ok(None) };
        let value = |key| {
            let secret = auth.secret_ref.as_ref();
            let secret = secret.ok_or_else(|| invalid("auth.secretRef is missing"))?;
            self.secrets.sent(&secret.name, key)
        };
        Ok(Some(match auth.kind {
            AuthKind::Basic => {
                Auth::Basic { username: value("username")?, password: value("password")? }
            }
            AuthKind::Bearer => Auth::Bearer(value("token")?),
            AuthKind::Oidc => {
                let issuers = self.issuers(&auth.issuers)?;
                Auth::Oidc(issuers.ok_or_else(|| invalid("auth.issuers are missing"))?)
            }
            AuthKind::Mtls if auth.subjects.is_empty() => {
                return Err(invalid("auth.subjects are missing"));
            }
            AuthKind::Mtls => Auth::Mtls(auth.subjects.clone()),
            AuthKind::Header => {
                let name = auth.name.as_deref().unwrap_or_default().to_ascii_lowercase();
                if http::HeaderName::try_from(&*name).is_err() {
                    return Err(invalid("auth.name is no header"));
                }
                Auth::Header { name, value: value("value")? }
            }
        }))
    }

    fn keep(&self, side_effects: bool) -> Keep {
        let delivery = self.hook.spec.delivery.clone().unwrap_or_default();
        let default = if side_effects { Policy::Reject } else { Policy::Suppress };
        let mut replay = Replay::new(delivery.replay.unwrap_or(default));
        replay.window = delivery.replay_window.map_or(replay.window, |span| span.0);
        replay.retention = delivery.replay_retention.map_or(replay.retention, |span| span.0);
        Keep::Everything { first: delivery.ack == Ack::Stored, replay }
    }
}
