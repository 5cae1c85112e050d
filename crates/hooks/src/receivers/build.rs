//! From a `Receiver` and its Secret to what its requests are judged by.

use std::{fmt, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, core::GroupVersionKind};
use sha2::{Digest as _, Sha256};

use super::{
    Options,
    model::{OidcProvider, Receiver, ReceiverResource},
    objects,
    sender::Sender,
};
use crate::{
    decide::{
        cel::Expression,
        digest,
        filter::Filter,
        replay::{Policy, Replay},
    },
    limits::{Bucket, Rate},
    model::{Key, Keys},
    oidc::{Oidc, Provider},
    receive::{Endpoint, Keep, Pause},
    sources::{self, Google},
    targets::{Guard, cluster::default_version},
};

/// Kinds that may be asked to reconcile.
const KINDS: [&str; 12] = [
    "Bucket",
    "GitRepository",
    "HelmChart",
    "HelmRepository",
    "OCIRepository",
    "ExternalArtifact",
    "ArtifactGenerator",
    "ImageRepository",
    "ImagePolicy",
    "ImageUpdateAutomation",
    "Kustomization",
    "HelmRelease",
];
/// How often requests may come.
const RATE: Rate = Rate { per_second: 200.0, burst: 1000.0 };
/// How long all objects together may take while the sender waits.
const INLINE: Duration = Duration::from_secs(10);
/// Whom identity tokens are for, unless a receiver says otherwise.
const AUDIENCE: &str = "notification-controller";

/// A receiver that is complete.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) sender: Sender,
    pub(super) keys: Keys,
    pub(super) resources: Vec<Resources>,
    /// What every object must be like.
    pub(super) filter: Option<Expression>,
}

impl Built {
    /// What answers its requests.
    pub(super) fn endpoint(self, client: &Client, name: String, only: Option<&str>) -> Endpoint {
        let Self { sender, keys, resources, filter } = self;
        let looks = filter.is_some() || resources.iter().any(|one| one.filter.is_some());
        let targets = objects::targets(&name, client, resources, filter.as_ref(), only);
        Endpoint {
            name,
            source: Box::new(sender.showing(looks)),
            keys,
            auth: None,
            filter: Filter::default(),
            targets,
            dead_letter: None,
            body_bytes: None,
            rate: Bucket::new(RATE),
            // The controller asks for every request, repeated or not.
            keep: Keep::Everything { first: false, replay: Replay::new(Policy::Allow) },
            inline_time: INLINE,
            allow: Vec::new(),
            pause: Pause::No,
        }
    }
}

/// Objects of one kind.
#[derive(Debug)]
pub(super) struct Resources {
    pub(super) kind: GroupVersionKind,
    pub(super) namespace: String,
    pub(super) which: Which,
    pub(super) filter: Option<Expression>,
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = match &self.which {
            Which::Name(which) | Which::Labels(which) => which,
        };
        write!(f, "{} {}/{which}", self.kind.kind, self.namespace)
    }
}

/// One object, or those with labels.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Which {
    Name(String),
    Labels(String),
}

/// Why a receiver does not work.
#[derive(Debug)]
pub(super) enum Problem {
    /// The API does not answer now.
    Unavailable(kube::Error),
    /// There is no token.
    Token(String),
    /// It has to be changed.
    Spec {
        /// For its condition.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

fn invalid(message: impl Into<String>) -> Problem {
    Problem::Spec { reason: "ValidationFailed", message: message.into() }
}

fn no_expression(message: String) -> Problem {
    Problem::Spec { reason: "InvalidCELExpression", message }
}

/// The path of a receiver, if it has a token, and what is there; nothing if that is made of the same
/// as `before`.
pub(super) async fn build(
    client: &Client,
    receiver: &Receiver,
    options: &Options,
    before: Option<Print>,
) -> (Option<String>, Result<Option<(Print, Built)>, Problem>) {
    let spec = &receiver.spec;
    let metadata = &receiver.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let secret = match (&spec.secret_ref, &*spec.kind) {
        (Some(_), "generic-oidc") => {
            return (None, Err(invalid("generic-oidc takes no secretRef")));
        }
        (None, "generic-oidc") => Ok(None),
        (None, _) => return (None, Err(invalid("secretRef is missing"))),
        (Some(reference), _) => {
            let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
            match secrets.get_opt(&reference.name).await {
                Err(error) => return (None, Err(Problem::Unavailable(error))),
                Ok(None) => Err(format!("there is no Secret {}", reference.name)),
                Ok(Some(secret)) => Ok(Some(secret)),
            }
        }
    };
    let secret = match secret {
        Ok(secret) => secret,
        Err(missing) => return (None, Err(Problem::Token(missing))),
    };
    let value = |key: &str| Some(secret.as_ref()?.data.as_ref()?.get(key)?.0.clone());
    let token = value("token").unwrap_or_default();
    if secret.is_some() && token.is_empty() {
        return (None, Err(Problem::Token("the Secret has no key token".to_owned())));
    }
    let name = metadata.name.as_deref().unwrap_or_default();
    let path = format!("/hook/{}", digest::receiver(&token, name, namespace));
    let print = print(receiver, secret.as_ref());
    if before == Some(print) {
        return (Some(path), Ok(None));
    }
    let built = complete(receiver, token, value, options);
    (Some(path), built.map(|built| Some((print, built))))
}

/// A digest of what a receiver is made of.
pub(super) type Print = [u8; 32];

fn print(receiver: &Receiver, secret: Option<&Secret>) -> Print {
    let spec = serde_json::to_vec(&receiver.spec).unwrap_or_default();
    let mut digest = Sha256::new();
    digest.update(Sha256::digest(spec));
    for (key, value) in secret.iter().flat_map(|secret| secret.data.iter().flatten()) {
        digest.update(Sha256::digest(key));
        digest.update(Sha256::digest(&value.0));
    }
    digest.finalize().into()
}

fn complete(
    receiver: &Receiver,
    token: Vec<u8>,
    value: impl Fn(&str) -> Option<Vec<u8>>,
    options: &Options,
) -> Result<Built, Problem> {
    let spec = &receiver.spec;
    let namespace = receiver.metadata.namespace.as_deref().unwrap_or_default();
    let text = |key: &str| {
        let text = value(key).and_then(|value| String::from_utf8(value).ok());
        let text = text.filter(|text| !text.is_empty());
        text.ok_or_else(|| Problem::Token(format!("the Secret has no key {key}")))
    };
    let mut rules = sources::Options::default();
    match &*spec.kind {
        "gcr" => {
            let (audience, email) = (text("audience")?, Some(text("email")?));
            rules.google = Some(Google { audience, email, ..Google::default() });
        }
        "generic-oidc" => {
            let providers = spec.oidc_providers.iter().map(|one| provider(one, options));
            let providers = providers.collect::<Result<_, _>>()?;
            rules.oidc = Some(Oidc::new(providers).map_err(invalid)?.into());
        }
        _ => {}
    }
    let sender = Sender::new(&spec.kind, &spec.events, &rules);
    let sender = sender.ok_or_else(|| invalid(format!("there is no type \"{}\"", spec.kind)))?;
    if let Some(problem) = sender.cannot(&token) {
        return Err(invalid(format!("{}: {problem}", spec.kind)));
    }
    // Claims are there only for tokens.
    let with_claims = spec.kind == "generic-oidc";
    let filter = spec.resource_filter.as_deref().map(|text| condition(text, with_claims));
    if spec.resources.is_empty() {
        return Err(invalid("resources are missing"));
    }
    let resources = spec.resources.iter().map(|one| resources(one, namespace, with_claims));
    Ok(Built {
        sender,
        keys: Keys(if token.is_empty() { Vec::new() } else { vec![Key::new(token, None)] }),
        resources: resources.collect::<Result<_, _>>()?,
        filter: filter.transpose()?,
    })
}

fn condition(text: &str, with_claims: bool) -> Result<Expression, Problem> {
    let variables: &[&'static str] =
        if with_claims { &["req", "res", "claims"] } else { &["req", "res"] };
    Expression::condition(text, variables).map_err(no_expression)
}

fn resources(one: &ReceiverResource, own: &str, with_claims: bool) -> Result<Resources, Problem> {
    let ReceiverResource { api_version, kind, name, namespace, match_labels, filter } = one;
    if !KINDS.contains(&&**kind) {
        return Err(invalid(format!("resources of kind \"{kind}\" do not reconcile")));
    }
    let version = api_version.as_deref().or_else(|| default_version(kind));
    let version = version.ok_or_else(|| invalid(format!("apiVersion of {kind} is missing")))?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let which = match &**name {
        "" => return Err(invalid(format!("the name of a {kind} is missing"))),
        "*" if match_labels.is_empty() => {
            return Err(invalid("the name * needs matchLabels"));
        }
        "*" => {
            let pairs = match_labels.iter().map(|(key, value)| format!("{key}={value}"));
            Which::Labels(pairs.collect::<Vec<_>>().join(","))
        }
        name => Which::Name(name.to_owned()),
    };
    Ok(Resources {
        kind: GroupVersionKind::gvk(group, version, kind),
        namespace: namespace.as_deref().unwrap_or(own).to_owned(),
        which,
        filter: filter.as_deref().map(|text| condition(text, with_claims)).transpose()?,
    })
}

fn provider(one: &OidcProvider, options: &Options) -> Result<Provider, Problem> {
    let compiled = |text: &str, known: &[&'static str]| {
        Expression::compile(text, known).map_err(no_expression)
    };
    let variables = one.variables.iter().map(|variable| {
        Ok((variable.name.clone(), compiled(&variable.expression, &["claims", "vars"])?))
    });
    let variables = variables.collect::<Result<Vec<_>, Problem>>()?;
    let validations = one.validations.iter().map(|validation| {
        let condition = Expression::condition(&validation.expression, &["claims", "vars"]);
        Ok((condition.map_err(no_expression)?, validation.message.clone()))
    });
    let validations = validations.collect::<Result<Vec<_>, Problem>>()?;
    let audience = one.audience.as_deref().unwrap_or(AUDIENCE);
    let guard = Guard::new(options.rules.allow.clone()).without_tls(options.rules.allow_http);
    let provider = Provider::new(&one.issuer_url, audience, validations, Some(guard));
    Ok(provider.map_err(invalid)?.with_variables(variables))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde_json::{Value, json};

    use super::*;

    fn built(change: Value) -> Result<Built, String> {
        let mut spec = json!({"type": "github", "secretRef": {"name": "s"},
            "resources": [{"kind": "GitRepository", "name": "app"}]});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let mut receiver = Receiver::new("demo", serde_json::from_value(spec).unwrap());
        receiver.metadata.namespace = Some("apps".to_owned());
        let options = Options::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        complete(&receiver, b"t0ken".to_vec(), |_| None, &options).map_err(
            |problem| match problem {
                Problem::Unavailable(error) => error.to_string(),
                Problem::Token(message) => format!("TokenNotFound {message}"),
                Problem::Spec { reason, message } => format!("{reason} {message}"),
            },
        )
    }

    #[test]
    fn resources_are_those_of_flux() {
        let with = |resource: Value| built(json!({ "resources": [resource] }));
        let one = with(json!({"kind": "GitRepository", "name": "app"})).unwrap();
        assert_eq!(one.resources[0].namespace, "apps");
        assert_eq!(one.resources[0].kind.group, "source.toolkit.fluxcd.io");
        let all = json!({"kind": "ImageRepository", "name": "*", "namespace": "other",
            "matchLabels": {"a": "b", "c": "d"}});
        let all = with(all).unwrap();
        assert_eq!(all.resources[0].which, Which::Labels("a=b,c=d".to_owned()));
        assert_eq!(all.resources[0].namespace, "other");
        for (wrong, reason) in [
            (json!({"kind": "Secret", "name": "a", "apiVersion": "v1"}), "ValidationFailed"),
            (json!({"kind": "Kustomization", "name": "a"}), "ValidationFailed"),
            (json!({"kind": "GitRepository", "name": "*"}), "ValidationFailed"),
            (json!({"kind": "GitRepository"}), "ValidationFailed"),
            (
                json!({"kind": "GitRepository", "name": "a", "filter": "event.x"}),
                "InvalidCELExpression",
            ),
        ] {
            assert!(with(wrong.clone()).unwrap_err().starts_with(reason), "{wrong}");
        }
    }

    #[test]
    fn specs_that_cannot_work_say_why() {
        for (change, reason) in [
            (json!({"type": "nobody"}), "ValidationFailed"),
            (json!({"resources": []}), "ValidationFailed"),
            (json!({"resourceFilter": "req.x =="}), "InvalidCELExpression"),
            (json!({"resourceFilter": "claims.x == 'a'"}), "InvalidCELExpression"),
            (json!({"type": "gcr"}), "TokenNotFound"),
            (json!({"type": "SNS"}), "ValidationFailed SNS: topics are missing"),
            (json!({"type": "GenericOIDC"}), "ValidationFailed GenericOIDC: issuers are missing"),
            (json!({"type": "StandardWebhooks"}), "ValidationFailed StandardWebhooks: the token"),
            (json!({"type": "generic-oidc"}), "ValidationFailed"),
            (
                json!({"type": "generic-oidc", "oidcProviders": [{"issuerURL": "https://ci.example.com"}]}),
                "ValidationFailed",
            ),
            (
                json!({"type": "generic-oidc", "oidcProviders": [{"issuerURL": "https://ci.example.com",
                    "validations": [{"expression": "claims.a +"}]}]}),
                "InvalidCELExpression",
            ),
        ] {
            assert!(built(change.clone()).unwrap_err().starts_with(reason), "{change}");
        }
        let good = json!({"type": "generic-oidc", "resourceFilter": "claims.repo == res.metadata.name",
            "oidcProviders": [{"issuerURL": "https://ci.example.com",
                "variables": [{"name": "repo", "expression": "claims.repository"}],
                "validations": [{"expression": "vars.repo == 'team/app'", "message": "no"}]}]});
        assert!(built(good).is_ok());
    }
}
