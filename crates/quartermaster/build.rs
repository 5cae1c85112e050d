//! Packs the relative relocations of the released program: two of its forty megabytes in memory were
//! their table, which the loader reads once. Where it lies in memory stays as random as it was.

use std::{env, process::Command};

/// The first glibc whose loader understands packed ones; others would start a broken program.
const GLIBC: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |key: &str, wanted: &str| env::var(key).is_ok_and(|value| value == wanted);
    let here = env::var_os("HOST") == env::var_os("TARGET");
    let linux = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if is("PROFILE", "release") && here && linux && glibc().is_some_and(|have| have >= GLIBC) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
