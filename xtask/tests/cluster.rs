//! `cargo xtask cluster run`, seen from outside: what a command finds, and that nothing is left.
//!
//! Each test needs the program of `testenv/`; without it they say that they were skipped.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(180);

fn xtask() -> Command {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.stdin(Stdio::null());
    xtask
}

/// Whether the tests can run; `cargo xtask test` builds what they need before.
fn testenv(test: &str) -> bool {
    if std::env::var_os("QUARTERMASTER_TESTENV_BUILT").is_some() {
        return true;
    }
    if let Some(file) = std::env::var_os("QUARTERMASTER_SKIPPED") {
        let mut file = fs::OpenOptions::new().append(true).open(file).unwrap();
        writeln!(file, "{test}: testenv/ is not built").unwrap();
    }
    false
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(flags: &[&str], command: &[&str]) -> Output {
    xtask().args(["cluster", "run"]).args(flags).arg("--").args(command).output().unwrap()
}

fn stdout(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What a cluster of this process could leave on the machine.
#[derive(Debug, Default, PartialEq)]
struct Left {
    processes: Vec<String>,
    mounts: Vec<String>,
    interfaces: Vec<String>,
    cgroups: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

/// Everything that carries the name of the cluster of the process `xtask`.
fn left(xtask: u32) -> Left {
    let name = format!("quartermaster-testenv-{xtask}");
    let mut left = Left::default();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        // A process that ends meanwhile has no command line.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&name) {
            left.processes.push(line);
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.mounts = mounts.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect();
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap();
    left.interfaces =
        interfaces.lines().filter(|line| line.contains("cni0")).map(str::to_owned).collect();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        let cgroup = Path::new(line.split(' ').nth(4).unwrap()).join(&name);
        left.cgroups.extend(cgroup.exists().then_some(cgroup));
    }
    let folder = std::env::temp_dir().join(&name);
    left.folders.extend(folder.exists().then_some(folder));
    left
}

fn until_nothing_is_left(xtask: u32) {
    let begin = Instant::now();
    loop {
        let left = left(xtask);
        if left == Left::default() {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "{left:#?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Starts a command that says a line and stays; gives it once it has said so.
fn started(flags: &[&str], script: &str) -> Child {
    // Whoever runs tests in the background lets them ignore Ctrl-C.
    let mut child = Command::new("env")
        .args(["--default-signal=INT", env!("CARGO_BIN_EXE_xtask"), "cluster", "run"])
        .args(flags)
        .stdin(Stdio::null())
        .args(["--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "here\n", "{:?}", child.try_wait());
    child
}

fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_command_finds_a_cluster_and_its_exit_code_is_passed_on() {
    if !testenv("a_command_finds_a_cluster_and_its_exit_code_is_passed_on") {
        return;
    }
    let script = "kubectl get --raw=/version && test -S $QUARTERMASTER_TESTENV/control && exit 7";
    let output = run(&["--no-node"], &["sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"gitVersion\": \"v1."));
    let killed = run(&["--no-node"], &["sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(137));
}

#[test]
fn an_api_server_can_go_and_come_back() {
    if !testenv("an_api_server_can_go_and_come_back") {
        return;
    }
    let xtask = env!("CARGO_BIN_EXE_xtask");
    let script = format!(
        "kubectl create namespace before >/dev/null
         {xtask} cluster stop apiserver || exit 1
         kubectl get namespaces --request-timeout=2s 2>/dev/null && exit 2
         {xtask} cluster stop apiserver && exit 3
         {xtask} cluster start apiserver || exit 4
         kubectl get namespace before --output=name
         {xtask} cluster kill apiserver && {xtask} cluster restart apiserver && exit 5
         {xtask} cluster start apiserver && {xtask} cluster restart apiserver || exit 6
         {xtask} cluster stop kubelet 2>&1
         {xtask} cluster stop nothing 2>&1
         kubectl get namespace before --output=name"
    );
    let output = run(&["--no-node"], &["sh", "-c", &script]);
    assert_eq!(
        stdout(&output),
        "namespace/before\n\
         error: there is no part kubelet in this cluster\n\
         error: there is no part nothing in this cluster\n\
         namespace/before\n"
    );
}

#[test]
fn nothing_is_left_when_the_command_ends() {
    if !testenv("nothing_is_left_when_the_command_ends") {
        return;
    }
    // What the command leaves running ends with it.
    let mut child = started(&[], "setsid sleep 1000 >/dev/null & echo here");
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    assert_eq!(left(pid), Left::default());
}

#[test]
fn nothing_is_left_after_kill_9_or_ctrl_c() {
    if !testenv("nothing_is_left_after_kill_9_or_ctrl_c") {
        return;
    }
    // A pod brings processes, mounts, an interface and cgroups that the command does not own.
    let pod = "kubectl run web --image=docker.io/quartermaster/pause:1 --image-pull-policy=Never \
         >/dev/null && kubectl wait --for=condition=Ready pod/web --timeout=120s >/dev/null &&";
    let pod = if is_root() { pod } else { "" };
    for (flags, pod, signal) in [(&[][..], pod, Signal::KILL), (&["--no-node"], "", Signal::INT)] {
        let mut child = started(flags, &format!("{pod} echo here; exec sleep 1000"));
        assert_ne!(left(child.id()), Left::default());
        kill(&child, signal);
        child.wait().unwrap();
        until_nothing_is_left(child.id());
    }
}

#[test]
fn a_pod_runs_with_its_claim() {
    if !testenv("a_pod_runs_with_its_claim") || !is_root() {
        return;
    }
    let busybox = xtask().args(["image", "busybox"]).output().unwrap();
    let busybox = stdout(&busybox);
    let pod = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: web
    image: docker.io/quartermaster/busybox:1
    command: [sh, -c, "echo kept >/data/index.html && echo serving && exec httpd -f -p 8080 -h /data"]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"#;
    let script = format!(
        "set -e
         echo '{pod}' | kubectl apply --filename=- >/dev/null
         kubectl wait --for=condition=Ready pod/web --timeout=120s >/dev/null
         kubectl logs web
         kubectl exec web -- cat /data/index.html
         kubectl get --raw=/api/v1/namespaces/default/pods/web:8080/proxy/
         kubectl delete pod web --now >/dev/null 2>&1"
    );
    let output = run(&["--image", busybox.trim_end()], &["sh", "-c", &script]);
    assert_eq!(stdout(&output), "serving\nkept\nkept\n");
}

#[test]
fn what_cannot_work_is_said() {
    let output = run(&["--image", "/nonexistent.tar"], &["true"]);
    assert_eq!(output.status.code(), Some(125));
    let text = String::from_utf8(output.stderr).unwrap();
    let expected = if is_root() { "cannot read /nonexistent.tar" } else { "needs a node" };
    assert!(text.contains(expected), "{text}");
    let output = xtask().args(["cluster", "stop", "etcd"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("QUARTERMASTER_TESTENV is not set"), "{text}");
}
