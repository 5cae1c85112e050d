//! References to images, URLs of repositories, and the patterns that they are compared with.
#![no_main]

use hooks::decide::{filter, image};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 9] = [
    "alpine",
    "quay.io/team/app:v1.2",
    "localhost:5000/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0bb0822cd15d6c15b0f00a",
    "eu.gcr.io/project/a/b:1@sha256:00",
    "git@code.example.com:team/app.git",
    "https://user:pass@code.example.com:443/scm/team/app.git/",
    "ssh://git@code.example.com:22/team/app",
    "release/**\nrelease/1/2",
    "v?.*\nv1.2",
];

fuzz_target!(init: hooks_fuzz::seeds(NAMES), |text: &str| {
    if let Ok(image) = image::split(text) {
        assert!(!image.name.is_empty(), "{text}");
    }
    let plain = filter::plain_url(text);
    assert!(plain.len() <= text.len() + 1, "{text}");
    if let Some((pattern, name)) = text.split_once('\n') {
        assert!(!filter::matches(pattern, name) || filter::matches("**", name), "{text}");
    }
});
