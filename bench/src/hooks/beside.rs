//! The same pushes to a receiver made of Go's standard library, which flux-recv is made of as well:
//! what its work takes at the least, on this machine and in this run.

use std::{path::Path, time::Duration};

use anyhow::Result;
use quartermaster_e2e::Tree;
use tokio::process::Command;

use super::{
    SMALL,
    load::{self, KEY, Push},
    server::{self, Downstream, Mode, Server},
};
use crate::{
    peers::{self, Peer},
    report::{Report, Section, columns, mib},
};

const RECEIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/receiver.go");

/// Connections to the daemon that the receiver in Go keeps: what its default client does, and all.
const KEPT: [(&str, &str); 2] = [("Go, its default client", "2"), ("Go, connections kept", "1024")];

pub(super) async fn measure(binary: &Path, time: Duration, report: &mut Report) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let Some(go) = peers::build_go(RECEIVER, scratch.path()).await else { return Ok(()) };
    let key = scratch.path().join("key");
    std::fs::write(&key, KEY)?;
    let push = Push::new(SMALL, server::path());
    let mut rows = Vec::new();
    for connections in [1, 64, 512] {
        let server = Server::start(binary, Mode::Synchronous).await?;
        let send = async |address, pid| {
            let before = Tree::of(pid).cpu;
            let outcome = load::run(&push, address, connections, time, None).await?;
            let after = Tree::of(pid);
            let mut cells = outcome.cells(after.cpu.saturating_sub(before)).to_vec();
            cells.push(mib(after.peak));
            anyhow::Ok((outcome.per_second(), cells))
        };
        let (ours, cells) = send(server.address, server.pid()).await?;
        let row = |name: &str, theirs: f64, cells: Vec<String>| {
            let ratio = format!("{:.2}", ours / theirs);
            let mut row = vec![connections.to_string(), name.to_owned(), ratio];
            row.extend(cells);
            row
        };
        rows.push(row("quartermaster", ours, cells));
        drop(server);
        for (name, kept) in KEPT {
            let downstream = Downstream::start().await?;
            let daemon = format!("http://{}/api/flux/v11/notify", downstream.address);
            let mut command = Command::new(&go);
            let peer = Peer::start(name, command.arg(&key).arg(daemon).arg(kept), "").await?;
            let (theirs, cells) = send(peer.address, peer.pid()?).await?;
            rows.push(row(name, theirs, cells));
        }
    }
    report.add(Section {
        title: "Webhooks beside Go".to_owned(),
        note: "7 kB pushes, synchronous, and the same to a receiver of a hundred lines of Go's \
               standard library: it verifies, reads two fields, tells the daemon and answers, without \
               limits, log, metrics or guard. It stands in for flux-recv, which does more than that. \
               `ratio` is the rate of quartermaster to theirs."
            .to_owned(),
        columns: columns([
            "connections", "server", "ratio", "accepted", "p50", "p99", "CPU each", "peak",
        ]),
        rows,
    });
    Ok(())
}
