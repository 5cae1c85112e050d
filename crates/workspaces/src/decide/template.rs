//! The templates in environment values and request headers of a kind.
//!
//! A small part of Go's `text/template`, all of it checked when the kind is written, so that
//! rendering cannot fail:
//!
//! ```text
//! template = { text | "{{" ["- "] [action] [" -"] "}}" }
//! action   = comment | string | "httpPathPrefix" string
//! comment  = "/*" … "*/"
//! string   = "…" with Go escapes | `…`
//! ```
//!
//! `{{- ` eats the white space before it, ` -}}` the white space after it.

/// The longest template that is read.
pub const MAX_LENGTH: usize = 32 * 1024;
/// The most actions in one template; each gives at most one connect path.
const MAX_ACTIONS: usize = 256;
/// What Go trims.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// A template that can be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    PathPrefix(String),
}

/// Why a text is not a template; positions count bytes from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Longer than allowed.
    #[error("template is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// More actions than allowed.
    #[error("template has more than {MAX_ACTIONS} actions")]
    TooManyActions,
    /// An action without an end.
    #[error("unclosed action at byte {0}")]
    Unclosed(usize),
    /// A comment without an end, or with something beside it.
    #[error("bad comment at byte {0}")]
    Comment(usize),
    /// A string that is not closed or has a bad escape.
    #[error("bad string at byte {0}")]
    Text(usize),
    /// An action without content.
    #[error("missing value for command at byte {0}")]
    Empty(usize),
    /// A function that there is not.
    #[error("function {name:?} at byte {at} is not defined (only httpPathPrefix is)")]
    Function {
        /// What was written.
        name: String,
        /// Where.
        at: usize,
    },
    /// A function without its one argument, or something else that is not supported.
    #[error(
        "unsupported action at byte {0} (only {{{{ httpPathPrefix \"portId\" }}}} is supported)"
    )]
    Unsupported(usize),
}

impl Template {
    /// Reads a template.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_LENGTH {
            return Err(TemplateError::TooLong);
        }
        let mut pieces = Vec::new();
        let mut rest = Cursor { source, at: 0 };
        let mut actions = 0;
        let mut trim_next = false;
        loop {
            let open = rest.find("{{");
            let mut text = rest.take_to(open.unwrap_or(source.len()));
            if trim_next {
                text = text.trim_start_matches(SPACE);
            }
            let Some(start) = open else {
                push_text(&mut pieces, text);
                return Ok(Self(pieces));
            };
            actions += 1;
            if actions > MAX_ACTIONS {
                return Err(TemplateError::TooManyActions);
            }
            rest.at += 2;
            if rest.left().starts_with('-') && rest.left()[1..].starts_with(SPACE) {
                text = text.trim_end_matches(SPACE);
                rest.at += 2;
            }
            push_text(&mut pieces, text);
            let piece = rest.action(start)?;
            trim_next = rest.close(start)?;
            match piece {
                Some(Piece::Text(text)) => push_text(&mut pieces, &text),
                Some(piece) => pieces.push(piece),
                None => {}
            }
        }
    }

    /// Renders it; `path_prefix` gives the connect path of a port id.
    pub fn render(&self, path_prefix: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::PathPrefix(port) => out.push_str(&path_prefix(port)),
            }
        }
        out
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if text.is_empty() {
        return;
    }
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

struct Cursor<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn find(&self, text: &str) -> Option<usize> {
        self.left().find(text).map(|offset| self.at + offset)
    }

    fn take_to(&mut self, end: usize) -> &'a str {
        let text = &self.source[self.at..end];
        self.at = end;
        text
    }

    fn skip_space(&mut self) -> usize {
        let left = self.left();
        let skipped = left.len() - left.trim_start_matches(SPACE).len();
        self.at += skipped;
        skipped
    }

    /// The inside of an action; comments give nothing.
    fn action(&mut self, start: usize) -> Result<Option<Piece>, TemplateError> {
        // Go wants comments right at the delimiter; space after a trim mark is part of the mark.
        let spaced = self.skip_space() > 0 && !self.source[start..].starts_with("{{-");
        if self.left().starts_with("/*") {
            if spaced {
                return Err(TemplateError::Comment(start));
            }
            let end = self.find("*/").ok_or(TemplateError::Comment(start))?;
            self.at = end + 2;
            let left = self.left();
            let closed = left.starts_with("}}")
                || left.trim_start_matches(SPACE).starts_with("-}}") && left.starts_with(SPACE);
            return if closed { Ok(None) } else { Err(TemplateError::Comment(start)) };
        }
        if let Some(text) = self.string()? {
            return Ok(Some(Piece::Text(text)));
        }
        let at = self.at;
        let end = self.left().find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = self.take_to(end.map_or(self.source.len(), |end| at + end));
        match name {
            "" if self.left().is_empty() => Err(TemplateError::Unclosed(start)),
            "" if self.left().starts_with("}}") => Err(TemplateError::Empty(start)),
            "" => Err(TemplateError::Unsupported(at)),
            "httpPathPrefix" => {
                self.skip_space();
                let port = self.string()?.ok_or(TemplateError::Unsupported(at))?;
                Ok(Some(Piece::PathPrefix(port)))
            }
            "if" | "else" | "end" | "range" | "with" | "define" | "template" | "block"
            | "break" | "continue" => Err(TemplateError::Unsupported(at)),
            name => Err(TemplateError::Function { name: name.to_owned(), at }),
        }
    }

    /// The end of an action; tells whether it eats the white space after it.
    fn close(&mut self, start: usize) -> Result<bool, TemplateError> {
        let spaced = self.skip_space() > 0;
        let left = self.left();
        if left.starts_with("}}") {
            self.at += 2;
            Ok(false)
        } else if spaced && left.starts_with("-}}") {
            self.at += 3;
            Ok(true)
        } else if left.contains("}}") {
            Err(TemplateError::Unsupported(self.at))
        } else {
            Err(TemplateError::Unclosed(start))
        }
    }

    /// A quoted string, if there is one here.
    fn string(&mut self) -> Result<Option<String>, TemplateError> {
        let at = self.at;
        let bad = TemplateError::Text(at);
        if let Some(raw) = self.left().strip_prefix('`') {
            let end = raw.find('`').ok_or(bad)?;
            self.at += end + 2;
            return Ok(Some(raw[..end].to_owned()));
        }
        let Some(body) = self.left().strip_prefix('"') else { return Ok(None) };
        let mut out = String::new();
        let mut chars = body.char_indices();
        while let Some((offset, char)) = chars.next() {
            match char {
                '"' => {
                    self.at += offset + 2;
                    return Ok(Some(out));
                }
                '\n' => return Err(bad),
                '\\' => out.push(escape(&mut chars).ok_or_else(|| bad.clone())?),
                char => out.push(char),
            }
        }
        Err(bad)
    }
}

/// What stands after a backslash in a Go string. Bytes above 0x7f are refused: they may not be
/// text.
fn escape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let (_, char) = chars.next()?;
    let mut number = |digits: usize, radix: u32, first: Option<char>| {
        let mut value = 0_u32;
        let mut left = digits;
        if let Some(first) = first {
            value = first.to_digit(radix)?;
            left -= 1;
        }
        for _ in 0..left {
            let digit = chars.next()?.1.to_digit(radix)?;
            value = value.checked_mul(radix)?.checked_add(digit)?;
        }
        Some(value)
    };
    let byte = |value: Option<u32>| char::from_u32(value?).filter(char::is_ascii);
    match char {
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        '\\' | '"' => Some(char),
        'x' => byte(number(2, 16, None)),
        'u' => char::from_u32(number(4, 16, None)?),
        'U' => char::from_u32(number(8, 16, None)?),
        '0'..='7' => byte(number(3, 8, Some(char))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn render(source: &str) -> Result<String, TemplateError> {
        Ok(Template::parse(source)?.render(|port| format!("/p/{port}/")))
    }

    #[rstest]
    #[case::plain("plain }} text", "plain }} text")]
    #[case::empty("", "")]
    #[case::call(r#"{{ httpPathPrefix "web" }}"#, "/p/web/")]
    #[case::tight(r#"{{httpPathPrefix "web"}}"#, "/p/web/")]
    #[case::raw("{{httpPathPrefix `web`}}", "/p/web/")]
    #[case::inside(r#"a {{ httpPathPrefix "web" }} b"#, "a /p/web/ b")]
    #[case::twice(r#"{{httpPathPrefix "a"}}{{httpPathPrefix "b"}}"#, "/p/a//p/b/")]
    #[case::trim_both("a \n{{- httpPathPrefix \"w\" -}}\t b", "a/p/w/b")]
    #[case::trim_left("a {{- httpPathPrefix \"w\" }} b", "a/p/w/ b")]
    #[case::trim_right("a {{ httpPathPrefix \"w\" -}} b", "a /p/w/b")]
    #[case::comment("a{{/* }} anything {{ */}}b", "ab")]
    #[case::comment_trim("a {{- /* c */ -}} b", "ab")]
    #[case::literal(r#"{{ "{{" }}"#, "{{")]
    #[case::escapes(r#"{{ "\x41\u00e9\101\t\\\"" }}"#, "Aé\u{41}\t\\\"")]
    #[case::lines("{{ httpPathPrefix\n\"web\"\n}}", "/p/web/")]
    fn renders(#[case] source: &str, #[case] expected: &str) {
        assert_eq!(render(source).unwrap(), expected);
    }

    #[rstest]
    #[case::open("a {{", TemplateError::Unclosed(2))]
    #[case::open_call(r#"{{ httpPathPrefix "a""#, TemplateError::Unclosed(0))]
    #[case::nothing("{{ }}", TemplateError::Empty(0))]
    #[case::data("{{ .Name }}", TemplateError::Unsupported(3))]
    #[case::keyword("{{ if true }}", TemplateError::Unsupported(3))]
    #[case::no_argument("{{ httpPathPrefix }}", TemplateError::Unsupported(3))]
    #[case::two_arguments(r#"{{ httpPathPrefix "a" "b" }}"#, TemplateError::Unsupported(22))]
    #[case::pipe(r#"{{ "a" | httpPathPrefix }}"#, TemplateError::Unsupported(7))]
    #[case::minus_without_space("{{ \"a\"-}}", TemplateError::Unsupported(6))]
    #[case::open_comment("{{/* }}", TemplateError::Comment(0))]
    #[case::comment_after_space("{{ /* */}}", TemplateError::Comment(0))]
    #[case::comment_before_space("{{/* */ }}", TemplateError::Comment(0))]
    #[case::open_string("{{ \"a }}", TemplateError::Text(3))]
    #[case::open_raw("{{ `a }}", TemplateError::Text(3))]
    #[case::escape(r#"{{ "\q" }}"#, TemplateError::Text(3))]
    #[case::byte(r#"{{ "\xff" }}"#, TemplateError::Text(3))]
    #[case::function(
        "{{ printf }}", TemplateError::Function { name: "printf".into(), at: 3 }
    )]
    fn refuses(#[case] source: &str, #[case] expected: TemplateError) {
        assert_eq!(render(source).unwrap_err(), expected);
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(render(&"x".repeat(MAX_LENGTH + 1)), Err(TemplateError::TooLong));
        let many = "{{\"\"}}".repeat(MAX_ACTIONS + 1);
        assert_eq!(render(&many), Err(TemplateError::TooManyActions));
    }

    proptest! {
        #[test]
        fn nothing_panics(source in "[a {}\"`\\\\/*.\nxuhtPf0-]{0,60}|\\PC{0,60}") {
            let _ = render(&source);
        }

        #[test]
        fn text_without_actions_is_itself(source in "[^{]{0,80}") {
            prop_assert_eq!(render(&source).unwrap(), source);
        }
    }
}
