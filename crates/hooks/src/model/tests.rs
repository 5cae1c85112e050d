use std::path::Path;

use kube::CustomResourceExt as _;

use super::*;

#[test]
fn the_committed_definition_is_that_of_the_types() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("definitions");
    let derived = cluster::crds::tidy(Hook::crd());
    let changed = cluster::crds::commit(&directory, &derived).unwrap();
    assert!(!changed, "it was out of date and is written anew: build again");
    assert!(crate::crds().eq([serde_json::to_value(derived).unwrap()]));
}
