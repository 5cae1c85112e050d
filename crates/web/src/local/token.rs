//! The secret of a data directory: whoever can read the file may act as its owner.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::private::{read_private, write_private};

/// 32 random bytes.
const ENTROPY: usize = 32;
/// Longest token that is read from a file; anything above is not ours.
const MAX_LENGTH: u64 = 256;
/// Shortest token that is believed.
const MIN_LENGTH: usize = 32;
const FILE: &str = "token";

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or made.
    #[error("cannot read or make the token file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file can be read by somebody else, so it is no secret.
    #[error(
        "the token file {} can be read by other users of this machine (mode {mode:04o}): delete it, \
         a new one is made at the next start", path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} does not hold a token: delete it, a new one is made at the next start", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system has no random numbers: {0}")]
    Random(String),
}

/// The token of a data directory. It has no `Display` and its `Debug` says nothing.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// A fresh token that is stored nowhere.
    pub fn generate() -> Result<Self, TokenError> {
        Ok(Self(random_text()?.into()))
    }

    /// The token in `directory`, made on first use. The file is never seen half-written, and of two
    /// processes that start at once both get the same token.
    pub fn load_or_create(directory: &Path) -> Result<Self, TokenError> {
        let path = directory.join(FILE);
        let fail = |source| TokenError::Io { path: path.clone(), source };
        match Self::load(&path) {
            Err(TokenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let text = random_text()?;
        let draft = directory.join(format!(".{FILE}.{}", &random_text()?[..12]));
        let made =
            write_private(&draft, &format!("{text}\n")).and_then(|()| fs::hard_link(&draft, &path));
        // The draft goes in any case; what counts is whether the link was made.
        let _ = fs::remove_file(&draft);
        match made {
            Ok(()) => Ok(Self(text.into())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(&path),
            Err(error) => Err(fail(error)),
        }
    }

    fn load(path: &Path) -> Result<Self, TokenError> {
        let fail = |source| TokenError::Io { path: path.to_owned(), source };
        let file = read_private(path, MAX_LENGTH).map_err(fail)?;
        if file.is_exposed() {
            return Err(TokenError::Exposed { path: path.to_owned(), mode: file.mode });
        }
        let text = file.text.unwrap_or_default();
        let text = text.trim_end();
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if text.len() < MIN_LENGTH || !text.bytes().all(sound) {
            return Err(TokenError::Damaged { path: path.to_owned() });
        }
        Ok(Self(text.into()))
    }

    /// Compares in constant time.
    pub fn matches(&self, candidate: &str) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(candidate.as_bytes()).into()
    }

    /// The secret itself: for `endpoints.json` and for our own clients' `Authorization` header.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Random text for tokens and tickets, safe in URLs and headers.
pub(super) fn random_text() -> Result<String, TokenError> {
    let mut bytes = [0_u8; ENTROPY];
    getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_private_and_unprintable() {
        let directory = tempfile::tempdir().unwrap();
        let token = Token::load_or_create(directory.path()).unwrap();
        let again = Token::load_or_create(directory.path()).unwrap();
        assert!(token.matches(again.expose()));
        assert!(!token.matches(&again.expose()[1..]));
        assert!(!token.matches(""));
        let path = directory.path().join("token");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(!format!("{token:?}").contains(token.expose()));
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        Token::load_or_create(directory.path()).unwrap();
        let path = directory.path().join("token");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Token::load_or_create(directory.path()).unwrap_err();
        assert!(error.to_string().contains("mode 0644"), "{error}");
    }

    #[test]
    fn an_empty_or_foreign_file_is_refused() {
        for content in
            [&b""[..], b"short\n", b"with spaces in it and long enough to be one", &[0xff; 64]]
        {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("token");
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = Token::load_or_create(directory.path()).unwrap_err();
            assert!(matches!(error, TokenError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn many_starts_at_once_agree_on_one_token() {
        let directory = tempfile::tempdir().unwrap();
        let tokens: Vec<Token> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Token::load_or_create(directory.path()).unwrap()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(tokens.iter().all(|token| token.matches(tokens[0].expose())));
    }
}
