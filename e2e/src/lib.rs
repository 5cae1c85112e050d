//! The kit of every black-box test and benchmark: start the built program, talk to it as a stranger
//! would, stop or kill it, start it again.
//!
//! It knows the program only from outside (command line, `endpoints.json`, HTTP, signals) and must
//! not depend on any of its crates. Start reading at [`Up`].

#![expect(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::Write;

mod backend;
pub mod browser;
mod kube;
mod process;
mod relay;
mod site;
mod up;
mod wait;

pub use backend::Backend;
pub use kube::Kube;
pub use process::{Tree, Watch, pods, variable};
pub use relay::{Relay, Way};
pub use site::{Api, Site};
pub use up::{Answer, Ended, Endpoints, Program, Up, Visit, http_client, no_pods};
pub use wait::{LONG, SHORT, eventually, within};

/// Says that a test cannot run here, and fails it where nothing may be skipped (`CI=true`).
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot run here: {why}");
    // `cargo xtask test` lists at the end what is in this file.
    if let Some(file) = std::env::var_os("QUARTERMASTER_SKIPPED") {
        let file = std::fs::File::options().append(true).open(file);
        writeln!(file.expect("the list of skipped tests"), "{test}: {why}").expect("a line");
    }
}

/// The binary that `cargo xtask e2e` built.
pub fn binary() -> std::path::PathBuf {
    std::env::var_os("QUARTERMASTER_BIN").expect("run this by `cargo xtask e2e`").into()
}
