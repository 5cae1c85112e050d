//! What one server answered, case by case.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

/// The lines of each case.
pub(super) type Cases = BTreeMap<String, Vec<Value>>;

/// Reads the records of one run.
pub(super) fn read(directory: &Path) -> Result<Cases> {
    let mut cases = Cases::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.path();
        let case = file.file_stem().context("a record has a name")?;
        let case = case.to_string_lossy().replace('.', "::");
        let text = fs::read_to_string(&file)?;
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        let lines = lines.with_context(|| format!("{} is not a record", file.display()))?;
        cases.insert(case, lines);
    }
    Ok(cases)
}
