//! The routes, under the path prefix that the workspace is reached at, and who may use them.

use std::{fmt, path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{FromRequestParts, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post, put},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::{
    content,
    error::Error,
    root::{Draft, InnerPath, Listing, Root},
    upload,
};

/// The secret that callers must send as `Authorization: Bearer`. It cannot be printed.
#[derive(Clone)]
pub struct Token(Arc<SecretString>);

impl Token {
    /// Takes the secret; an empty one is no secret.
    pub fn new(secret: String) -> Option<Self> {
        (!secret.is_empty()).then(|| Self(Arc::new(secret.into())))
    }

    fn matches(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        sent.and_then(|value| value.strip_prefix(b"Bearer "))
            .is_some_and(|sent| sent.ct_eq(self.0.expose_secret().as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// How much one request may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest file that an upload may make, in bytes.
    pub upload_bytes: u64,
    /// Most entries that a listing shows.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { upload_bytes: 64 * 1024 * 1024 * 1024, entries: 10_000 }
    }
}

/// What a file browser serves, and to whom.
#[derive(Debug)]
pub struct Options {
    /// The directory.
    pub root: PathBuf,
    /// The path that everything is served under, such as `/workspace/connect/ns/name/files/`.
    pub base_path: String,
    /// The secret that callers must know; without one everybody who can connect may do everything.
    pub token: Option<Token>,
    /// Limits of one request.
    pub limits: Limits,
}

#[derive(Debug, Clone)]
struct Files {
    root: Root,
    limits: Limits,
}

/// The whole application.
pub fn router(options: Options) -> std::io::Result<Router> {
    let state = Files { root: Root::open(&options.root)?, limits: options.limits };
    let base = format!("/{}", options.base_path.trim_matches('/'));
    let base = base.trim_end_matches('/').to_owned();
    let api = Router::new()
        .route("/", get(page))
        .route("/app.js", get(script))
        .route("/style.css", get(style))
        .route("/api/list/", get(list))
        .route("/api/list/{*path}", get(list))
        .route("/api/files/{*path}", put(store).get(read).delete(delete))
        .route("/api/folders/{*path}", post(make_folder))
        .route("/api/rename", post(rename))
        .layer(middleware::from_fn_with_state(options.token, guard))
        .with_state(state);
    // Probes know no secret.
    let api = api.route("/healthz", get(async || StatusCode::NO_CONTENT));
    let router = if base.is_empty() {
        api
    } else {
        let target = format!("{base}/");
        Router::new()
            .nest(&target, api)
            .route(&base, get(async move || Redirect::permanent(&target)))
            .route("/healthz", get(async || StatusCode::NO_CONTENT))
    };
    let router =
        router.fallback(async || Error::new(StatusCode::NOT_FOUND, "there is nothing here"));
    Ok(router.layer(middleware::map_response(harden)))
}

/// Lets only holders of the secret in, and refuses writes that another site's page sends.
async fn guard(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if token.is_some_and(|token| !token.matches(headers)) {
        return Error::new(
            StatusCode::UNAUTHORIZED,
            "open this workspace through Quartermaster: its address alone is not enough",
        )
        .into_response();
    }
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let own = matches!(site, None | Some(b"same-origin" | b"none"));
    if !request.method().is_safe() && !own {
        return Error::new(StatusCode::FORBIDDEN, "another site may not change files here")
            .into_response();
    }
    next.run(request).await
}

async fn harden(mut response: Response) -> Response {
    const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
        connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
        frame-ancestors 'none'";
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, PAGE);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
    response
}

async fn page() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], include_str!("page/index.html"))
}

async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page/app.js"))
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page/style.css"))
}

/// Runs a blocking file operation where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a file operation broke off");
        Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, "the operation broke off"))
    })
}

/// What follows `/api/ROUTE/`, still percent-encoded: names need not be UTF-8.
struct RawPath(String);

impl<S: Sync> FromRequestParts<S> for RawPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let path = parts.uri.path().trim_start_matches('/');
        Ok(Self(path.splitn(3, '/').nth(2).unwrap_or_default().to_owned()))
    }
}

async fn list(State(files): State<Files>, path: RawPath) -> Result<Json<Listing>, Error> {
    let path = InnerPath::decode(&path.0)?;
    blocking(move || files.root.list(&path, files.limits.entries)).await.map(Json)
}

#[derive(Debug, Deserialize)]
struct ReadQuery {
    download: Option<String>,
}

async fn read(
    State(files): State<Files>,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
    path: RawPath,
) -> Result<Response, Error> {
    let path = InnerPath::decode(&path.0)?;
    blocking(move || {
        let (file, size) = files.root.read(&path)?;
        let name = path.name().unwrap_or_default();
        content::answer(file, size, name, &headers, query.download.is_some())
            .map_err(|error| Error::from_io(&error, "the file"))
    })
    .await
}

async fn store(
    State(files): State<Files>,
    headers: HeaderMap,
    path: RawPath,
    body: Body,
) -> Result<StatusCode, Error> {
    let path = InnerPath::decode(&path.0)?;
    let replace = headers.get(header::IF_NONE_MATCH).is_none_or(|value| value != "*");
    let limit = files.limits.upload_bytes;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|value| value.parse::<u64>().ok()).is_some_and(|size| size > limit) {
        return Err(upload::too_large("the file", limit));
    }
    let mut draft: Draft = blocking(move || files.root.write(&path)).await?;
    upload::store(&mut draft, body, limit).await?;
    blocking(move || draft.keep(replace)).await?;
    Ok(StatusCode::CREATED)
}

async fn make_folder(State(files): State<Files>, path: RawPath) -> Result<StatusCode, Error> {
    let path = InnerPath::decode(&path.0)?;
    blocking(move || files.root.make_folder(&path)).await?;
    Ok(StatusCode::CREATED)
}

/// Both paths percent-encoded, as in the other routes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    from: String,
    to: String,
}

async fn rename(
    State(files): State<Files>,
    body: Result<Json<Rename>, axum::extract::rejection::JsonRejection>,
) -> Result<StatusCode, Error> {
    let Json(body) = body.map_err(|error| Error::new(error.status(), error.body_text()))?;
    let (from, to) = (InnerPath::decode(&body.from)?, InnerPath::decode(&body.to)?);
    blocking(move || files.root.rename(&from, &to)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct DeleteQuery {
    recursive: Option<String>,
}

async fn delete(
    State(files): State<Files>,
    Query(query): Query<DeleteQuery>,
    path: RawPath,
) -> Result<StatusCode, Error> {
    let path = InnerPath::decode(&path.0)?;
    blocking(move || files.root.delete(&path, query.recursive.is_some())).await?;
    Ok(StatusCode::NO_CONTENT)
}
