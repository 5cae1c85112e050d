//! Reading a file over HTTP: its media type, and one byte range if the client asks for it.

use std::{
    ffi::OsStr,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// What a file is answered with. Everything is shown in a sandbox: a page that a user stored is
/// data here, and must not act with the rights of this page.
const SANDBOX: &str =
    "sandbox; default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'";

/// The media type by extension, or by looking at the first bytes.
pub(crate) fn media_type(name: &OsStr, head: &[u8]) -> &'static str {
    let extension = Path::new(name).extension().and_then(OsStr::to_str).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" | "ipynb" | "geojson" => "application/json",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        _ if looks_like_text(head) => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn looks_like_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character cut at the end of the sample is no fault of the file.
        Err(error) => error.error_len().is_none(),
    };
    valid && !head.contains(&0)
}

/// The part of a file of `size` bytes that `Range` asks for; `None` means all of it.
/// Several ranges at once are answered with the whole file, as RFC 9110 allows.
fn range(headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, ()> {
    let Some(wanted) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let Some((first, last)) = wanted.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Ok(None);
    };
    let (start, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(start), Ok(end)) if end < start => return Ok(None),
        (Ok(start), Ok(end)) => (start, end),
        (Ok(start), Err(_)) if last.trim().is_empty() => (start, u64::MAX),
        (Err(_), Ok(count)) if first.trim().is_empty() => {
            if count == 0 {
                return Err(());
            }
            (size.saturating_sub(count), u64::MAX)
        }
        _ => return Ok(None),
    };
    if start >= size { Err(()) } else { Ok(Some((start, end.min(size - 1)))) }
}

/// Streams a file of `size` bytes, named `name`.
pub(crate) fn answer(
    mut file: std::fs::File,
    size: u64,
    name: &OsStr,
    headers: &HeaderMap,
    download: bool,
) -> std::io::Result<Response> {
    let Ok(range) = range(headers, size) else {
        let whole = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, whole).into_response());
    };
    let mut head = Vec::with_capacity(1024);
    Read::by_ref(&mut file).take(1024).read_to_end(&mut head)?;
    let (start, end) = range.unwrap_or((0, size.saturating_sub(1)));
    let length = if size == 0 { 0 } else { end - start + 1 };
    file.seek(SeekFrom::Start(start))?;

    // The length is promised in the header: a file that grows meanwhile is cut there.
    let body = tokio::fs::File::from_std(file).take(length);
    let mut response =
        Body::from_stream(ReaderStream::with_capacity(body, 64 * 1024)).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_LENGTH, length.into());
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name, &head)));
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    if let Ok(value) = HeaderValue::from_str(&disposition(name, download)) {
        out.insert(header::CONTENT_DISPOSITION, value);
    }
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        if let Ok(value) = HeaderValue::from_str(&format!("bytes {start}-{end}/{size}")) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

fn disposition(name: &OsStr, download: bool) -> String {
    let how = if download { "attachment" } else { "inline" };
    let name = percent_encode(name.as_encoded_bytes(), NON_ALPHANUMERIC);
    format!("{how}; filename*=UTF-8''{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str, size: u64) -> Result<Option<(u64, u64)>, ()> {
        let headers =
            HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(value).unwrap())]);
        range(&headers, size)
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        assert_eq!(asked("bytes=0-3", 10), Ok(Some((0, 3))));
        assert_eq!(asked("bytes=4-", 10), Ok(Some((4, 9))));
        assert_eq!(asked("bytes=-4", 10), Ok(Some((6, 9))));
        assert_eq!(asked("bytes=-40", 10), Ok(Some((0, 9))));
        assert_eq!(asked("bytes=2-400", 10), Ok(Some((2, 9))));
        assert_eq!(asked("bytes=10-", 10), Err(()));
        assert_eq!(asked("bytes=-0", 10), Err(()));
        assert_eq!(asked("bytes=0-", 0), Err(()));
        for ignored in ["bytes=3-1", "lines=1-2", "bytes=0-1,3-4", "bytes=-", "nonsense"] {
            assert_eq!(asked(ignored, 10), Ok(None), "{ignored}");
        }
    }

    #[test]
    fn a_cut_character_still_counts_as_text() {
        assert!(looks_like_text(&"grün".as_bytes()[..3]));
        assert!(!looks_like_text(b"\x7fELF\x00\x01"));
        assert!(!looks_like_text(&[0xff, 0xfe, 0x41]));
    }
}
