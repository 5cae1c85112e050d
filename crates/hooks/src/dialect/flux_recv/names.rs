//! All fields that the file may have, level by level: flux-recv's own and ours.

use super::fold::{
    Below::{Leaf, List, Map, One},
    Names,
};

/// The fields of the file.
pub(super) static FILE: Names = Names(&[
    ("fluxRecvVersion", Leaf),
    ("api", Leaf),
    ("apiTokenPath", Leaf),
    ("endpoints", List(&ENDPOINT)),
    ("delivery", One(&DELIVERY)),
    ("targets", Map(&TARGET)),
    ("limits", One(&LIMITS)),
    ("strict", Leaf),
    ("trustedProxies", Leaf),
]);
static DELIVERY: Names = Names(&[
    ("ack", Leaf),
    ("store", Leaf),
    ("inlineTimeout", Leaf),
    ("replay", Leaf),
    ("replayWindow", Leaf),
    ("replayRetention", Leaf),
    ("schedule", Leaf),
    ("retention", Leaf),
    ("deadRetention", Leaf),
    ("maxStoreBytes", Leaf),
    ("deadLetterTarget", Leaf),
    ("storePayload", Leaf),
    ("payloadRetention", Leaf),
    ("encryptionKeyPath", Leaf),
]);
static ENDPOINT_DELIVERY: Names = Names(&[("ack", Leaf), ("replay", Leaf)]);
static TARGET: Names = Names(&[
    ("type", Leaf),
    ("maxConcurrency", Leaf),
    ("rate", Leaf),
    ("probe", Leaf),
    ("api", Leaf),
    ("apiTokenPath", Leaf),
    ("url", Leaf),
    ("urls", Leaf),
    ("forwardAuth", Leaf),
    ("allowHTTP", Leaf),
    ("allowCIDRs", Leaf),
    ("signingKeyPath", Leaf),
    ("timeout", Leaf),
    ("filter", One(&FILTER)),
    ("namespace", Leaf),
    ("resources", List(&RESOURCE)),
    ("auto", Leaf),
    ("tagFilter", Leaf),
    ("action", Leaf),
    ("annotation", One(&ANNOTATION)),
    ("nameTemplate", Leaf),
    ("debounce", Leaf),
    ("force", Leaf),
    ("reset", Leaf),
    ("waitHandled", Leaf),
]);
static RESOURCE: Names = Names(&[
    ("apiVersion", Leaf),
    ("kind", Leaf),
    ("name", Leaf),
    ("namespace", Leaf),
    ("matchLabels", Leaf),
]);
static ANNOTATION: Names = Names(&[("key", Leaf), ("value", Leaf)]);
static FILTER: Names = Names(&[
    ("events", Leaf),
    ("repos", Leaf),
    ("branches", Leaf),
    ("tags", Leaf),
    ("refs", Leaf),
    ("images", Leaf),
    ("imageTags", Leaf),
    ("buckets", Leaf),
    ("keys", Leaf),
    ("paths", Leaf),
    ("cel", Leaf),
    ("ignoreDeletes", Leaf),
]);
static ENDPOINT: Names = Names(&[
    ("name", Leaf),
    ("source", Leaf),
    ("keyPath", Leaf),
    ("keyPaths", List(&KEY)),
    ("path", Leaf),
    ("registryHost", Leaf),
    ("gcr", One(&GCR)),
    ("allowEmptyKey", Leaf),
    ("minAlgorithm", Leaf),
    ("signature", Leaf),
    ("ignoreDeletes", Leaf),
    ("events", Leaf),
    ("strictStatus", Leaf),
    ("ignoreUnwanted", Leaf),
    ("targets", Leaf),
    ("filter", One(&FILTER)),
    ("auth", One(&AUTH)),
    ("insecure", Leaf),
    ("allowCIDRs", Leaf),
    ("allowedOrigins", Leaf),
    ("header", Leaf),
    ("hmac", One(&HMAC)),
    ("topics", Leaf),
    ("autoConfirm", Leaf),
    ("issuers", List(&ISSUER)),
    ("signingKeyPath", Leaf),
    ("tokenMode", Leaf),
    ("azureHost", Leaf),
    ("opaqueTokenPath", Leaf),
    ("delivery", One(&ENDPOINT_DELIVERY)),
    ("limits", One(&ENDPOINT_LIMITS)),
]);
static KEY: Names = Names(&[("path", Leaf), ("notAfter", Leaf)]);
static AUTH: Names = Names(&[
    ("type", Leaf),
    ("subjects", Leaf),
    ("usernamePath", Leaf),
    ("passwordPath", Leaf),
    ("tokenPath", Leaf),
    ("name", Leaf),
    ("valuePath", Leaf),
    ("issuers", List(&ISSUER)),
]);
static ISSUER: Names =
    Names(&[("url", Leaf), ("audience", Leaf), ("validations", List(&VALIDATION))]);
static VALIDATION: Names = Names(&[("cel", Leaf), ("message", Leaf)]);
static HMAC: Names = Names(&[
    ("header", Leaf),
    ("algorithm", Leaf),
    ("encoding", Leaf),
    ("prefix", Leaf),
    ("list", Leaf),
    ("signedContent", Leaf),
    ("timestampHeader", Leaf),
    ("idHeader", Leaf),
    ("tolerance", Leaf),
]);
static GCR: Names = Names(&[
    ("audience", Leaf),
    ("email", Leaf),
    ("jwksURL", Leaf),
    ("issuers", Leaf),
    ("tokenInfoURL", Leaf),
]);
static LIMITS: Names = Names(&[
    ("maxBodyBytes", Leaf),
    ("maxHeaderBytes", Leaf),
    ("maxHeaders", Leaf),
    ("readHeaderTimeout", Leaf),
    ("readTimeout", Leaf),
    ("minBodyRate", Leaf),
    ("idleTimeout", Leaf),
    ("maxConnections", Leaf),
    ("maxConnectionsPerAddress", Leaf),
    ("maxInflightBytes", Leaf),
    ("handlerTimeout", Leaf),
    ("rate", One(&RATES)),
]);
static ENDPOINT_LIMITS: Names = Names(&[("maxBodyBytes", Leaf), ("rate", One(&RATES))]);
static RATES: Names =
    Names(&[("perEndpoint", One(&PER_SECOND)), ("perAddress", One(&PER_MINUTE)), ("exempt", Leaf)]);
static PER_SECOND: Names = Names(&[("perSecond", Leaf), ("burst", Leaf)]);
static PER_MINUTE: Names = Names(&[("perMinute", Leaf), ("burst", Leaf)]);
