//! Webhooks: GitHub pushes sent as fast as they are taken, to `quartermaster as flux-recv`.

mod beside;
mod load;
mod server;

use std::{path::Path, time::Duration};

use anyhow::Result;
use quartermaster_e2e::Tree;

use self::{
    load::{Outcome, Push},
    server::{Mode, Server},
};
use crate::{
    Size, disk,
    report::{Report, Section, columns, mib, ms, percentile, rate},
};

const SMALL: usize = 7 * 1024;
const LARGE: usize = 1024 * 1024;

pub(crate) async fn measure(binary: &Path, size: Size, report: &mut Report) -> Result<()> {
    let fsync = fsync()?;
    let time = Duration::from_secs(size.seconds);
    let mut rows = Vec::new();
    for mode in [Mode::Synchronous, Mode::Journalled] {
        for bytes in [SMALL, LARGE] {
            for connections in [1, 64, 512] {
                let server = Server::start(binary, mode).await?;
                let push = Push::new(bytes, server::path());
                let before = Tree::of(server.pid());
                let outcome = load::run(&push, server.address, connections, time, None).await?;
                let after = Tree::of(server.pid());
                rows.push(row(mode, bytes, connections, fsync, &outcome, before, after)?);
            }
        }
    }
    report.add(Section {
        title: "Webhooks".to_owned(),
        note: format!(
            "`quartermaster as flux-recv`, GitHub pushes with HMAC-SHA256; every one is new. \
             Synchronous: the sender is answered after the downstream, which answers at once. \
             Journalled: the sender is answered when the event is on disk. A synced write of 1 kB takes \
             {} here (median, same run); the bound is connections ÷ fsync time. CPU and memory are \
             the receiver's; load generator and downstream share the cores.\n\nDESIGN, 7 kB \
             synchronous: flux-recv takes 3,080/s at 1 connection, 5,290/s at 64 (p50 12 ms, p99 28 \
             ms), 252 µs of CPU each, 23 MB. Target: 50 µs each and twice the rate; journalled \
             within 1.5 × of the bound and 20,000/s at 512.",
            ms(fsync)
        ),
        columns: columns([
            "mode", "body", "connections", "accepted", "of the bound", "p50", "p99", "CPU each",
            "resident", "peak",
        ]),
        rows,
    });
    beside::measure(binary, time, report).await?;
    queue(binary, size, report).await
}

fn row(
    mode: Mode,
    bytes: usize,
    connections: usize,
    fsync: Duration,
    outcome: &Outcome,
    before: Tree,
    after: Tree,
) -> Result<Vec<String>> {
    let [rate, median, worst, cpu] = outcome.cells(after.cpu.saturating_sub(before.cpu));
    let bound = f64::from(u32::try_from(connections)?) / fsync.as_secs_f64();
    let share = outcome.per_second() / bound;
    Ok(vec![
        mode.name().to_owned(),
        if bytes == SMALL { "7 kB" } else { "1 MB" }.to_owned(),
        connections.to_string(),
        rate,
        if mode == Mode::Journalled { format!("{:.0} %", share * 100.0) } else { "–".to_owned() },
        median,
        worst,
        cpu,
        mib(after.resident),
        mib(after.peak),
    ])
}

/// Memory while the queue grows and nobody takes anything from it.
async fn queue(binary: &Path, size: Size, report: &mut Report) -> Result<()> {
    let server = Server::start(binary, Mode::Stuck).await?;
    let push = Push::new(SMALL, server::path());
    let mut rows = Vec::new();
    let mut sent = 0;
    for part in [1, 4, 5] {
        let count = size.events * part / 10;
        let outcome =
            load::run(&push, server.address, 512, Duration::from_secs(3600), Some(count)).await?;
        sent += outcome.times.len();
        let now = Tree::of(server.pid());
        rows.push(vec![
            sent.to_string(),
            rate(outcome.times.len(), outcome.took),
            ms(percentile(&outcome.times, 99)),
            mib(now.resident),
            mib(now.peak),
        ]);
    }
    report.add(Section {
        title: "Webhooks, queued".to_owned(),
        note: "7 kB pushes of as many branches over 512 connections, journalled, while the \
               downstream is away. Target: memory flat under 96 MiB with 1,000,000 queued."
            .to_owned(),
        columns: columns(["queued", "accepted", "p99", "resident", "peak"]),
        rows,
    });
    Ok(())
}

/// The median time of a small synced write, on the disk that the journals are on.
fn fsync() -> Result<Duration> {
    let directory = tempfile::tempdir()?;
    Ok(percentile(&disk::synced_writes(directory.path(), 200)?, 50))
}
