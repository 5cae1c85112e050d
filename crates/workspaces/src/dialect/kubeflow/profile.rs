//! The generations of the contract: which one a request is answered in.
//!
//! They differ in a few shapes and statuses only. Handlers whose answers differ take [`Profile`] as
//! an argument; a client selects one with a header, and the server has a default.

use std::{fmt, str::FromStr, sync::Arc};

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};

use super::{App, error::Problem, lists::Shape};

/// The header that selects a generation; answers repeat it.
static SELECTED: HeaderName = HeaderName::from_static("x-api-profile");

/// A generation of the contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// The first with a pause action.
    V2025_07,
    /// The newest.
    #[default]
    V2026_08,
}

/// A profile that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown API profile {0:?}: there are 2025-07 and 2026-08")]
pub struct UnknownProfile(String);

impl Profile {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2025_07 => "2025-07",
            Self::V2026_08 => "2026-08",
        }
    }

    /// Whether it is the older one.
    pub(crate) fn is_old(self) -> bool {
        self == Self::V2025_07
    }

    /// What items of lists look like.
    pub(crate) fn shape(self) -> Shape {
        if self.is_old() { Shape::Old } else { Shape::Slim }
    }

    /// What a client selects, if it does.
    pub(super) fn selected(headers: &HeaderMap) -> Option<Result<Self, UnknownProfile>> {
        let value = headers.get(&SELECTED)?;
        Some(String::from_utf8_lossy(value.as_bytes()).parse())
    }

    /// Tells a client that selected a generation which one it got.
    pub(super) fn name_in(self, headers: &mut HeaderMap) {
        headers.insert(SELECTED.clone(), HeaderValue::from_static(self.as_str()));
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        match text.trim() {
            "2025-07" => Ok(Self::V2025_07),
            "2026-08" => Ok(Self::V2026_08),
            other => Err(UnknownProfile(other.to_owned())),
        }
    }
}

impl FromRequestParts<Arc<App>> for Profile {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        match Self::selected(&parts.headers) {
            Some(selected) => selected.map_err(|error| Problem::malformed(error.to_string())),
            None => Ok(app.options.default_profile),
        }
    }
}
