//! Form bodies: the one field that carries a JSON payload.

use percent_encoding::percent_decode;

/// The first `payload` field of a form body, empty when there is none; nothing when any field has
/// a bad percent-escape.
pub fn payload(body: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    for pair in body.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
        let split = pair.iter().position(|&byte| byte == b'=');
        let (name, value) = split.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        let (name, value) = (decode(name)?, decode(value)?);
        if found.is_none() && name == b"payload" {
            found = Some(value);
        }
    }
    Some(found.unwrap_or_default())
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let escapes_are_whole = text.iter().enumerate().filter(|&(_, &byte)| byte == b'%').all(
        |(at, _)| matches!(text.get(at + 1..at + 3), Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
    );
    if !escapes_are_whole {
        return None;
    }
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    Some(percent_decode(&spaced).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("payload=%7B%22zen%22%3A%22keep+it+small%22%7D", Some(r#"{"zen":"keep it small"}"#))]
    #[case("a=1&payload=x&payload=y", Some("x"))]
    #[case("%70ayload=x", Some("x"))]
    #[case("a=1", Some(""))]
    #[case("payload", Some(""))]
    #[case("", Some(""))]
    #[case("payload=%2", None)]
    #[case("payload=x&a=%zz", None)]
    fn the_first_payload_counts(#[case] body: &str, #[case] expected: Option<&str>) {
        assert_eq!(payload(body.as_bytes()), expected.map(|text| text.as_bytes().to_vec()));
    }
}
