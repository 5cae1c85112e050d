//! Storage classes: list.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::HeaderMap;

use super::{
    App, CLAIMS, STORAGE_CLASSES,
    error::Problem,
    extract::{Caller, Query},
    tagged::body,
    wire::storage_class::StorageClassItem,
};

/// `GET /storageclasses`: for admins, or with `namespace` for who may make claims there.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match query.namespace("namespace")? {
        Some(namespace) => app.allow(&caller, "create", CLAIMS, Some(namespace), None).await?,
        None => app.allow(&caller, "list", STORAGE_CLASSES, None, None).await?,
    }
    let classes = &app.caches.storage_classes;
    let revisions = vec![classes.revision()];
    app.tags.answer(&headers, "classes".to_owned(), revisions, || {
        let classes = classes.list(None);
        body(classes.iter().map(|class| StorageClassItem::from(&**class)).collect::<Vec<_>>())
    })
}
