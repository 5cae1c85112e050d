//! What every route has around it: the client's wish for a compressed form is settled once, answers
//! repeat the generation that was selected, and what was not compressed yet is.
//!
//! One layer by hand in place of three ready ones: each layer of a router is cloned and boxed for each
//! request.

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{body::Body, extract::Request, response::Response, routing::Route};
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

/// The layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around;

/// A route with all of it.
#[derive(Clone)]
pub(super) struct Surrounded(Route);

impl Layer<Route> for Around {
    type Service = Surrounded;

    fn layer(&self, route: Route) -> Surrounded {
        Surrounded(route)
    }
}

impl Service<Request> for Surrounded {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let selected = Profile::selected(request.headers()).and_then(Result::ok);
        let encoding = settle_encoding(request.headers_mut());
        let answer = self.0.call(request);
        Box::pin(async move {
            let response = answer.await?;
            let mut response = match may_be_packed(&response) {
                true => pack(response, encoding).await?,
                false => response,
            };
            if let Some(profile) = selected {
                profile.name_in(response.headers_mut());
            }
            Ok(response)
        })
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

async fn pack(response: Response, encoding: Encoding) -> Result<Response, Infallible> {
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
    let packed = layer.layer(given).call(asked).await?;
    Ok(packed.map(Body::new))
}

fn not_live(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<Live>().is_none()
}
