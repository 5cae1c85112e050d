//! The list of what is covered names only cases that exist.

use std::{fs, path::Path};

#[test]
fn cases_of_the_list_exist() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let list = fs::read_to_string(folder.join("README.md")).unwrap();
    let rows = list.lines().filter(|line| line.starts_with("| ") && line.contains("::"));
    let mut cases = 0;
    for row in rows {
        let named = row.split('|').nth(2).unwrap();
        for case in named.split(',').map(str::trim) {
            let (file, name) = case.split_once("::").unwrap();
            let source = fs::read_to_string(folder.join(format!("{file}.rs"))).unwrap();
            assert!(source.contains(&format!("fn {name}(")), "{case} of {row}");
            cases += 1;
        }
    }
    assert!(cases > 90, "only {cases} cases are listed");
}
