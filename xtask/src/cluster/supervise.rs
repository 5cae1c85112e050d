//! Starts the parts, waits until they work, runs the command.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    control, isolate,
    isolate::Plan,
    node,
    parts::{Layout, Part},
};
use crate::shell::{self, say};

/// How long a part may take until it works, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a part has to end by itself.
const GRACE: Duration = Duration::from_secs(20);

pub(super) enum Event {
    /// A part ended: its name and process.
    Ended(&'static str, Pid, ExitStatus),
    /// The command ended.
    Done(ExitStatus),
    /// Somebody inside wants a part stopped or started.
    Asked(control::Request),
}

pub(super) fn run(plan: &Plan) -> Result<ExitCode> {
    if plan.isolated {
        isolate::loopback()?;
        isolate::mounts(plan)?;
    }
    fs::create_dir_all(plan.dir.join("logs"))?;
    let mut cluster = Cluster::new(plan, Layout::new(&plan.dir, &plan.programs)?);
    cluster.start_all()?;
    control::serve(&cluster.layout, cluster.events.clone())?;
    cluster.command()
}

pub(super) struct Cluster<'a> {
    plan: &'a Plan,
    layout: Layout,
    began: Instant,
    running: BTreeMap<&'static str, Pid>,
    events: Sender<Event>,
    received: Receiver<Event>,
}

impl<'a> Cluster<'a> {
    fn new(plan: &'a Plan, layout: Layout) -> Self {
        let (events, received) = channel();
        Self { plan, layout, began: Instant::now(), running: BTreeMap::new(), events, received }
    }

    fn start_all(&mut self) -> Result<()> {
        self.start("etcd")?;
        for name in ["apiserver", "controller-manager", "scheduler"] {
            self.start(name)?;
            self.until_it_works(name)?;
        }
        self.say("control plane works");
        if let Some(cgroup) = &self.plan.cgroup {
            node::network()?;
            node::cgroups(cgroup)?;
            self.create(&node::storage_class())?;
            self.start("containerd")?;
            self.until_it_works("containerd")?;
            node::import(&self.layout, &self.plan.images)?;
            self.start("kubelet")?;
            self.until_it_works("kubelet")?;
            self.say("node is ready");
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        say(&format!("cluster: {:5.1} s  {text}", self.began.elapsed().as_secs_f32()));
    }

    fn part(&self, name: &str) -> Result<Part> {
        Ok(match (name, &self.plan.cgroup) {
            ("etcd", _) => self.layout.etcd()?,
            ("apiserver", _) => self.layout.apiserver(),
            ("controller-manager", _) => self.layout.controller_manager(&self.plan.controllers),
            ("scheduler", _) => self.layout.scheduler(),
            ("containerd", Some(_)) => node::containerd(&self.layout)?,
            ("kubelet", Some(cgroup)) => node::kubelet(&self.layout, cgroup)?,
            _ => bail!("there is no part {name} in this cluster"),
        })
    }

    fn start(&mut self, name: &str) -> Result<()> {
        let part = self.part(name)?;
        if self.running.contains_key(part.name) {
            bail!("{name} runs already");
        }
        let log = self.layout.log(part.name);
        let log = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = isolate::guarded(&part.program);
        command.args(&part.args).current_dir(&self.layout.dir).stdin(Stdio::null());
        // In a group of its own: Ctrl-C is not for parts.
        command.stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pid = Pid::from_child(&child);
        self.running.insert(part.name, pid);
        let events = self.events.clone();
        std::thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _over = events.send(Event::Ended(part.name, pid, status));
            }
        });
        Ok(())
    }

    /// Waits until a part does its work; says what its log says if it does not.
    fn until_it_works(&mut self, name: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Err(error) = self.works(name) else { return Ok(()) };
            self.bury();
            if !self.running.contains_key(name) {
                bail!("{name} did not start");
            }
            if Instant::now() > deadline {
                let seconds = PATIENCE.as_secs();
                bail!("{name} does not work after {seconds} s: {error:#}{}", self.log_tail(name));
            }
            shell::moment();
        }
    }

    /// Takes note of parts that ended; leaves all other events where they are.
    fn bury(&mut self) {
        let mut others = Vec::new();
        while let Ok(event) = self.received.try_recv() {
            match event {
                Event::Ended(part, pid, status) => self.buried(part, pid, status),
                other => others.push(other),
            }
        }
        for event in others {
            let _kept = self.events.send(event);
        }
    }

    /// A part that was stopped on purpose is not in the list of those that run.
    fn buried(&mut self, part: &'static str, pid: Pid, status: ExitStatus) {
        if self.running.get(part) == Some(&pid) {
            self.running.remove(part);
            self.say(&format!("{part} ended by itself: {status}{}", self.log_tail(part)));
        }
    }

    fn works(&self, name: &str) -> Result<()> {
        let answers = |args: &[&str]| shell::output(self.kubectl().args(args)).map(drop);
        match name {
            "apiserver" => answers(&["get", "--raw=/readyz"]),
            // Pods are refused before there is a service account for them.
            "controller-manager" if self.plan.controllers == "*" => {
                answers(&["get", "serviceaccount", "default"])
            }
            "containerd" => node::containerd_works(&self.layout),
            "kubelet" => answers(&[
                "wait",
                "--for=condition=Ready",
                "--timeout=5s",
                &format!("node/{}", node::NAME),
            ]),
            _ => Ok(()),
        }
    }

    fn kubectl(&self) -> Command {
        let mut kubectl = shell::command(self.layout.programs.join("kubectl"));
        kubectl.env("KUBECONFIG", &self.layout.kubeconfig).arg("--request-timeout=10s");
        kubectl
    }

    fn create(&self, object: &serde_json::Value) -> Result<()> {
        let file = self.layout.dir.join("object.json");
        fs::write(&file, object.to_string())?;
        shell::output(self.kubectl().args(["create", "--filename"]).arg(&file)).map(drop)
    }

    fn log_tail(&self, name: &str) -> String {
        let log = self.layout.log(name);
        match tail(&log) {
            Ok(text) if text.is_empty() => String::new(),
            Ok(text) => format!("\n--- the end of {name}.log\n{text}---"),
            Err(error) => format!(" ({}: {error})", log.display()),
        }
    }

    /// Runs the command and serves requests until it ends.
    fn command(&mut self) -> Result<ExitCode> {
        let Some((program, args)) = self.plan.command.split_first() else {
            bail!("no command");
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = [self.layout.programs.clone()].into_iter().chain(std::env::split_paths(&path));
        let mut command =
            if self.plan.isolated { Command::new(program) } else { isolate::guarded(program) };
        command.args(args).env("PATH", std::env::join_paths(paths)?);
        command.env("KUBECONFIG", &self.layout.kubeconfig);
        command.env(control::FOLDER, &self.layout.dir);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let events = self.events.clone();
        std::thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _over = events.send(Event::Done(status));
            }
        });
        loop {
            match self.received.recv()? {
                Event::Done(status) => return Ok(isolate::code_of(status)),
                Event::Ended(part, pid, status) => self.buried(part, pid, status),
                Event::Asked(request) => {
                    let done = self.obey(&request.verb, &request.part);
                    request.answer(done.map_err(|error| format!("{error:#}")));
                }
            }
        }
    }

    fn obey(&mut self, verb: &str, part: &str) -> Result<()> {
        let begin = |cluster: &mut Self| {
            cluster.start(part)?;
            cluster.until_it_works(part)
        };
        match verb {
            "start" => begin(self),
            "stop" => self.stop(part, Signal::TERM),
            "kill" => self.stop(part, Signal::KILL),
            "restart" => {
                self.stop(part, Signal::TERM)?;
                begin(self)
            }
            _ => bail!("there is no command {verb}"),
        }
    }

    /// Ends a part, and waits until it has ended.
    fn stop(&mut self, name: &str, signal: Signal) -> Result<()> {
        let name = self.part(name)?.name;
        let Some(pid) = self.running.remove(name) else {
            bail!("{name} does not run");
        };
        kill_process(pid, signal)?;
        let mut others = Vec::new();
        let mut deadline = Instant::now() + GRACE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.received.recv_timeout(left) {
                Ok(Event::Ended(_, ended, _)) if ended == pid => break,
                Ok(other) => others.push(other),
                Err(RecvTimeoutError::Timeout) => {
                    kill_process(pid, Signal::KILL)?;
                    deadline = Instant::now() + PATIENCE;
                }
                Err(error) => return Err(error.into()),
            }
        }
        for event in others {
            let _kept = self.events.send(event);
        }
        Ok(())
    }
}

/// The last lines of a file.
fn tail(file: &Path) -> std::io::Result<String> {
    const MUCH: u64 = 4096;
    let mut file = fs::File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MUCH)))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    // The first line may have lost its beginning.
    let whole =
        if length > MUCH { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    Ok(whole.to_owned())
}
