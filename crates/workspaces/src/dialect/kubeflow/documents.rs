//! The documents of this contract: OpenAPI 3.1, and Swagger 2.0 with a page where it is wanted.
//!
//! They hold nobody's secret and need no identity. Each is made when somebody first asks for it.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, Uri, header};
use serde_json::Value;
use web::Page;

use super::{
    App, Options,
    envelope::raw_json,
    error::Problem,
    openapi::document,
    route::{Answers, BASE, Routes},
    swagger::{self, Swagger},
    table,
};

/// Where the documents are; the second is the name that other tools try.
pub const OPENAPI: [&str; 2] = ["/openapi/kubeflow.json", "/openapi.json"];

const PAGE: &str = "index.html";

/// What was made so far.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    openapi: OnceLock<Bytes>,
    swagger: OnceLock<Bytes>,
}

/// The contract as an OpenAPI 3.1 document.
pub fn openapi(options: &Options) -> Value {
    document(&table::routes(), &options.user_header)
}

pub(crate) fn mount(routes: &mut Routes) {
    let document = Arc::new(Answers::read(served));
    for path in OPENAPI {
        routes.at(path, &document);
    }
    let (to_page, page) = (Arc::new(Answers::any(to_page)), Arc::new(Answers::any(page)));
    for (file, answers) in [("", &to_page), ("/", &to_page), ("/index.html", &page)] {
        routes.everywhere(&format!("{BASE}/swagger{file}"), answers);
    }
    routes
        .everywhere(&format!("{BASE}/swagger/doc.json"), &Arc::new(Answers::any(swagger_document)));
}

async fn served(State(app): State<Arc<App>>) -> Response {
    let made = app.documents.openapi.get_or_init(|| bytes(&openapi(&app.options)));
    raw_json(StatusCode::OK, made.clone())
}

async fn swagger_document(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let at = wanted(&app)?;
    let make = || bytes(&swagger::convert(&openapi(&app.options), at));
    let made = app.documents.swagger.get_or_init(make).clone();
    let mut response = raw_json(StatusCode::OK, made);
    let utf8 = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, utf8);
    Ok(response)
}

async fn to_page(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    wanted(&app)?;
    let target = format!("{}/{PAGE}", uri.path().trim_end_matches('/'));
    Ok((StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, target)]).into_response())
}

/// All operations on one page, without scripts.
async fn page(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    wanted(&app)?;
    let page = Page::new(StatusCode::OK, "Kubeflow Notebooks API").badge("1.0.0");
    let page = table::routes().into_iter().fold(page, |page, route| {
        let path = route.path;
        route.operations.into_iter().fold(page, |page, (method, doc)| {
            page.text(format!("{method} {path}: {} ({})", doc.summary, doc.id))
        })
    });
    let document = uri.path().replace(PAGE, "doc.json");
    Ok(page.link(document, "Swagger 2.0").link(OPENAPI[0], "OpenAPI 3.1").into_response())
}

fn wanted(app: &App) -> Result<&Swagger, Problem> {
    app.options.swagger.as_ref().ok_or_else(Problem::not_found)
}

fn bytes(document: &Value) -> Bytes {
    document.to_string().into()
}
