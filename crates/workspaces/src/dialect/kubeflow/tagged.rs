//! Answers that are rendered for every request, tagged by their content: a client that has the same
//! already gets no body, and as long as no cache has changed none is rendered for it.

use std::collections::HashMap;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest, Sha256};
use web::Error;

use super::{
    conditions::has_version,
    envelope::{Data, raw_json},
    error::Problem,
    wire::hex,
};

/// How many tags are kept; the next one makes room by forgetting them all.
const MOST: usize = 1024;

/// 200 with `{"data": …}`, or 304.
pub(crate) fn tagged<T: Serialize>(headers: &HeaderMap, data: T) -> Result<Response, Problem> {
    let body = body(data)?;
    respond(headers, tag(&body), Some(body))
}

/// `{"data": …}`
pub(crate) fn body<T: Serialize>(data: T) -> Result<Bytes, Problem> {
    Ok(serde_json::to_vec(&Data { data }).map_err(Error::internal)?.into())
}

/// The tags of answers that were rendered from caches lately, by what was asked, with the revisions
/// of the caches then.
#[derive(Debug, Default)]
pub(crate) struct Tags(Mutex<HashMap<String, (Vec<u64>, String)>>);

impl Tags {
    /// 200 with what `render` gives, or 304. The revisions are taken before the caches are read: a
    /// change in between makes the next one look again.
    pub(crate) fn answer(
        &self,
        headers: &HeaderMap,
        asked: String,
        revisions: Vec<u64>,
        render: impl FnOnce() -> Result<Bytes, Problem>,
    ) -> Result<Response, Problem> {
        let known = self.0.lock().get(&asked).filter(|(then, _)| *then == revisions).cloned();
        if let Some((_, tag)) = known
            && has_version(headers, &tag)
        {
            return respond(headers, tag, None);
        }
        let body = render()?;
        let tag = tag(&body);
        let mut tags = self.0.lock();
        if tags.len() >= MOST {
            tags.clear();
        }
        tags.insert(asked, (revisions, tag.clone()));
        drop(tags);
        respond(headers, tag, Some(body))
    }
}

fn tag(body: &Bytes) -> String {
    format!("W/\"{}\"", hex(&Sha256::digest(body)))
}

/// No body is an answer that the client has.
fn respond(headers: &HeaderMap, tag: String, body: Option<Bytes>) -> Result<Response, Problem> {
    let mut response = match body.filter(|_| !has_version(headers, &tag)) {
        Some(body) => raw_json(StatusCode::OK, body),
        None => StatusCode::NOT_MODIFIED.into_response(),
    };
    let tag = HeaderValue::try_from(tag).map_err(Error::internal)?;
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn while_nothing_changes_nothing_is_rendered_for_who_has_it() {
        let (tags, rendered) = (Tags::default(), Cell::new(0));
        let ask = |headers: &HeaderMap, revision: u64| {
            let render = || {
                rendered.set(rendered.get() + 1);
                body(["a"])
            };
            tags.answer(headers, "kinds".to_owned(), vec![revision], render).unwrap()
        };
        let first = ask(&HeaderMap::new(), 1);
        assert_eq!(first.status(), StatusCode::OK);
        let known = first.headers()[header::ETAG].clone();
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, known)]);
        assert_eq!(ask(&known, 1).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(rendered.get(), 1);
        // Something has changed, if not what is shown here.
        assert_eq!(ask(&known, 2).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(rendered.get(), 2);
        assert_eq!(ask(&known, 2).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(rendered.get(), 2);
        assert_eq!(ask(&HeaderMap::new(), 2).status(), StatusCode::OK);
    }
}
