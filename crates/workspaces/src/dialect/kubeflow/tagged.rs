//! Answers that are rendered for every request, tagged by their content: a client that has the same
//! already gets no body.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};
use web::Error;

use super::{
    conditions::has_version,
    envelope::{Data, raw_json},
    error::Problem,
    wire::hex,
};

/// 200 with `{"data": …}`, or 304.
pub(crate) fn tagged<T: Serialize>(headers: &HeaderMap, data: T) -> Result<Response, Problem> {
    let body = serde_json::to_vec(&Data { data }).map_err(Error::internal)?;
    let tag = format!("W/\"{}\"", hex(&Sha256::digest(&body)));
    let mut response = match has_version(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => raw_json(StatusCode::OK, body.into()),
    };
    let tag = HeaderValue::try_from(tag).map_err(Error::internal)?;
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}
