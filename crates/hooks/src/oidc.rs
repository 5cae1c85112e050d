//! Identity tokens of CI systems and the like: JWTs of issuers that the owner trusts, with claims
//! that the owner's expressions accept (contract §3.5, §3.9).

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use crate::{
    decide::cel::{Expression, Input},
    jwks::KeySet,
    model::Inbound,
    targets::Guard,
};

/// Algorithms that prove something: never `none`, never one whose key is published.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// The longest token that is looked at.
const LONGEST: usize = 16 * 1024;
/// How far clocks may differ.
const SKEW: i64 = 60;

/// Issuers, any of which may vouch for a sender.
#[derive(Debug)]
pub struct Oidc(Vec<Provider>);

/// One issuer and what its tokens must say.
#[derive(Debug)]
pub struct Provider {
    url: String,
    audience: String,
    variables: Vec<(String, Expression)>,
    validations: Vec<(Expression, String)>,
    keys: KeySet,
}

impl Provider {
    /// Tokens of this issuer for this audience, which pass all of these expressions; there must be
    /// at least one, or every token of the issuer would do. `guard` is for issuers that strangers
    /// chose.
    pub fn new(
        url: &str,
        audience: &str,
        validations: Vec<(Expression, String)>,
        guard: Option<Guard>,
    ) -> Result<Self, String> {
        let parsed: reqwest::Url =
            url.parse().map_err(|error| format!("issuer \"{url}\": {error}"))?;
        if !matches!(parsed.scheme(), "https" | "http") {
            return Err(format!("issuer \"{url}\" is neither https nor http"));
        }
        if let Some(guard) = &guard {
            guard.check(&parsed).map_err(|why| format!("issuer \"{url}\": {why}"))?;
        }
        if validations.is_empty() {
            return Err(format!(
                "issuer \"{url}\" needs a validation: whom of its does it vouch for?"
            ));
        }
        if audience.is_empty() {
            return Err(format!("issuer \"{url}\" needs an audience"));
        }
        let keys = KeySet::of_issuer(url, guard);
        let (url, audience) = (url.to_owned(), audience.to_owned());
        Ok(Self { url, audience, variables: Vec::new(), validations, keys })
    }

    /// The same with names for values, which validations see as `vars.<name>`.
    #[must_use]
    pub fn with_variables(self, variables: Vec<(String, Expression)>) -> Self {
        Self { variables, ..self }
    }

    /// Whether claims fit at this Unix second.
    fn accepts(&self, claims: &Value, now: i64) -> Result<(), &'static str> {
        let number = |name: &str| claims.get(name).and_then(Value::as_f64);
        let seconds = |value: f64| {
            // Saturates, which is what a time far away means.
            #[expect(clippy::cast_possible_truncation, reason = "see above")]
            let seconds = value as i64;
            seconds
        };
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => *one == self.audience,
            Some(Value::Array(many)) => many.iter().any(|one| *one == self.audience),
            _ => false,
        };
        if !audience {
            return Err("other audience");
        }
        let expires = number("exp").map(seconds).ok_or("no expiry")?;
        if now > expires.saturating_add(SKEW) {
            return Err("expired");
        }
        let early = |name: &str| number(name).map(seconds).is_some_and(|at| at > now + SKEW);
        if early("iat") || early("nbf") {
            return Err("from the future");
        }
        self.validate(claims)
    }

    fn validate(&self, claims: &Value) -> Result<(), &'static str> {
        let mut vars = Value::Object(Map::new());
        for (name, expression) in &self.variables {
            let input = Input { claims, vars: &vars, ..Input::nothing() };
            let value = expression.value(input).map_err(|_| "a variable cannot be evaluated")?;
            vars[name] = value;
        }
        for (expression, message) in &self.validations {
            let input = Input { claims, vars: &vars, ..Input::nothing() };
            if expression.passes(input) != Ok(true) {
                tracing::debug!(issuer = self.url, message, "a token was refused");
                return Err("a validation failed");
            }
        }
        Ok(())
    }
}

impl Oidc {
    /// Any of these issuers; each may be named once.
    pub fn new(providers: Vec<Provider>) -> Result<Self, String> {
        for (index, provider) in providers.iter().enumerate() {
            if providers[..index].iter().any(|before| before.url == provider.url) {
                return Err(format!("issuer \"{}\" is named twice", provider.url));
            }
        }
        if providers.is_empty() {
            Err("no issuer is named".to_owned())
        } else {
            Ok(Self(providers))
        }
    }

    /// The claims of the token that a request brings, if somebody trusted vouches for it.
    pub async fn claims(&self, request: &Inbound<'_>) -> Result<Value, &'static str> {
        let token = bearer(request).ok_or("no bearer token")?;
        // Only to choose the issuer, whose keys then decide.
        let named = jsonwebtoken::dangerous::insecure_decode::<Value>(token);
        let named = named.map_err(|_| "no JWT")?.claims;
        let issuer = named.get("iss").and_then(Value::as_str).ok_or("token names no issuer")?;
        let provider = self.0.iter().find(|provider| provider.url == issuer);
        let provider = provider.ok_or("other issuer")?;
        let claims: Value = provider.keys.verified(token, &ALGORITHMS).await?;
        provider.accepts(&claims, request.now)?;
        Ok(claims)
    }
}

/// The token of a request.
fn bearer<'a>(request: &Inbound<'a>) -> Option<&'a str> {
    let (scheme, token) = request.text("authorization")?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && token.len() <= LONGEST).then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider(validation: &str) -> Provider {
        let validation = Expression::try_from(validation.to_owned()).unwrap();
        let validations = vec![(validation, "no".to_owned())];
        Provider::new("https://ci.example.com", "me", validations, None).unwrap()
    }

    #[test]
    fn claims_must_all_fit() {
        let claims = |change: Value| {
            let mut claims = json!({"iss": "https://ci.example.com", "aud": "me", "exp": 100,
                "iat": 50, "repository": "team/app"});
            claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            provider("claims.repository == 'team/app'").accepts(&claims, 60)
        };
        assert_eq!(claims(json!({})), Ok(()));
        assert_eq!(claims(json!({"aud": ["you", "me"]})), Ok(()));
        assert_eq!(claims(json!({"aud": ["you"]})), Err("other audience"));
        assert_eq!(claims(json!({"aud": {"me": 1}})), Err("other audience"));
        assert_eq!(claims(json!({"exp": -1})), Err("expired"));
        assert_eq!(claims(json!({"exp": "soon"})), Err("no expiry"));
        assert_eq!(claims(json!({"iat": 121})), Err("from the future"));
        assert_eq!(claims(json!({"nbf": 1e300})), Err("from the future"));
        assert_eq!(claims(json!({"repository": "team/other"})), Err("a validation failed"));
        assert_eq!(claims(json!({"repository": null})), Err("a validation failed"));
    }

    #[test]
    fn issuers_are_checked() {
        let validation = || vec![(Expression::try_from("true".to_owned()).unwrap(), String::new())];
        let guard = || Some(Guard::new(Vec::new()));
        assert!(Provider::new("https://ci.example.com", "me", Vec::new(), None).is_err());
        assert!(Provider::new("https://ci.example.com", "", validation(), None).is_err());
        assert!(Provider::new("ftp://ci.example.com", "me", validation(), None).is_err());
        for url in ["http://ci.example.com", "https://10.0.0.1", "https://169.254.169.254/x"] {
            assert!(Provider::new(url, "me", validation(), guard()).is_err(), "{url}");
        }
        assert!(Provider::new("https://ci.example.com", "me", validation(), guard()).is_ok());
        let one = || Provider::new("https://ci.example.com", "me", validation(), None).unwrap();
        assert!(Oidc::new(vec![one(), one()]).is_err() && Oidc::new(Vec::new()).is_err());
    }
}
