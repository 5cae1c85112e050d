//! What every route has around it: the client's wish for a compressed form is settled once, answers
//! repeat the generation that was selected, and what was not compressed yet is.

use std::{convert::Infallible, future::ready};

use axum::{body::Body, extract::Request, response::Response};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header};
use http_body::Body as _;
use tower::{Layer, Service, service_fn};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, Predicate, predicate::SizeAbove},
};

use super::{
    compress::{Encoding, Live, SMALLEST},
    profile::Profile,
};

/// What a client wants of the form of its answer.
#[derive(Debug)]
pub(super) struct Wishes {
    profile: Option<Profile>,
    encoding: Encoding,
}

impl Wishes {
    /// Reads them, and replaces those that handlers look at by what is granted.
    pub(super) fn settle(headers: &mut HeaderMap) -> Self {
        let profile = Profile::selected(headers).and_then(Result::ok);
        Self { profile, encoding: settle_encoding(headers) }
    }

    /// Gives an answer its form.
    pub(super) async fn grant(self, response: Response) -> Response {
        let mut response = match may_be_packed(&response) {
            true => Box::pin(pack(response, self.encoding)).await,
            false => response,
        };
        if let Some(profile) = self.profile {
            profile.name_in(response.headers_mut());
        }
        response
    }
}

/// Replaces the client's wishes by the one that is granted, so that kept and fresh answers choose
/// alike.
fn settle_encoding(headers: &mut HeaderMap) -> Encoding {
    if !headers.contains_key(header::ACCEPT_ENCODING) {
        return Encoding::Identity;
    }
    let granted = Encoding::negotiate(headers);
    let value = granted.header().unwrap_or(HeaderValue::from_static("identity"));
    headers.insert(header::ACCEPT_ENCODING, value);
    granted
}

/// Whether the form of an answer depends on what the client takes.
fn may_be_packed(response: &Response) -> bool {
    let small = response.body().size_hint().upper().is_some_and(|most| most < SMALLEST as u64);
    !small && !response.headers().contains_key(header::CONTENT_ENCODING)
}

async fn pack(response: Response, encoding: Encoding) -> Response {
    let layer = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(SMALLEST as u64).and(not_live));
    let mut asked = Request::new(Body::empty());
    if let Some(encoding) = encoding.header() {
        asked.headers_mut().insert(header::ACCEPT_ENCODING, encoding);
    }
    let mut answer = Some(response);
    let given =
        service_fn(|_: Request| ready(Ok::<_, Infallible>(answer.take().unwrap_or_default())));
    let packed = layer.layer(given).call(asked).await.unwrap_or_else(|never| match never {});
    packed.map(Body::new)
}

fn not_live(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<Live>().is_none()
}
