//! Commands side by side. Most of them wait for other programs most of the time, so that there are a
//! few more of them than processors. What one prints comes in one piece, when it ends.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    shell::{self, say},
    twice,
};

/// A command with a name.
pub(crate) struct Job {
    name: String,
    command: Command,
    /// About how long it takes: what takes long begins early.
    seconds: u64,
}

struct Done {
    name: String,
    took: Duration,
    result: Result<(ExitStatus, String)>,
}

impl Job {
    pub(crate) fn new(name: impl Into<String>, seconds: u64, command: Command) -> Self {
        Self { name: name.into(), command, seconds }
    }

    fn run(self, number: usize, done: &Sender<Done>) {
        let Self { name, mut command, .. } = self;
        let begin = Instant::now();
        let result = printing(&mut command, number);
        // Whoever waits for it has gone only if everything ends.
        let _gone = done.send(Done { name, took: begin.elapsed(), result });
    }
}

/// Runs a command, and gives what it prints.
fn printing(command: &mut Command, number: usize) -> Result<(ExitStatus, String)> {
    let name = format!("quartermaster-job-{}-{number}.log", std::process::id());
    let file = std::env::temp_dir().join(name);
    let log = File::create(&file).with_context(|| format!("cannot make {}", file.display()))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let status = command.status().with_context(|| format!("cannot start {command:?}"));
    let text = fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    fs::remove_file(&file)?;
    Ok((status?, text?))
}

/// Runs all of them, and says at the end how long each took. An error names those that failed.
pub(crate) fn run(mut jobs: Vec<Job>) -> Result<()> {
    if jobs.len() == 1
        && let Some(Job { mut command, .. }) = jobs.pop()
    {
        return shell::run(&mut command);
    }
    let begin = Instant::now();
    let at_once = thread::available_parallelism().map_or(2, |count| count.get() + 1);
    jobs.sort_by_key(|job| Reverse(job.seconds));
    let mut waiting = VecDeque::from(jobs);
    let mut all = Vec::new();
    let (done, ended) = channel();
    let (mut running, mut number) = (0, 0);
    while running > 0 || !waiting.is_empty() {
        while running < at_once
            && let Some(job) = waiting.pop_front()
        {
            say(&format!("begins: {}", job.name));
            let done = done.clone();
            (running, number) = (running + 1, number + 1);
            thread::spawn(move || job.run(number, &done));
        }
        let one = ended.recv()?;
        running -= 1;
        print(&one);
        all.push(one);
    }
    conclude(&mut all, begin.elapsed())
}

fn print(done: &Done) {
    let text = match &done.result {
        Ok((_, text)) => text.clone(),
        Err(error) => format!("{error:#}\n"),
    };
    say(&format!("\n==== {}\n{text}==== {}\n", done.line(), done.name));
}

impl Done {
    fn passed(&self) -> bool {
        self.result.as_ref().is_ok_and(|(status, _)| status.success())
    }

    fn line(&self) -> String {
        let result = match &self.result {
            Ok((status, _)) if status.success() => "ok".to_owned(),
            Ok((status, _)) => format!("FAILED ({status})"),
            Err(_) => "FAILED".to_owned(),
        };
        format!("{:>6.1} s  {}: {result}", self.took.as_secs_f64(), self.name)
    }
}

fn conclude(all: &mut [Done], took: Duration) -> Result<()> {
    all.sort_by_key(|one| Reverse(one.took));
    let sum: f64 = all.iter().map(|one| one.took.as_secs_f64()).sum();
    let lines: Vec<_> = all.iter().map(Done::line).collect();
    let (lines, wall) = (lines.join("\n"), took.as_secs_f64());
    say(&format!("{lines}\n{wall:>6.1} s  all of it, side by side ({sum:.1} s one by one)"));
    let texts = all.iter().filter_map(|one| one.result.as_ref().ok());
    // A job with jobs of its own has told of them twice.
    let unsteady: BTreeSet<_> = texts.flat_map(|(_, text)| twice::unsteady(text)).collect();
    unsteady.into_iter().for_each(say);
    let failed = all.iter().filter(|one| !one.passed()).map(|one| one.name.as_str());
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}
