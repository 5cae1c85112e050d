//! Whose token is this, and: make one.

use serde::Deserialize;
use serde_json::{Value, json};

use secrecy::ExposeSecret as _;

use super::{
    super::tokens::{self, Bound, Claims, ISSUER, Reference},
    Api, Cause, Object, Status, Target,
    kinds::text,
    metadata, refuse, user_info,
};

const GROUP: &str = "authentication.k8s.io";
/// The shortest life of a token.
const MIN_SECONDS: i64 = 10 * 60;
/// The longest.
const MAX_SECONDS: i64 = 1 << 32;

fn audiences(spec: Option<&Value>) -> Vec<String> {
    let given = spec.and_then(|spec| spec.get("audiences"));
    let given: Option<Vec<String>> = given.and_then(|all| Deserialize::deserialize(all).ok());
    given.filter(|all| !all.is_empty()).unwrap_or_else(|| vec![ISSUER.to_owned()])
}

/// The status of a TokenReview.
pub(super) fn review(api: &Api, review: &Value) -> Result<Value, Status> {
    let token = text(review, "/spec/token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    Ok(match tokens::authenticate(api, token, &audiences(review.get("spec"))) {
        Ok((user, audiences)) => {
            json!({"authenticated": true, "user": user_info(&user), "audiences": audiences})
        }
        Err(problem) => json!({"user": {}, "error": problem}),
    })
}

/// Fills in a TokenRequest.
pub(super) fn request(api: &Api, account: &Target, object: &mut Object) -> Result<(), Status> {
    let mismatch = |field: &str, expected: &str| {
        let found = metadata::get(object, field);
        if found.is_empty() || found == expected {
            return Ok(());
        }
        let detail = format!("must match the service account {field} if specified");
        let cause = Cause::invalid(format!("metadata.{field}"), &found.into(), &detail);
        Err(Status::invalid(GROUP, "TokenRequest", &account.name, vec![cause]))
    };
    mismatch("name", &account.name)?;
    mismatch("namespace", &account.namespace)?;
    let found = api.store.get(&account.resource.table, &account.key());
    let found = found.ok_or_else(|| account.not_found())?;
    let uid = found.meta().uid.to_string();
    let wanted = metadata::get(object, "uid").to_owned();
    if !wanted.is_empty() && wanted != uid {
        return Err(Status::conflict_on(
            GROUP,
            "TokenRequest",
            &account.name,
            &format!(
                "the UID in the token request ({wanted}) does not match the UID of the service account ({uid})"
            ),
        ));
    }
    let now = jiff::Timestamp::now();
    for (field, value) in [
        ("name", account.name.clone()),
        ("namespace", account.namespace.clone()),
        ("uid", uid.clone()),
        ("creationTimestamp", metadata::at(now)),
    ] {
        metadata::set(object, field, value);
    }
    let audiences = audiences(object.get("spec"));
    let seconds = complete_spec(object, &audiences)?;
    let bound = Bound {
        namespace: account.namespace.clone(),
        serviceaccount: Reference { name: account.name.clone(), uid },
        ..bound_to(api, account, object.get("spec"))?
    };
    let claims = Claims {
        aud: audiences,
        exp: now.as_second() + seconds,
        iat: now.as_second(),
        iss: ISSUER.into(),
        jti: uuid::Uuid::new_v4().to_string(),
        bound,
        nbf: now.as_second(),
        sub: format!("system:serviceaccount:{}:{}", account.namespace, account.name),
    };
    let token = api
        .tokens
        .sign(&claims)
        .map_err(|error| Status::internal(format!("failed to generate token: {error}")))?;
    let end = jiff::Timestamp::from_second(claims.exp).unwrap_or(jiff::Timestamp::MAX);
    let status = json!({"token": token.expose_secret(), "expirationTimestamp": metadata::at(end)});
    object.insert("status".into(), status);
    Ok(())
}

/// Writes the defaults into the spec and checks how long the token shall live.
fn complete_spec(object: &mut Object, audiences: &[String]) -> Result<i64, Status> {
    let spec = object.entry("spec").or_insert(Value::Null);
    if !spec.is_object() {
        *spec = json!({});
    }
    spec["audiences"] = json!(audiences);
    if spec.get("boundObjectRef").is_none() {
        spec["boundObjectRef"] = Value::Null;
    }
    let seconds = spec.get("expirationSeconds").and_then(Value::as_i64).unwrap_or(3600);
    spec["expirationSeconds"] = seconds.into();
    let mut causes = Vec::new();
    let mut invalid = |detail: &str| {
        causes.push(Cause::invalid("spec.expirationSeconds", &seconds.into(), detail));
    };
    if seconds < MIN_SECONDS {
        invalid("may not specify a duration less than 10 minutes");
    }
    if seconds > MAX_SECONDS {
        invalid("may not specify a duration larger than 2^32 seconds");
    }
    refuse(GROUP, "TokenRequest", causes)?;
    Ok(seconds)
}

/// The object that the token shall not outlive.
fn bound_to(api: &Api, account: &Target, spec: Option<&Value>) -> Result<Bound, Status> {
    let mut bound = Bound::default();
    let reference = spec.and_then(|spec| spec.get("boundObjectRef")).filter(|one| one.is_object());
    let Some(reference) = reference else { return Ok(bound) };
    let (name, kind) = (text(reference, "/name"), text(reference, "/kind"));
    let table = match (kind, text(reference, "/apiVersion")) {
        ("Pod", "v1") => "pods",
        ("Secret", "v1") => "secrets",
        ("Node", "v1") => "nodes",
        (kind, version) => {
            let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let registry = api.kinds();
    let resource = registry.find("", "v1", table).ok_or_else(Status::no_such_resource)?;
    let target = Target {
        resource: resource.clone(),
        namespace: account.namespace.clone(),
        name: name.into(),
    };
    let found = api.store.get(table, &target.key()).ok_or_else(|| target.not_found())?;
    let object = Value::Object(found.object());
    if table == "pods" && text(&object, "/spec/serviceAccountName") != account.name {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            account.name
        )));
    }
    let uid = found.meta().uid.to_string();
    let wanted = text(reference, "/uid");
    if !wanted.is_empty() && wanted != uid {
        return Err(Status::conflict_on(
            "",
            kind,
            name,
            &format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
            ),
        ));
    }
    let own = Some(Reference { name: name.into(), uid });
    match table {
        "pods" => {
            bound.node = node_of(api, &object);
            bound.pod = own;
        }
        "secrets" => bound.secret = own,
        _ => bound.node = own,
    }
    Ok(bound)
}

/// The node that a pod is on, for who reads the token.
fn node_of(api: &Api, pod: &Value) -> Option<Reference> {
    let name = text(pod, "/spec/nodeName");
    let uid = api.store.get("nodes", name).map(|node| node.meta().uid.to_string());
    (!name.is_empty()).then(|| Reference { name: name.into(), uid: uid.unwrap_or_default() })
}
