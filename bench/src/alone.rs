//! `as workspaces-backend` alone: the API of its cluster is another process, callers come through a
//! proxy, and each of them is reviewed.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use http::Method;
use quartermaster_e2e::{Backend, Program, Tree, Up, within};

use crate::{
    list::{COLUMNS, row},
    load::{Caller, Target},
    report::{Report, Section, columns, mib},
    say,
};

/// Measures it on the cluster of `up`, as full as that is.
pub(crate) async fn measure(
    binary: &Path,
    up: &Up,
    time: Duration,
    report: &mut Report,
) -> Result<()> {
    say("as workspaces-backend, alone");
    let kubeconfig = up.program().dir().join("kubeconfig");
    // As in the image.
    let program =
        Program::new(binary).env("MALLOC_ARENA_MAX", "2").env("MALLOC_MMAP_THRESHOLD_", "131072");
    let backend = Backend::start(&program, &kubeconfig, &[]).await;
    within(Duration::from_secs(60), "its caches are full", async || {
        let ready = backend.send(("", &[]), Method::GET, "/readyz", None).await;
        (ready.status == 200).then_some(())
    })
    .await;
    // Lists are rendered a moment after the caches are full.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = Tree::of(backend.pid()).resident;
    let address = backend.url.trim_start_matches("http://");
    let address: SocketAddr = address.parse().context("it is at a plain address")?;
    let mut rows = Vec::new();
    for (name, path, connections) in [
        ("get one", "/workspaces/ns-0/w-0", 8),
        ("get one", "/workspaces/ns-0/w-0", 64),
        ("list one namespace", "/workspaces/ns-0", 8),
        ("list all", "/workspaces", 8),
        ("list all", "/workspaces", 64),
    ] {
        let target = Target {
            address,
            path: format!("/api/v1{path}"),
            caller: Caller::Proxied,
            encoding: "identity",
            tag: None,
        };
        rows.push(row(backend.pid(), name, &target, connections, time).await?);
    }
    backend.stop().await;
    report.add(Section {
        title: "The workspaces backend alone".to_owned(),
        note: format!(
            "`as workspaces-backend` on the cluster of the chapter before, which is another process; \
             identity from headers, each caller reviewed (answers count for 10 s); \
             the allocator set as in the image. {} resident with \
             all of it cached, before the first request. DESIGN: 60 MiB idle, 120 MiB under load; \
             the Go backend takes 167 MB idle and 4.0 GB under 64 readers.",
            mib(idle)
        ),
        columns: columns(COLUMNS),
        rows,
    });
    Ok(())
}
