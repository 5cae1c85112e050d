//! What `kubectl` prints and how it ends, the same on our own cluster as on a real one.
//!
//! `kubectl/script.txt` and `kubectl/pods.txt` hold the commands and what they print (`refused.txt`
//! is about our own only). With a kubeconfig in
//! `QUARTERMASTER_E2E_KUBECONFIG` they run there, else on an `up`; both must print what is in the files.
//! `QUARTERMASTER_KUBECTL_UPDATE=1` writes the files anew: do that on a real cluster.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use quartermaster_e2e::{Program, Site, binary, skip};
use regex::Regex;
use tokio::process::Command;

const KUBECTL: &str = "QUARTERMASTER_KUBECTL";
const UPDATE: &str = "QUARTERMASTER_KUBECTL_UPDATE";
const STEP: Duration = Duration::from_secs(60);

/// What differs from run to run, and what stands for it.
const CHANCE: [(&str, &str); 10] = [
    ("\u{1b}\\[[0-9;]*m", ""),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r#"(resourceVersion"?: *"?|Resource Version: +)\d+"#, "${1}REVISION"),
    (r"https://127\.0\.0\.1:\d+", "SERVER"),
    (r"\+quartermaster", ""),
    (r"\bmade-[a-z0-9]{5}\b", "made-CHANCE"),
    (r"(^|\s)(\d+[smhd]){1,2}($|\s)", "${1}AGE${3}"),
    (r" {2,}", "  "),
    (r" +$", ""),
];

/// What the library below kubectl logs, such as watches that ended within a second by chance.
const LOG: &str = r"^[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \w+\.go:\d+\] ";

struct Shell {
    kubeconfig: PathBuf,
    home: PathBuf,
    path: String,
    chance: Vec<(Regex, &'static str)>,
    log: Regex,
}

impl Shell {
    fn new(kubectl: &Path, kubeconfig: &Path, home: &Path) -> Self {
        let copy = home.join("kubeconfig");
        fs::copy(kubeconfig, &copy).unwrap();
        let directory = kubectl.parent().unwrap().display();
        let path = format!("{directory}:{}", std::env::var("PATH").unwrap_or_default());
        let chance = CHANCE.map(|(pattern, text)| (Regex::new(pattern).unwrap(), text));
        Self {
            kubeconfig: copy,
            home: home.to_owned(),
            path,
            chance: chance.into(),
            log: Regex::new(LOG).unwrap(),
        }
    }

    /// Runs a command, and tells what came of it.
    async fn run(&self, line: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(folder()).env_clear().kill_on_drop(true);
        command.env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig).env("LC_ALL", "C");
        command.env("HOME", &self.home).env("EDITOR", "true").stdin(Stdio::null());
        let output = tokio::time::timeout(STEP, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("no end of: {line}")).unwrap();
        let mut told = self.tidy(&String::from_utf8_lossy(&output.stdout), "");
        told.push_str(&self.tidy(&String::from_utf8_lossy(&output.stderr), "! "));
        match output.status.code() {
            Some(0) => {}
            Some(code) => writeln!(told, "[{code}]").unwrap(),
            None => writeln!(told, "[ended by a signal]").unwrap(),
        }
        told
    }

    fn tidy(&self, text: &str, prefix: &str) -> String {
        let mut told = String::new();
        for line in text.lines().filter(|line| !self.log.is_match(line)) {
            let mut line = line.replace(&self.home.display().to_string(), "HOME");
            for (pattern, text) in &self.chance {
                line = pattern.replace_all(&line, *text).into_owned();
            }
            writeln!(told, "{prefix}{line}").unwrap();
        }
        told
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubectl")
}

/// Runs all commands of a script, and gives the script with what they print now.
async fn play(script: &str, shell: &Shell) -> String {
    let mut played = String::new();
    for block in script.split_inclusive('\n') {
        if let Some(line) = block.strip_prefix("$ ") {
            played.push_str(block);
            played.push_str(&shell.run(line.trim_end()).await);
        } else if block.starts_with('#') {
            if !played.is_empty() && !played.ends_with("\n\n") && !is_comment(&played) {
                played.push('\n');
            }
            played.push_str(block);
        } else if block == "\n" && is_comment(&played) {
            played.push_str(block);
        }
    }
    played
}

/// Whether a text ends with a line of comment.
fn is_comment(text: &str) -> bool {
    text.lines().last().is_some_and(|line| line.starts_with('#'))
}

/// The first difference, with the command that it belongs to.
fn difference(expected: &str, played: &str) -> Option<String> {
    let mut command = "";
    let mut told = String::new();
    let (mut left, mut right) = (expected.lines(), played.lines());
    loop {
        let (left, right) = (left.next(), right.next());
        if left == right {
            let line = left?;
            if line.starts_with('$') {
                command = line;
            }
            continue;
        }
        write!(told, "{command}\n- {}\n+ {}", left.unwrap_or_default(), right.unwrap_or_default())
            .unwrap();
        return Some(told);
    }
}

/// On our own cluster a pod is a process: this image is the shell of this machine.
const IMAGES: &str = "images: [{image: 'docker.io/quartermaster/busybox:*', command: [sh]}]\n";

/// Plays a script on the cluster of this run.
async fn check(name: &str) {
    let Some(kubectl) = std::env::var_os(KUBECTL).map(PathBuf::from) else {
        return skip(name, "no kubectl: `cargo xtask cluster build` makes one");
    };
    let home = tempfile::tempdir().unwrap();
    let (kubeconfig, own) = match Site::of_this_run() {
        Site::Own => {
            let config = home.path().join("quartermaster.yaml");
            fs::write(&config, IMAGES).unwrap();
            let program = Program::new(binary()).arg("-c").arg(config.to_str().unwrap());
            let up = program.start().await;
            (up.program().dir().join("kubeconfig"), Some(up))
        }
        Site::Cluster { kubeconfig } => (PathBuf::from(kubeconfig), None),
    };
    let shell = Shell::new(&kubectl, &kubeconfig, home.path());
    let file = folder().join(name);
    let script = fs::read_to_string(&file).unwrap();
    let played = play(&script, &shell).await;
    drop(own);
    if std::env::var_os(UPDATE).is_some() {
        return fs::write(&file, played).unwrap();
    }
    if let Some(difference) = difference(&script, &played) {
        fs::write(home.path().join(name), &played).unwrap();
        let kept = home.keep();
        panic!("{name}: something else was printed, all is in {}\n{difference}", kept.display());
    }
}

#[tokio::test]
async fn objects_look_as_on_a_real_cluster() {
    check("script.txt").await;
}

#[tokio::test]
async fn what_runs_looks_as_on_a_real_cluster() {
    check("pods.txt").await;
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_words_that_help() {
    if Site::of_this_run() == Site::Own {
        check("refused.txt").await;
    }
}
