//! The path of an endpoint, made from its secret (contract §1.3).

use sha2::{Digest as _, Sha256};

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Bytes of hex digits in either case; nothing when a character is not one or one is missing.
pub fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

/// The digest in an endpoint's path: SHA-256 over the key's raw bytes and the registry host as it
/// is configured.
pub fn endpoint(key: &[u8], registry_host: &str) -> String {
    hex(&Sha256::new().chain_update(key).chain_update(registry_host).finalize())
}

/// The digest in the path of a `Receiver` object: token, name and namespace.
pub fn receiver(token: &[u8], name: &str, namespace: &str) -> String {
    hex(&Sha256::new().chain_update(token).chain_update(name).chain_update(namespace).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"correct-horse-battery-staple-01";

    #[rstest::rstest]
    #[case(false, "", "92da4a9fe72a4877e2c6cb3e1005dfb7f57b4344833ae4245666522089107944")]
    #[case(true, "", "b651473387042de8b41f8c87822724710f42a07a3c6c82f5bb5bc63caf9554b7")]
    #[case(
        false,
        "registry.example.com",
        "6b757aba7832e4374a25a9b9bd2f1b79079bd5fa8091ef2ff809a70217820f86"
    )]
    #[case(
        false,
        "registry.example.com/",
        "f9172eaef91e0e332372d0b9a174373e0a9634b942ee4703b82dbb4e18ea7937"
    )]
    fn paths_are_those_of_the_contract(
        #[case] newline: bool,
        #[case] host: &str,
        #[case] digest: &str,
    ) {
        let key = if newline { [KEY, b"\n"].concat() } else { KEY.to_vec() };
        assert_eq!(endpoint(&key, host), digest);
    }

    #[test]
    fn receiver_paths_are_those_of_the_contract() {
        assert_eq!(
            receiver(b"t0ken", "demo", "apps"),
            "a2c563fd6fb7a6c8439701456e6886027436cbe605a9bd066eb2ceef4843995a"
        );
        assert_eq!(
            receiver(b"", "demo", "apps"),
            "56a5c9a7793b2c60d1bbd5c5902d33fa6f975d8e8f50f263ea6ba8e256798eca"
        );
    }

    #[test]
    fn hex_reads_both_cases_and_nothing_else() {
        assert_eq!(unhex(b"00fFAb"), Some(vec![0, 255, 171]));
        for bad in [&b"0"[..], b"0g", b" 0", b"+1", "é".as_bytes()] {
            assert_eq!(unhex(bad), None);
        }
    }
}
