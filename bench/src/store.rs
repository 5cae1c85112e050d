//! The embedded cluster alone: writes per second and the time until a watch shows them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use embedded::{Cluster, Options};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Size, disk,
    report::{Report, Section, columns, ms, percentile, rate},
};

pub(crate) async fn measure(size: Size, report: &mut Report) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let probe = disk::synced_writes(scratch.path(), size.writes / 20)?;
    let none = || "–".to_owned();
    let mut rows = vec![vec![
        "fdatasync alone".to_owned(),
        rate(probe.len(), probe.iter().sum()),
        ms(percentile(&probe, 50)),
        ms(percentile(&probe, 99)),
        none(),
        none(),
    ]];
    for writers in [1, 64] {
        let count = if writers == 1 { size.writes / 20 } else { size.writes };
        let outcome = run(writers, count).await?;
        rows.push(vec![
            format!("store, {writers} writing"),
            rate(count, outcome.took),
            ms(percentile(&outcome.writes, 50)),
            ms(percentile(&outcome.writes, 99)),
            ms(percentile(&outcome.watches, 50)),
            ms(percentile(&outcome.watches, 99)),
        ]);
    }
    report.add(Section {
        title: "Embedded store".to_owned(),
        note: format!(
            "ConfigMaps of 1 kB created through `kube::Client`; each answer means that the object \
             is on the disk (`fdatasync`). Watch latency counts from before the write until the \
             event is decoded. The first row is what the disk takes for 1 kB appended to a file \
             and `fdatasync` in the same directory ({}), nothing else: a store cannot be \
             faster with one writer, and where a sync costs next to nothing its figures say little \
             about other disks. A real API server takes about 1,000 writes/s.",
            disk::file_system(scratch.path())
        ),
        columns: columns(["what", "writes", "write p50", "write p99", "watch p50", "watch p99"]),
        rows,
    });
    Ok(())
}

struct Outcome {
    took: Duration,
    writes: Vec<Duration>,
    watches: Vec<Duration>,
}

async fn run(writers: usize, count: usize) -> Result<Outcome> {
    let directory = tempfile::tempdir()?;
    let options = Options::new(directory.path().join("data"));
    let cluster = Cluster::open(options).await?;
    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    let parameters = WatchParams::default();
    let events = api.watch(&parameters, "0").await?.boxed();
    let watcher = tokio::spawn(async move {
        events
            .try_for_each(async |event| {
                if let WatchEvent::Added(object) = event {
                    let _closed = seen.send((object.metadata.name, Instant::now()));
                }
                Ok(())
            })
            .await
    });
    let text = Arc::new("x".repeat(900));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let (api, text) = (api.clone(), text.clone());
        tasks.spawn(async move {
            let mut sent = Vec::new();
            for number in 0..count / writers {
                let name = format!("object-{writer}-{number}");
                let object = ConfigMap {
                    metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
                    data: Some(BTreeMap::from([("text".to_owned(), text.to_string())])),
                    ..ConfigMap::default()
                };
                let asked = Instant::now();
                api.create(&PostParams::default(), &object).await?;
                sent.push((name, asked, asked.elapsed()));
            }
            anyhow::Ok(sent)
        });
    }
    let mut writes = Vec::new();
    let mut asked = BTreeMap::new();
    while let Some(sent) = tasks.join_next().await {
        for (name, at, took) in sent?? {
            writes.push(took);
            asked.insert(name, at);
        }
    }
    let took = begin.elapsed();
    let mut watches = Vec::new();
    while watches.len() < writes.len() {
        let arrival = tokio::time::timeout(Duration::from_secs(30), arrivals.recv());
        let (name, at) = arrival.await?.context("the watch ended early")?;
        if let Some(asked) = name.and_then(|name| asked.get(&name).copied()) {
            watches.push(at.saturating_duration_since(asked));
        }
    }
    watcher.abort();
    cluster.shutdown().await;
    writes.sort_unstable();
    watches.sort_unstable();
    Ok(Outcome { took, writes, watches })
}
