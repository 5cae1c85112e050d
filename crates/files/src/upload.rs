//! Writing an upload to disk as it arrives, without ever holding it in memory.

use axum::body::Body;
use futures::TryStreamExt;
use http::StatusCode;
use tokio::io::AsyncWriteExt;

use crate::{error::Error, root::Draft};

/// Streams `body` into `draft`; the caller puts the draft in place afterwards.
pub(crate) async fn store(draft: &mut Draft, body: Body, limit: u64) -> Result<u64, Error> {
    let Some(file) = draft.take_file() else {
        return Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, "the upload was started twice"));
    };
    let mut file = tokio::fs::File::from_std(file);
    let fail = |error: std::io::Error| Error::from_io(&error, draft.shown());
    let mut stream = body.into_data_stream();
    let mut written = 0_u64;
    loop {
        let chunk = stream.try_next().await.map_err(|_| {
            Error::new(StatusCode::BAD_REQUEST, format!("{} arrived incomplete", draft.shown()))
        })?;
        let Some(chunk) = chunk else { break };
        written = written.saturating_add(chunk.len() as u64);
        if written > limit {
            return Err(too_large(draft.shown(), limit));
        }
        file.write_all(&chunk).await.map_err(fail)?;
    }
    file.flush().await.map_err(fail)?;
    // An answer of 201 means that the file is on the disk.
    file.sync_all().await.map_err(fail)?;
    Ok(written)
}

pub(crate) fn too_large(shown: &str, limit: u64) -> Error {
    Error::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("{shown} is larger than the {} MiB taken here", limit / (1024 * 1024)),
    )
}
