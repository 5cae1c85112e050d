//! The report: sections of rows, as Markdown for people and as JSON for programs.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::say;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    machine: String,
    quick: bool,
    sections: Vec<Section>,
    #[serde(skip)]
    out: PathBuf,
    /// The machine of this run, if it adds to the report of an earlier one.
    #[serde(skip)]
    later: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Report {
    pub(crate) fn new(machine: String, quick: bool, out: &Path) -> Self {
        Self { machine, quick, sections: Vec::new(), out: out.to_owned(), later: None }
    }

    /// What an earlier run wrote there, to be added to.
    pub(crate) fn earlier(machine: String, out: &Path) -> Result<Self> {
        let text = fs::read(out.join("report.json")).context("cannot read report.json")?;
        let report: Self = serde_json::from_slice(&text).context("report.json is no report")?;
        Ok(Self { out: out.to_owned(), later: Some(machine), ..report })
    }

    /// Adds a section, in the place of the one with its title.
    pub(crate) fn add(&mut self, mut section: Section) {
        if let Some(machine) = &self.later {
            section.note.push_str(&format!("\n\nAdded by a later run. Machine: {machine}."));
        }
        self.sections.retain(|older| older.title != section.title);
        self.sections.push(section);
    }

    /// Adds a row to the last section, tells it, and writes what there is so far: what comes after
    /// may take long, and may be cut.
    pub(crate) fn row(&mut self, row: Vec<String>) -> Result<()> {
        if let Some(section) = self.sections.last_mut() {
            let cells = section.columns.iter().zip(&row);
            let told: Vec<_> = cells.map(|(column, cell)| format!("{column}: {cell}")).collect();
            say(&told.join(", "));
            section.rows.push(row);
        }
        self.write()
    }

    pub(crate) fn write(&self) -> Result<()> {
        let mut text = format!(
            "# Benchmarks\n\nMade by `cargo xtask bench`; do not edit. Machine: {}.\n",
            self.machine
        );
        if self.quick {
            text.push_str("\nA quick run: it shows that the benchmark works and nothing else.\n");
        }
        for section in &self.sections {
            write!(text, "\n## {}\n\n{}\n\n", section.title, section.note)?;
            writeln!(text, "| {} |", section.columns.join(" | "))?;
            writeln!(text, "|{}", "---|".repeat(section.columns.len()))?;
            for row in &section.rows {
                writeln!(text, "| {} |", row.join(" | "))?;
            }
        }
        fs::write(self.out.join("report.md"), text).context("cannot write report.md")?;
        let json = serde_json::to_string_pretty(self)?;
        fs::write(self.out.join("report.json"), json + "\n").context("cannot write report.json")
    }
}

/// Names of columns.
pub(crate) fn columns<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// A duration in milliseconds.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let value = bytes as f64 / f64::from(1 << 20);
    format!("{value:.1} MiB")
}

/// A count per second.
pub(crate) fn rate(count: usize, time: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let value = count as f64 / time.as_secs_f64();
    if value < 100.0 { format!("{value:.1}/s") } else { format!("{value:.0}/s") }
}

/// The value below which `share` percent of the sorted values lie.
pub(crate) fn percentile(sorted: &[Duration], share: usize) -> Duration {
    let index = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(title: &str, cell: &str) -> Section {
        Section {
            title: title.to_owned(),
            note: "a note".to_owned(),
            columns: vec!["what".to_owned()],
            rows: vec![vec![cell.to_owned()]],
        }
    }

    #[test]
    fn a_later_run_adds_to_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Report::new("a machine".to_owned(), false, folder.path());
        first.add(section("One", "1"));
        first.add(section("Two", "2"));
        first.write().unwrap();
        let mut second = Report::earlier("another".to_owned(), folder.path()).unwrap();
        second.add(section("One", "3"));
        second.write().unwrap();
        let text = fs::read_to_string(folder.path().join("report.md")).unwrap();
        let two = text.find("## Two\n\na note\n\n| what |\n|---|\n| 2 |").unwrap();
        let note = "a note\n\nAdded by a later run. Machine: another.";
        let one = text.find(&format!("## One\n\n{note}\n\n| what |\n|---|\n| 3 |")).unwrap();
        assert!(two < one && text.contains("Machine: a machine."), "{text}");
        assert!(!text.contains("| 1 |"), "{text}");
        fs::remove_file(folder.path().join("report.json")).unwrap();
        assert!(Report::earlier(String::new(), folder.path()).is_err());
    }
}
