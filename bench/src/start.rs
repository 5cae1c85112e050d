//! From the start of the process to its first answer, and what it then holds in memory.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use quartermaster_e2e::{Program, Tree, Up};

use crate::{
    Size,
    load::{Caller, Connection},
    report::{Report, Section, columns, mib, ms, percentile},
};

pub(crate) async fn measure(binary: &Path, size: Size, report: &mut Report) -> Result<()> {
    let mut first = Vec::new();
    let mut again = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..size.starts {
        let (time, up) = timed(Program::new(binary)).await?;
        first.push(time);
        memory.push(Tree::of(up.endpoints.pid).resident);
        let (_, program) = up.stop().await;
        let (time, up) = timed(program).await?;
        again.push(time);
        up.stop().await;
    }
    let idle = idle(binary).await;
    first.sort_unstable();
    again.sort_unstable();
    memory.sort_unstable();
    let middle = |times: &[Duration]| ms(percentile(times, 50));
    let worst = |times: &[Duration]| ms(*times.last().unwrap_or(&Duration::ZERO));
    report.add(Section {
        title: "Start and memory".to_owned(),
        note: format!(
            "`quartermaster up` until `/api/v1/healthcheck` answers 200, {} starts; resident memory \
             of an empty one. Target: 200 ms, 40 MiB. Go peers: about 1 s after their caches fill.",
            size.starts
        ),
        columns: columns(["what", "median", "worst"]),
        rows: vec![
            vec!["first start, new data directory".into(), middle(&first), worst(&first)],
            vec!["start on existing data".into(), middle(&again), worst(&again)],
            vec![
                "resident after the first answer".into(),
                mib(memory.get(memory.len() / 2).copied().unwrap_or(0)),
                mib(memory.last().copied().unwrap_or(0)),
            ],
            vec!["resident after 5 s idle".into(), mib(idle), mib(idle)],
        ],
    });
    Ok(())
}

/// Starts on a port known beforehand, and asks until there is an answer.
async fn timed(program: Program) -> Result<(Duration, Up)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let program = program.listen(address.to_string());
    let begin = Instant::now();
    let (up, time) = tokio::join!(program.start(), answered(address, begin));
    Ok((time?, up))
}

async fn answered(address: SocketAddr, begin: Instant) -> Result<Duration> {
    let nobody = Caller::Token(String::new());
    loop {
        if let Ok(mut connection) = Connection::open(address, &nobody).await {
            let answer = connection.send("GET", "/api/v1/healthcheck", "identity", None).await;
            let (status, _) = answer.context("the first request failed")?;
            ensure!(status == 200, "the first answer is {status}");
            return Ok(begin.elapsed());
        }
        ensure!(begin.elapsed() < Duration::from_secs(20), "no answer in 20 s");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn idle(binary: &Path) -> u64 {
    let up = Program::new(binary).start().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    Tree::of(up.endpoints.pid).resident
}
