//! The string formats that custom resource schemas know; every other format is ignored.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A known format: how it is written in the schema, and what it checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// The name as messages show it.
    pub(crate) name: &'static str,
    check: fn(&str) -> bool,
}

const KNOWN: &[Format] = &[
    Format { name: "bsonobjectid", check: |text| text.len() == 24 && all_hex(text) },
    Format { name: "uri", check: is_request_uri },
    Format { name: "email", check: is_email },
    Format { name: "hostname", check: is_hostname },
    Format { name: "ipv4", check: |text| text.contains('.') && is_ip_sloppy(text) },
    Format { name: "ipv6", check: |text| text.contains(':') && text.parse::<Ipv6Addr>().is_ok() },
    Format { name: "cidr", check: is_cidr },
    Format { name: "mac", check: is_mac },
    Format { name: "uuid", check: |text| uuid_digits(text).is_some() },
    Format {
        name: "uuid3",
        check: |text| uuid_digits(text).is_some_and(|digits| digits[12] == b'3'),
    },
    Format { name: "uuid4", check: |text| is_variant_uuid(text, b'4') },
    Format { name: "uuid5", check: |text| is_variant_uuid(text, b'5') },
    Format { name: "isbn", check: |text| is_isbn10(text) || is_isbn13(text) },
    Format { name: "isbn10", check: is_isbn10 },
    Format { name: "isbn13", check: is_isbn13 },
    Format { name: "creditcard", check: is_credit_card },
    Format { name: "ssn", check: is_ssn },
    Format { name: "hexcolor", check: is_hex_color },
    Format { name: "rgbcolor", check: is_rgb_color },
    Format { name: "byte", check: is_base64 },
    Format { name: "password", check: |_| true },
    Format { name: "date", check: is_date },
    Format { name: "duration", check: is_duration },
    Format { name: "datetime", check: is_date_time },
    Format { name: "date-time", check: is_date_time },
    Format { name: "k8s-short-name", check: |text| text.len() <= 63 && is_short_name(text) },
    Format {
        name: "k8s-long-name",
        check: |text| text.len() <= 253 && text.split('.').all(is_short_name),
    },
];

impl Format {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        KNOWN.iter().find(|format| format.name == name).copied()
    }

    pub(crate) fn accepts(self, text: &str) -> bool {
        (self.check)(text)
    }
}

fn all_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An absolute URI or an absolute path, the way Go's `url.ParseRequestURI` sees it.
fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    let (scheme, rest) = match text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c))
    {
        Some(at) if text.as_bytes()[at] == b':' => (&text[..at], &text[at + 1..]),
        _ => ("", text),
    };
    if text.starts_with(':')
        || (!scheme.is_empty() && !scheme.starts_with(|c: char| c.is_ascii_alphabetic()))
    {
        return false;
    }
    let Some(path) = rest.strip_prefix('/') else {
        // Without a slash this is an opaque URI, which needs a scheme.
        return !scheme.is_empty();
    };
    let Some(authority) = path.strip_prefix('/').filter(|_| !scheme.is_empty()) else {
        return valid_escapes(rest.split('?').next().unwrap_or_default());
    };
    let end = authority.find(['/', '?']).unwrap_or(authority.len());
    let (authority, path) = authority.split_at(end);
    is_authority(authority) && valid_escapes(path.split('?').next().unwrap_or_default())
}

fn is_authority(text: &str) -> bool {
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let (name, port) = match host.strip_prefix('[') {
        Some(inside) => match inside.split_once(']') {
            Some((address, port)) => {
                let address = address.split_once("%25").map_or(address, |(address, _)| address);
                if address.parse::<Ipv6Addr>().is_err() {
                    return false;
                }
                ("", port)
            }
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_ok = port.is_empty() || port.strip_prefix(':').is_some_and(all_digits);
    port_ok
        && valid_escapes(name)
        && !name.contains([' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}', '#'])
}

fn valid_escapes(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|part| part.len() >= 2 && part.is_char_boundary(2) && all_hex(&part[..2]))
}

/// `local@domain`, `Name <local@domain>` or `<local@domain>`.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>') {
        Some(head) => match head.rsplit_once('<') {
            Some((name, address)) if is_display_name(name.trim()) => address,
            _ => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    (quoted || is_dot_atom(local))
        && literal.map_or_else(|| is_dot_atom(domain), |ip| ip.parse::<std::net::IpAddr>().is_ok())
}

fn is_display_name(name: &str) -> bool {
    let quoted = name.len() >= 2 && name.starts_with('"') && name.ends_with('"');
    quoted || name.split_whitespace().all(|word| word.chars().all(|c| is_atom(c) || c == '.'))
}

fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom))
}

fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
}

fn is_hostname(text: &str) -> bool {
    let letter = |c: char| {
        c.is_ascii_alphanumeric() || (!c.is_ascii() && c.is_alphabetic()) || "$+<=>^`|~".contains(c)
    };
    let label = |label: &str| {
        let edges = label.starts_with(letter) && label.ends_with(letter);
        edges && label.len() <= 63 && label.chars().all(|c| letter(c) || c == '-')
    };
    let labels: Vec<&str> = text.split('.').collect();
    let top = labels.last().copied().unwrap_or_default();
    let top_ok =
        labels.len() == 1 || (top.chars().count() >= 2 && top.chars().all(char::is_alphabetic));
    text.len() <= 255 && labels.iter().all(|one| label(one)) && top_ok
}

/// An address in which leading zeroes are tolerated, as they once were.
fn is_ip_sloppy(text: &str) -> bool {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().is_ok();
    }
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 4
        && parts.iter().all(|part| {
            let significant = part.trim_start_matches('0');
            !part.is_empty()
                && all_digits(part)
                && significant.len() <= 3
                && significant.parse::<u32>().unwrap_or(0) <= 255
        })
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = if address.contains(':') { Ipv6Addr::BITS } else { Ipv4Addr::BITS };
    let bits_ok = !bits.is_empty()
        && bits.len() <= 3
        && all_digits(bits)
        && bits.parse::<u32>().is_ok_and(|bits| bits <= most);
    bits_ok && is_ip_sloppy(address)
}

fn is_mac(text: &str) -> bool {
    let groups = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && parts.iter().all(|part| part.len() == width && all_hex(part))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

/// The 32 digits of a UUID whose hyphens may be missing.
fn uuid_digits(text: &str) -> Option<[u8; 32]> {
    let mut digits = [0_u8; 32];
    let mut count = 0;
    let mut after_hyphen = false;
    for byte in text.bytes() {
        if byte == b'-' {
            if after_hyphen || ![8, 12, 16, 20].contains(&count) {
                return None;
            }
            after_hyphen = true;
        } else {
            if !byte.is_ascii_hexdigit() || count == digits.len() {
                return None;
            }
            digits[count] = byte.to_ascii_lowercase();
            count += 1;
            after_hyphen = false;
        }
    }
    (count == digits.len()).then_some(digits)
}

fn is_variant_uuid(text: &str, version: u8) -> bool {
    uuid_digits(text).is_some_and(|digits| digits[12] == version && b"89ab".contains(&digits[16]))
}

fn without_separators(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
}

fn is_isbn10(text: &str) -> bool {
    let text = without_separators(text);
    let bytes = text.as_bytes();
    if !text.is_ascii()
        || bytes.len() != 10
        || !all_digits(&text[..9])
        || !(bytes[9].is_ascii_digit() || bytes[9] == b'X')
    {
        return false;
    }
    let digit = |byte: u8| if byte == b'X' { 10 } else { u32::from(byte - b'0') };
    let sum: u32 = (1_u32..).zip(bytes).map(|(weight, byte)| weight * digit(*byte)).sum();
    sum.is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let text = without_separators(text);
    let weights = [1, 3].into_iter().cycle();
    let sum: u32 = text
        .bytes()
        .zip(weights)
        .map(|(byte, weight)| weight * u32::from(byte.wrapping_sub(b'0')))
        .sum();
    text.len() == 13 && all_digits(&text) && sum.is_multiple_of(10)
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let prefix = |length: usize| digits.iter().take(length).fold(0, |sum, digit| sum * 10 + digit);
    let known = match digits.len() {
        13 => prefix(1) == 4,
        14 => (300..=305).contains(&prefix(3)) || [36, 38].contains(&prefix(2)),
        15 => [34, 37].contains(&prefix(2)) || [2131, 1800].contains(&prefix(4)),
        16 => {
            prefix(1) == 4
                || (51..=55).contains(&prefix(2))
                || prefix(4) == 6011
                || prefix(2) == 65
                || prefix(2) == 35
        }
        _ => false,
    };
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 1 { doubled(*digit) } else { *digit })
        .sum();
    known && sum.is_multiple_of(10)
}

fn is_ssn(text: &str) -> bool {
    let bytes = text.as_bytes();
    let separator = |byte: u8| byte == b'-' || byte == b' ';
    bytes.len() == 11
        && bytes.iter().enumerate().all(|(at, byte)| {
            if at == 3 || at == 6 { separator(*byte) } else { byte.is_ascii_digit() }
        })
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    [3, 6].contains(&digits.len()) && all_hex(digits)
}

fn is_rgb_color(text: &str) -> bool {
    let Some(inside) = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else {
        return false;
    };
    let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    let channel = |part: &&str| {
        let plain = !part.is_empty()
            && part.len() <= 3
            && all_digits(part)
            && (part.len() == 1 || !part.starts_with('0'));
        plain && part.parse::<u16>().is_ok_and(|value| value <= 255)
    };
    parts.len() == 3 && parts.iter().all(channel)
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let alphabet =
        body.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && !body.is_empty()
        && alphabet
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| {
            if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() }
        });
    shape && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let Some(at) = text.find(['t', 'T']) else { return false };
    let (date, time) = (&text[..at], &text[at + 1..]);
    is_date(date) && is_time_with_offset(time)
}

/// `23:59:59`, with a fraction if wanted, then `Z` or an offset.
fn is_time_with_offset(text: &str) -> bool {
    let Some((clock, rest)) = text.split_at_checked(8) else { return false };
    let parts: Vec<&str> = clock.split(':').collect();
    let two_digits = |part: &str| part.len() == 2 && all_digits(part);
    let in_range = |limits: [&str; 3]| {
        parts.iter().zip(limits).all(|(part, limit)| two_digits(part) && *part <= limit)
    };
    if parts.len() != 3 || !in_range(["23", "59", "59"]) {
        return false;
    }
    let offset = match rest.chars().next() {
        Some('z' | 'Z' | '+' | '-') => rest,
        Some(mark) => {
            let fraction = &rest[mark.len_utf8()..];
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        None => return false,
    };
    match offset.split_at_checked(1) {
        Some(("z" | "Z", "")) => true,
        Some(("+" | "-", zone)) => zone
            .split_once(':')
            .is_some_and(|(hours, minutes)| two_digits(hours) && two_digits(minutes)),
        _ => false,
    }
}

/// A Go duration (`1h30m`), or words such as `2 days`.
fn is_duration(text: &str) -> bool {
    is_go_duration(text) || has_worded_duration(text)
}

fn is_go_duration(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    if text == "0" {
        return true;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let number =
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let digits = &rest[..number];
        if digits.matches('.').count() > 1 || !digits.contains(|c: char| c.is_ascii_digit()) {
            return false;
        }
        rest = &rest[number..];
        let Some(unit) = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].iter().find(|unit| {
            rest.strip_prefix(**unit).is_some_and(|after| {
                after.is_empty() || after.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            })
        }) else {
            return false;
        };
        rest = &rest[unit.len()..];
    }
    !text.is_empty()
}

fn has_worded_duration(text: &str) -> bool {
    const EXACT: &[&str] = &["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"];
    const PREFIX: &[&str] = &["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    let mut rest = text;
    let mut found = false;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[start..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if rest[..digits].parse::<i64>().is_err() {
            return false;
        }
        rest = rest[digits..].trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic() && c != 'µ').unwrap_or(rest.len());
        let unit = rest[..end].to_lowercase();
        found |=
            EXACT.contains(&unit.as_str()) || PREFIX.iter().any(|prefix| unit.starts_with(prefix));
        rest = &rest[end..];
    }
    found
}

fn is_short_name(text: &str) -> bool {
    let inside =
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    !text.is_empty() && inside && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("date-time", "2024-02-29T23:59:59.5Z", "2023-02-29T00:00:00Z")]
    #[case("date-time", "2024-01-01t00:00:00+02:00", "2024-01-01 00:00:00Z")]
    #[case("date-time", "2024-01-01T00:00:00-00:30", "2024-01-01T24:00:00Z")]
    #[case("date", "2024-02-29", "2024-2-9")]
    #[case("duration", "1h30m", "soon")]
    #[case("duration", "2 days", "")]
    #[case("duration", "-1.5ms", "1.2.3")]
    #[case("byte", "aGk=", "aGk")]
    #[case("byte", "AAAA", "")]
    #[case("uuid", "123E4567-e89b-12d3-a456-426614174000", "123e4567")]
    #[case("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000")]
    #[case("ipv4", "010.0.0.1", "256.0.0.1")]
    #[case("ipv6", "::1", "1.2.3.4")]
    #[case("cidr", "10.0.0.0/8", "10.0.0.0/33")]
    #[case("mac", "00:00:5e:00:53:01", "00:00:5e:00:53")]
    #[case("email", "Ann <ann@example.org>", "ann@")]
    #[case("uri", "https://example.org:80/a?b", "example.org")]
    #[case("uri", "/path", "https://exa mple.org/")]
    #[case("uri", "mailto:ann@example.org", "https://example.org:port/")]
    #[case("hostname", "example.org", "-a.example")]
    #[case("isbn", "978-0321751041", "978-0321751042")]
    #[case("isbn10", "0321751043", "0321751044")]
    #[case("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112")]
    #[case("hexcolor", "#fff", "#ffff")]
    #[case("rgbcolor", "rgb(255, 0,1)", "rgb(256,0,1)")]
    #[case("ssn", "123-45-6789", "123456789")]
    #[case("k8s-short-name", "a-b", "a.b")]
    #[case("k8s-long-name", "a.b-c", "A.b")]
    #[case("bsonobjectid", "507f1f77bcf86cd799439011", "507f")]
    fn accepts_one_and_refuses_the_other(
        #[case] format: &str,
        #[case] good: &str,
        #[case] bad: &str,
    ) {
        let format = Format::parse(format).unwrap();
        assert!(format.accepts(good), "{good}");
        assert!(!format.accepts(bad), "{bad}");
    }

    #[test]
    fn number_formats_are_not_checked() {
        assert!(Format::parse("int32").is_none());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,30}") {
            for format in KNOWN {
                format.accepts(&text);
            }
        }

        #[test]
        fn near_misses_never_panic(text in "[0-9a-fA-FtTzZµé:.+/=@<>\\[\\]%-]{0,30}") {
            for format in KNOWN {
                format.accepts(&text);
            }
        }
    }
}
