//! The arrows between the rooms point one way, and capabilities do not know each other.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// What a room may use outside of its tests. Adding a line here is a decision about the design.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("web", &[]),
    ("cluster", &["web"]),
    ("embedded", &[]),
    ("files", &["web"]),
    ("workspaces", &["cluster", "web"]),
    ("hooks", &["cluster", "web"]),
    ("hooks-fuzz", &["hooks"]),
    ("quartermaster", &["cluster", "embedded", "files", "hooks", "web", "workspaces"]),
    ("testcluster", &["embedded"]),
    ("quartermaster-e2e", &[]),
    ("bench", &["embedded", "quartermaster-e2e"]),
    ("xtask", &[]),
];

#[test]
fn arrows_point_one_way() {
    let cargo = std::env::var_os("CARGO").unwrap();
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1", "--no-deps", "--offline"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let known = allowed.get(name);
        assert!(known.is_some(), "say in this test what the room {name} may use");
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            // Dependencies of tests have a kind, and rooms have a path.
            if dependency["kind"].is_null() && !dependency["path"].is_null() {
                assert!(known.unwrap().contains(&used), "{name} must not use {used}");
            }
        }
    }
}
