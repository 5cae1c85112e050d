//! Bodies of any size pass in flat memory. Alone in its program, because it measures the process.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::convert::Infallible;

use axum::{
    Router,
    body::{Body, Bytes},
    routing::{get, post},
};
use futures::{StreamExt as _, stream};
use http::Method;
use http_body_util::BodyExt as _;

#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "connect/kit.rs"]
mod kit;

use kit::{PATH, Setup};

const MIB: u64 = 1 << 20;
const LARGE: u64 = 100 * MIB;

fn pieces(total: u64) -> Body {
    let piece = Bytes::from(vec![42; 1 << 16]);
    let count = usize::try_from(total >> 16).unwrap();
    Body::from_stream(stream::iter(0..count).map(move |_| Ok::<_, Infallible>(piece.clone())))
}

async fn count(mut body: Body) -> u64 {
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        total += frame.unwrap().data_ref().map_or(0, |data| data.len() as u64);
    }
    total
}

/// Resident memory of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn large_bodies_pass_both_ways_in_flat_memory() {
    let router = Router::new()
        .route(&format!("{PATH}down"), get(|| async { pieces(LARGE) }))
        .route(&format!("{PATH}up"), post(|body: Body| async { count(body).await.to_string() }))
        .layer(axum::extract::DefaultBodyLimit::disable());
    let setup = Setup::new(kit::program(router).await).await;
    let before = resident();
    let down = setup.open(Method::GET, &format!("{PATH}down"), Body::empty()).await;
    assert_eq!(count(down.into_body()).await, LARGE);
    let up = setup.open(Method::POST, &format!("{PATH}up"), pieces(LARGE)).await;
    let answer = up.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(answer, LARGE.to_string());
    let grown = resident().saturating_sub(before);
    assert!(grown < 40 * MIB, "grew by {} MiB", grown / MIB);
}
