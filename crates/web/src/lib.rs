//! What every HTTP dialect needs and no dialect should write itself: the listener stack, identity,
//! local security, tickets, errors and limits.
//!
//! It must not depend on Kubernetes or on any capability. Start reading at [`Error`] and [`Identity`].

mod error;
mod identity;

pub use error::{Cause, Error, Kind, Origin};
pub use identity::Identity;
