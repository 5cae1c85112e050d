//! The parts of a connect path, read from the raw request target.

/// Where all connect paths begin.
pub const ROOT: &str = "/workspace/connect/";

/// A path that names a port of a workspace. Nothing in it was unescaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectPath<'a> {
    pub(super) namespace: &'a str,
    pub(super) workspace: &'a str,
    pub(super) port: &'a str,
    /// What follows the port, with its slash. Empty when even the slash is missing.
    pub(super) rest: &'a str,
}

impl<'a> ConnectPath<'a> {
    /// Reads a raw path. Names are taken literally: an escaped one names nothing, so that one
    /// workspace has one spelling, in cookie paths too.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix(ROOT)?;
        let (namespace, path) = path.split_once('/')?;
        let (workspace, path) = path.split_once('/')?;
        let (port, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        let sound = [namespace, workspace, port].into_iter().all(is_name);
        sound.then_some(Self { namespace, workspace, port, rest })
    }

    /// The path of the port, without the last slash.
    pub(super) fn prefix(&self) -> String {
        format!("{ROOT}{}/{}/{}", self.namespace, self.workspace, self.port)
    }
}

/// Letters, digits and inner `-`, `.`, `_`: what names and port ids are made of.
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    text.len() <= 253
        && text.bytes().all(inner)
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/workspace/connect/ns/name/web", Some(("ns", "name", "web", "")))]
    #[case("/workspace/connect/ns/name/web/", Some(("ns", "name", "web", "/")))]
    #[case("/workspace/connect/ns/na.me/web/a%2Fb/../c", Some(("ns", "na.me", "web", "/a%2Fb/../c")))]
    #[case("/workspace/connect/ns/name/web//x", Some(("ns", "name", "web", "//x")))]
    #[case("/workspace/connect/ns/name/", None)]
    #[case("/workspace/connect/ns/name", None)]
    #[case("/workspace/connect/", None)]
    #[case("/workspace/connect//name/web/", None)]
    #[case("/workspace/connect/ns/%6eame/web/", None)]
    #[case("/workspace/connect/../name/web/", None)]
    #[case("/workspace/connect/ns/name;x/web/", None)]
    #[case("//workspace/connect/ns/name/web/", None)]
    #[case("/Workspace/connect/ns/name/web/", None)]
    #[case("/", None)]
    fn paths_are_read_literally(
        #[case] path: &str,
        #[case] want: Option<(&str, &str, &str, &str)>,
    ) {
        let got = ConnectPath::parse(path);
        assert_eq!(got.map(|path| (path.namespace, path.workspace, path.port, path.rest)), want);
    }
}
