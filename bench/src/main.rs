//! Measures the built program beside the figures of the design: start, memory, the embedded store,
//! lists under load, webhooks, the controller. Run by `cargo xtask bench`; writes `bench/report.md`
//! and `bench/report.json`.

mod alone;
mod controller;
mod disk;
mod hooks;
mod list;
mod load;
mod machine;
mod peers;
mod report;
mod start;
mod store;

use std::{io::Write, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

/// What to measure.
#[derive(Debug, Parser)]
struct Cli {
    /// The program, built for release
    #[arg(long, required_unless_present = "one_answer")]
    binary: Option<PathBuf>,
    /// Fewer objects and shorter runs, to see that it works
    #[arg(long)]
    quick: bool,
    /// Measure only these parts
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Keep the other sections of the report that is there
    #[arg(long)]
    add: bool,
    /// Serve what comes on the standard input, and nothing else, until killed
    #[arg(long, hide = true)]
    one_answer: bool,
    /// Where the report goes
    #[arg(long, default_value = "bench")]
    out: PathBuf,
}

/// A section of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Start and memory
    Start,
    /// The embedded store
    Store,
    /// Lists under load
    Lists,
    /// Webhooks
    Hooks,
    /// The controller of workspaces
    Controller,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let Some(binary) = &cli.binary else { return peers::serve_one_answer().await };
    let size = if cli.quick { Size::QUICK } else { Size::FULL };
    let out = cli.out.display();
    std::fs::create_dir_all(&cli.out).with_context(|| format!("cannot write into {out}"))?;
    let mut report = match cli.add {
        true => report::Report::earlier(machine::describe(), &cli.out)?,
        false => report::Report::new(machine::describe(), cli.quick, &cli.out),
    };
    let wanted = |part: Part| cli.only.is_empty() || cli.only.contains(&part);
    if wanted(Part::Start) {
        say(&format!("{} starts", 2 * size.starts + 1));
        start::measure(binary, size, &mut report).await?;
    }
    if wanted(Part::Store) {
        say("the embedded store");
        store::measure(size, &mut report).await?;
    }
    if wanted(Part::Lists) {
        say(&format!("lists of {} workspaces", size.workspaces));
        list::measure(binary, size, &mut report).await?;
    }
    if wanted(Part::Hooks) {
        say(&format!("webhooks, and {} of them queued", size.events));
        hooks::measure(binary, size, &mut report).await?;
    }
    if wanted(Part::Controller) {
        say("the controller of workspaces");
        controller::measure(binary, size, &mut report).await?;
    }
    report.write()?;
    say(&format!("wrote {}", cli.out.join("report.md").display()));
    Ok(())
}

/// Tells what is measured now.
fn say(text: &str) {
    let _gone = writeln!(std::io::stderr().lock(), "bench: {text}");
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    starts: usize,
    writes: usize,
    workspaces: usize,
    at_once: usize,
    namespaces: usize,
    kinds: usize,
    claims: usize,
    seconds: u64,
    events: usize,
}

impl Size {
    const FULL: Self = Self {
        starts: 20,
        writes: 20_000,
        workspaces: 10_000,
        at_once: 1_000,
        namespaces: 100,
        kinds: 50,
        claims: 2_000,
        seconds: 10,
        events: 1_000_000,
    };
    const QUICK: Self = Self {
        starts: 3,
        writes: 1_000,
        workspaces: 500,
        at_once: 100,
        namespaces: 10,
        kinds: 5,
        claims: 50,
        seconds: 1,
        events: 10_000,
    };
}
