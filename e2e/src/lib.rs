//! The kit of every black-box test and benchmark: start the built program, talk to it as a stranger
//! would, stop or kill it, start it again.
//!
//! It knows the program only from outside (command line, `endpoints.json`, HTTP, signals) and must
//! not depend on any of its crates. Start reading at [`Up`].

#![expect(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

pub mod browser;
mod process;
mod up;
mod wait;

pub use process::{Tree, Watch, pods};
pub use up::{Answer, Ended, Endpoints, Program, Up, Visit, no_pods};
pub use wait::{LONG, SHORT, eventually, within};

/// Says that a test cannot run here, and fails it where nothing may be skipped (`CI=true`).
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot run here: {why}");
    // `cargo xtask test` collects these lines and lists them at the end.
    #[expect(clippy::print_stderr, reason = "this is the way a test speaks")]
    {
        eprintln!("SKIPPED {test}: {why}");
    }
}
