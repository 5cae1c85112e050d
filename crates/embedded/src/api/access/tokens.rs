//! Bearer tokens: the administrator's secret, and the signed tokens of service accounts.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use parking_lot::RwLock;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Api, User};
use crate::schema::quote;

/// Who issues tokens, and whom they are for unless something else is asked for.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";
/// The longest token that is looked at.
const MAX_BYTES: usize = 16 << 10;
/// The file of the signing key in the data directory.
const FILE: &str = "service-account.key";
/// How long what a token is bound to may be gone before the token is.
const LEEWAY_SECONDS: i64 = 60;

/// The keys of tokens. Its `Debug` says nothing.
pub(crate) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    key_id: String,
    administrator: RwLock<Option<SecretString>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

/// What a token of a service account says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) bound: Bound,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// What a token lives and dies with.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    pub(crate) serviceaccount: Reference,
}

/// One object.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uid: String,
}

impl Tokens {
    /// The keys of a data directory; made at the first start.
    pub(crate) fn load_or_create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let document = match fs::read(&path) {
            Ok(document) => document,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_key(&path)?,
            Err(error) => return Err(error),
        };
        let damaged = |_| {
            let text =
                format!("{} is not a signing key: move it away to get a new one", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document)
            .map_err(damaged)?;
        let public = pair.public_key().as_ref();
        Ok(Self {
            signing: EncodingKey::from_ec_der(&document),
            verifying: DecodingKey::from_ec_der(public),
            key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(public)),
            administrator: RwLock::new(None),
        })
    }

    pub(crate) fn set_administrator(&self, secret: SecretString) {
        *self.administrator.write() = Some(secret);
    }

    /// Signs a token.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<SecretString, String> {
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, claims, &self.signing);
        token.map(SecretString::from).map_err(|error| error.to_string())
    }

    fn is_administrator(&self, token: &str) -> bool {
        self.administrator
            .read()
            .as_ref()
            .is_some_and(|secret| secret.expose_secret().as_bytes().ct_eq(token.as_bytes()).into())
    }

    /// What a token says, if it was signed here and is valid now.
    fn verify(&self, token: &str) -> Result<Claims, String> {
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud"]);
        rules.validate_nbf = true;
        // Audiences are compared by the caller, who has to name those that fit.
        rules.validate_aud = false;
        let read = jsonwebtoken::decode::<Claims>(token, &self.verifying, &rules);
        read.map(|data| data.claims).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => "service account token has expired".to_owned(),
            ErrorKind::ImmatureSignature => "service account token is not valid yet".to_owned(),
            _ => INVALID.to_owned(),
        })
    }
}

const INVALID: &str = "invalid bearer token";

fn create_key(path: &Path) -> io::Result<Vec<u8>> {
    let random = |_| io::Error::other("the system has no random numbers");
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(random)?;
    // Written aside first: a crash leaves no half of a key behind.
    let draft = path.with_extension("key.new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(document.as_ref())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(document.as_ref().to_vec())
}

/// Tells who holds a bearer token. Clones ask the same cluster.
#[derive(Debug, Clone)]
pub struct Authenticator {
    api: Arc<Api>,
}

impl Authenticator {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }

    /// The user whose token this is: the administrator (see
    /// [`Cluster::set_administrator`](crate::Cluster::set_administrator)) or a service account.
    pub fn authenticate(&self, token: &str) -> Option<User> {
        authenticate(&self.api, token, &[ISSUER.to_owned()]).ok().map(|(user, _)| user)
    }
}

/// The user of a token, and for which of the audiences it is good; or what is wrong with it.
pub(crate) fn authenticate(
    api: &Api,
    token: &str,
    audiences: &[String],
) -> Result<(User, Vec<String>), String> {
    if token.is_empty() || token.len() > MAX_BYTES {
        return Err(INVALID.to_owned());
    }
    if api.tokens.is_administrator(token) {
        return Ok((User::administrator(), audiences.to_vec()));
    }
    // The API server tells of a signed token first that it is none of another kind.
    read_signed(api, token, audiences).map_err(|problem| match problem.as_str() {
        INVALID => problem,
        problem => format!("[{INVALID}, {problem}]"),
    })
}

fn read_signed(
    api: &Api,
    token: &str,
    audiences: &[String],
) -> Result<(User, Vec<String>), String> {
    let claims = api.tokens.verify(token)?;
    let fitting: Vec<String> =
        claims.aud.iter().filter(|one| audiences.contains(one)).cloned().collect();
    if fitting.is_empty() {
        let list = |all: &[String]| {
            let all: Vec<String> = all.iter().map(|one| quote(one)).collect();
            format!("[{}]", all.join(" "))
        };
        return Err(format!(
            "token audiences {} is invalid for the target audiences {}",
            list(&claims.aud),
            list(audiences)
        ));
    }
    Ok((holder(api, claims)?, fitting))
}

/// The user of a valid token, if all that it is bound to is still there.
fn holder(api: &Api, claims: Claims) -> Result<User, String> {
    let Bound { namespace, node, pod, secret, serviceaccount: account } = &claims.bound;
    let key = |name: &str| format!("{namespace}/{name}");
    let found = api.store.get("serviceaccounts", &key(&account.name));
    let found = found.ok_or_else(|| format!("serviceaccounts {:?} not found", account.name))?;
    let uid = &found.meta().uid;
    if **uid != account.uid {
        return Err(format!("service account UID ({uid}) does not match claim ({})", account.uid));
    }
    if is_long_gone(&found) {
        return Err(format!("service account {namespace}/{} has been deleted", account.name));
    }
    let alone =
        node.as_ref().filter(|_| pod.is_none()).map(|node| ("nodes", node.name.clone(), node));
    let bound = [
        pod.as_ref().map(|pod| ("pods", key(&pod.name), pod)),
        secret.as_ref().map(|secret| ("secrets", key(&secret.name), secret)),
        alone,
    ];
    for (table, key, wanted) in bound.into_iter().flatten() {
        let found = api.store.get(table, &key);
        if found.is_none_or(|found| *found.meta().uid != *wanted.uid || is_long_gone(&found)) {
            return Err("service account token has been invalidated".into());
        }
    }
    let mut user = User::service_account(namespace, &account.name, &account.uid);
    let mut extra = |key: &str, value: String| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    extra("credential-id", format!("JTI={}", claims.jti));
    for (what, reference) in [("pod", pod), ("node", node)] {
        if let Some(reference) = reference {
            extra(&format!("{what}-name"), reference.name.clone());
            extra(&format!("{what}-uid"), reference.uid.clone());
        }
    }
    Ok(user)
}

/// Whether the deletion of an object began long enough ago.
fn is_long_gone(entry: &crate::store::Entry) -> bool {
    entry.meta().deleting && {
        let object = entry.object();
        let began = super::super::metadata::get(&object, "deletionTimestamp");
        let now = jiff::Timestamp::now().as_second();
        began.parse::<jiff::Timestamp>().is_ok_and(|began| began.as_second() < now - LEEWAY_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(from: i64, seconds: i64) -> Claims {
        let now = jiff::Timestamp::now().as_second() + from;
        Claims {
            aud: vec!["a".into()],
            exp: now + seconds,
            iat: now,
            iss: ISSUER.into(),
            jti: "j".into(),
            bound: Bound::default(),
            nbf: now,
            sub: "s".into(),
        }
    }

    #[test]
    fn keys_stay_and_say_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = Tokens::load_or_create(directory.path()).unwrap();
        let token = tokens.sign(&claims(0, 600)).unwrap();
        let again = Tokens::load_or_create(directory.path()).unwrap();
        assert_eq!(again.verify(token.expose_secret()).unwrap().jti, "j");
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Tokens::load_or_create(elsewhere.path()).unwrap();
        assert_eq!(other.verify(token.expose_secret()).unwrap_err(), INVALID);
        assert_eq!(format!("{tokens:?}"), "Tokens(…)");
        let mode = fs::metadata(directory.path().join(FILE)).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    }

    #[test]
    fn tokens_end_and_begin() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = Tokens::load_or_create(directory.path()).unwrap();
        let old = tokens.sign(&claims(-3600, 600)).unwrap();
        let problem = tokens.verify(old.expose_secret()).unwrap_err();
        assert_eq!(problem, "service account token has expired");
        let early = tokens.sign(&claims(3600, 600)).unwrap();
        let problem = tokens.verify(early.expose_secret()).unwrap_err();
        assert_eq!(problem, "service account token is not valid yet");
        for broken in ["", "a.b.c", "….…", &"x".repeat(100_000)] {
            assert_eq!(tokens.verify(broken).unwrap_err(), INVALID);
        }
    }

    #[test]
    fn a_damaged_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), b"not a key").unwrap();
        let error = Tokens::load_or_create(directory.path()).unwrap_err();
        assert!(error.to_string().contains("is not a signing key"), "{error}");
    }
}
