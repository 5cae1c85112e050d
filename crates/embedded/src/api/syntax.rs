//! What is wrong with a text that is not JSON, in the words of Go's parser.

/// Go's parser takes nothing deeper.
const MAX_DEPTH: usize = 10_000;

/// Why a text is not JSON; `None` if it is.
pub(crate) fn problem(bytes: &[u8]) -> Option<String> {
    Scan { bytes, at: 0, open: Vec::new() }.text().err()
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The objects (`{`) and lists (`[`) that are open.
    open: Vec<u8>,
}

type Checked = Result<(), String>;

impl Scan<'_> {
    fn text(&mut self) -> Checked {
        self.value()?;
        while let Some(&open) = self.open.last() {
            self.after_value(open)?;
        }
        self.skip_space();
        match self.bytes.get(self.at) {
            None => Ok(()),
            Some(_) => self.invalid("after top-level value"),
        }
    }

    fn skip_space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|c| b" \t\r\n".contains(c)) {
            self.at += 1;
        }
    }

    fn invalid<T>(&self, context: &str) -> Result<T, String> {
        let Some(&found) = self.bytes.get(self.at) else {
            return Err("unexpected end of JSON input".into());
        };
        let shown = match found {
            b'\'' => r"\'".to_owned(),
            b'"' => "\"".to_owned(),
            other => {
                let quoted = crate::schema::quote(&char::from(other).to_string());
                quoted.trim_matches('"').to_owned()
            }
        };
        Err(format!("invalid character '{shown}' {context}"))
    }

    fn expect(&mut self, fits: impl Fn(u8) -> bool, context: &str) -> Checked {
        match self.bytes.get(self.at) {
            Some(&c) if fits(c) => {
                self.at += 1;
                Ok(())
            }
            _ => self.invalid(context),
        }
    }

    /// A value; of an object or list only the start, unless it is empty.
    fn value(&mut self) -> Checked {
        self.skip_space();
        match self.bytes.get(self.at) {
            Some(&open @ (b'{' | b'[')) => self.start(open),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.invalid("looking for beginning of value"),
        }
    }

    fn start(&mut self, open: u8) -> Checked {
        self.at += 1;
        if self.open.len() == MAX_DEPTH {
            return Err("exceeded max depth".into());
        }
        self.skip_space();
        let close = if open == b'{' { b'}' } else { b']' };
        if self.bytes.get(self.at) == Some(&close) {
            self.at += 1;
            return Ok(());
        }
        self.open.push(open);
        if open == b'{' { self.member() } else { self.value() }
    }

    /// A key, a colon and the start of a value.
    fn member(&mut self) -> Checked {
        self.skip_space();
        if self.bytes.get(self.at) != Some(&b'"') {
            return self.invalid("looking for beginning of object key string");
        }
        self.string()?;
        self.skip_space();
        self.expect(|c| c == b':', "after object key")?;
        self.value()
    }

    fn after_value(&mut self, open: u8) -> Checked {
        self.skip_space();
        match (open, self.bytes.get(self.at)) {
            (b'{', Some(b'}')) | (b'[', Some(b']')) => {
                self.at += 1;
                self.open.pop();
                Ok(())
            }
            (b'{', Some(b',')) => {
                self.at += 1;
                self.member()
            }
            (_, Some(b',')) => {
                self.at += 1;
                self.value()
            }
            (b'{', _) => self.invalid("after object key:value pair"),
            _ => self.invalid("after array element"),
        }
    }

    fn string(&mut self) -> Checked {
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    if self.bytes.get(self.at) == Some(&b'u') {
                        self.at += 1;
                        for _ in 0..4 {
                            let hex = |c: u8| c.is_ascii_hexdigit();
                            self.expect(hex, "in \\u hexadecimal character escape")?;
                        }
                    } else {
                        self.expect(|c| b"bfnrt\\/\"".contains(&c), "in string escape code")?;
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return self.invalid("in string literal"),
            }
        }
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Checked {
        let digit = |c: u8| c.is_ascii_digit();
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.expect(digit, "in numeric literal")?;
            self.digits();
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.expect(digit, "after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.expect(digit, "in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Checked {
        self.at += 1;
        for wanted in word.bytes().skip(1) {
            let context = format!("in literal {word} (expecting '{}')", char::from(wanted));
            self.expect(|c| c == wanted, &context)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", "unexpected end of JSON input")]
    #[case("{\"a\":", "unexpected end of JSON input")]
    #[case("hello", "invalid character 'h' looking for beginning of value")]
    #[case("{a}", "invalid character 'a' looking for beginning of object key string")]
    #[case("{\"a\" 1}", "invalid character '1' after object key")]
    #[case("{\"a\":1 2}", "invalid character '2' after object key:value pair")]
    #[case("[1 2]", "invalid character '2' after array element")]
    #[case("{} {}", "invalid character '{' after top-level value")]
    #[case("tru3", "invalid character '3' in literal true (expecting 'e')")]
    #[case("\"\\q\"", "invalid character 'q' in string escape code")]
    #[case("\"\n\"", "invalid character '\\n' in string literal")]
    #[case("-a", "invalid character 'a' in numeric literal")]
    #[case("1.x", "invalid character 'x' after decimal point in numeric literal")]
    #[case("'", "invalid character '\\'' looking for beginning of value")]
    fn problems(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(problem(text.as_bytes()).as_deref(), Some(expected));
    }

    #[test]
    fn depth_is_bounded() {
        assert_eq!(problem("[".repeat(20_000).as_bytes()).unwrap(), "exceeded max depth");
    }

    proptest! {
        #[test]
        fn agrees_with_the_parser(text in "[\\[\\]{}:,\"\\\\a0-9.eE+ truefalsn-]{0,24}") {
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            // Numbers beyond the range of a float are no matter of syntax.
            if !parsed.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
                prop_assert_eq!(parsed.is_ok(), problem(text.as_bytes()).is_none(), "{}", text);
            }
        }
    }
}
