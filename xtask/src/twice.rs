//! Runs a program of tests, and once more those that fail.
//!
//! The tests use real servers, real containers and browsers on a machine that does much else, so
//! one in thousands fails by chance. That must not hide what ten others say, nor may it be hidden:
//! what only passes at its second try is told as unsteady, again at the very end, to be mended. A
//! program that hangs is ended, and run again as a whole.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::shell::say;

/// How lines begin that tell of a test which failed and then passed.
const UNSTEADY: &str = "unsteady: ";

/// More failures than these are no chance.
const MOST: usize = 3;

/// A program that says nothing for so long hangs: its tests have deadlines far below that.
const SILENCE: Duration = Duration::from_mins(15);

/// The lines of a text that tell of tests which passed at their second try.
pub(crate) fn unsteady(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with(UNSTEADY))
}

/// Runs a program of `libtest`, or a command that ends with one and its arguments, and tells of
/// those that passed at their second try only. An error unless all passed.
pub(crate) fn run(program: &[OsString]) -> Result<()> {
    match tried(program, SILENCE)? {
        Tried::Failed => bail!("tests failed"),
        Tried::Passed { unsteady } => {
            for name in unsteady {
                say(&format!("{UNSTEADY}{name} failed, and passed when it was tried again"));
            }
            Ok(())
        }
    }
}

/// How it went.
#[derive(Debug, PartialEq, Eq)]
enum Tried {
    /// All passed, these at their second try.
    Passed {
        unsteady: Vec<String>,
    },
    Failed,
}

fn tried(program: &[OsString], silence: Duration) -> Result<Tried> {
    let (status, Summary { failed, running, .. }) = once(program, &[], silence)?;
    let Some(status) = status else {
        let hanging: Vec<_> = running.into_iter().collect();
        say(&format!("it hangs, so all of it once more; running: {}", hanging.join(", ")));
        let (status, _) = once(program, &[], silence)?;
        return Ok(match status.is_some_and(|status| status.success()) && !hanging.is_empty() {
            true => Tried::Passed { unsteady: hanging },
            false => Tried::Failed,
        });
    };
    if status.success() {
        return Ok(Tried::Passed { unsteady: Vec::new() });
    }
    // A program that ended in any other way names none.
    if failed.is_empty() || failed.len() > MOST {
        return Ok(Tried::Failed);
    }
    say(&format!("once more: {}", failed.join(", ")));
    let (status, again) = once(program, &failed, silence)?;
    // Names that fit no test would end well, too.
    let passed = status.is_some_and(|status| status.success()) && again.passed >= failed.len();
    Ok(match passed {
        true => Tried::Passed { unsteady: failed },
        false => Tried::Failed,
    })
}

/// Runs all tests, or those with these names. No status is that of a program that had to be ended.
fn once(
    program: &[OsString],
    names: &[String],
    silence: Duration,
) -> Result<(Option<ExitStatus>, Summary)> {
    let (file, args) = program.split_first().context("no program to run")?;
    let mut command = Command::new(file);
    command.args(args);
    if !names.is_empty() {
        command.arg("--exact").args(names);
    }
    let mut tests = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", file.display()))?;
    let printed = tests.stdout.take().context("its output is piped")?;
    let (sender, lines) = mpsc::channel();
    // Ends with the program, or with whatever that left behind; nobody waits for it.
    thread::spawn(move || {
        BufReader::new(printed).split(b'\n').try_for_each(|line| sender.send(line))
    });
    let mut summary = Summary::default();
    loop {
        match lines.recv_timeout(silence) {
            Ok(line) => {
                let line = line?;
                // Whoever reads it may have gone; the result still counts.
                let _gone = std::io::stdout().write_all(&[&line, &b"\n"[..]].concat());
                summary.read(&String::from_utf8_lossy(&line));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok((Some(tests.wait()?), summary)),
            Err(RecvTimeoutError::Timeout) => {
                tests.kill()?;
                tests.wait()?;
                return Ok((None, summary));
            }
        }
    }
}

/// What the tests say in the end.
#[derive(Default)]
struct Summary {
    /// The names under the last heading `failures:`.
    failed: Vec<String>,
    passed: usize,
    /// Those that take long, and did not end yet.
    running: BTreeSet<String>,
    open: bool,
}

impl Summary {
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ok. ") {
            self.passed += counts.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        }
        if let Some(test) = line.strip_prefix("test ") {
            if let Some((name, _)) = test.split_once(" has been running for over ") {
                self.running.insert(name.to_owned());
            } else if let Some((name, _)) = test.split_once(" ... ") {
                self.running.remove(name);
            }
        }
        if line == "failures:" {
            self.failed.clear();
            self.open = true;
            return;
        }
        match line.strip_prefix("    ") {
            Some(name) if self.open && !name.contains(char::is_whitespace) => {
                self.failed.push(name.to_owned());
            }
            // What failing tests print comes under a first heading of the same name.
            _ => self.open &= line.is_empty() && self.failed.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failed_are_those_of_the_last_list() {
        let text = "test a::one ... FAILED\ntest b ... ok\n\nfailures:\n\n---- a::one stdout ----\n\
                    \n    looks_like_one\nfailures:\n    neither\n\n\nfailures:\n    a::one\n    \
                    a::two::case_1\n\ntest result: FAILED. 1 passed\n    after\n";
        let mut summary = Summary::default();
        text.lines().for_each(|line| summary.read(line));
        assert_eq!(summary.failed, ["a::one", "a::two::case_1"]);
        let mut none = Summary::default();
        "running 1 test\ntest a ... ok\n\ntest result: ok.".lines().for_each(|l| none.read(l));
        assert!(none.failed.is_empty());
    }

    #[test]
    fn a_program_that_cannot_run_is_no_success() {
        assert!(tried(&[], SILENCE).is_err());
        assert!(tried(&["/nonexistent".into()], SILENCE).is_err());
        assert_eq!(tried(&["false".into()], SILENCE).unwrap(), Tried::Failed);
        let passed = Tried::Passed { unsteady: Vec::new() };
        assert_eq!(tried(&["true".into()], SILENCE).unwrap(), passed);
    }

    /// A program that fails as `libtest` does, as often as the file that it counts in says.
    fn failing(times: u32, names: &str, passed: usize) -> (Vec<OsString>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "echo x >> {0}/count; echo \"$@\" >> {0}/args\n\
             [ $(wc -l < {0}/count) -gt {times} ] && \
             {{ echo 'test result: ok. {passed} passed; 0 failed'; exit 0; }}\n\
             printf 'failures:\\n\\nfailures:\\n{names}\\n'; exit 101",
            folder.path().display()
        );
        let program = ["sh", "-c", &script, "sh", "--test-threads=4"].map(OsString::from);
        (program.into(), folder)
    }

    #[test]
    fn what_fails_is_tried_once_more_and_no_oftener() {
        let args = |folder: &tempfile::TempDir| {
            std::fs::read_to_string(folder.path().join("args")).unwrap()
        };
        let (program, folder) = failing(1, "    a::b\\n    c\\n", 2);
        let unsteady = ["a::b", "c"].map(str::to_owned).to_vec();
        assert_eq!(tried(&program, SILENCE).unwrap(), Tried::Passed { unsteady });
        assert_eq!(args(&folder), "--test-threads=4\n--test-threads=4 --exact a::b c\n");
        let (program, folder) = failing(2, "    a\\n", 1);
        assert_eq!(tried(&program, SILENCE).unwrap(), Tried::Failed);
        assert_eq!(args(&folder).lines().count(), 2);
        let (program, folder) = failing(1, "    a\\n    b\\n    c\\n    d\\n", 4);
        assert_eq!(tried(&program, SILENCE).unwrap(), Tried::Failed, "that many are no chance");
        assert_eq!(args(&folder).lines().count(), 1);
        let (program, _folder) = failing(1, "    a\\n    b\\n", 1);
        assert_eq!(tried(&program, SILENCE).unwrap(), Tried::Failed, "one was not found again");
    }

    #[test]
    fn what_hangs_is_ended_and_tried_once_more() {
        let hanging = |times: u32| {
            let folder = tempfile::tempdir().unwrap();
            let script = format!(
                "echo x >> {0}/count; echo 'test a has been running for over 60 seconds'; \
                 echo 'test b has been running for over 60 seconds'; echo 'test b ... ok'; \
                 [ $(wc -l < {0}/count) -gt {times} ] || exec sleep 600",
                folder.path().display()
            );
            let program: Vec<OsString> = ["sh", "-c", &script].map(OsString::from).into();
            (tried(&program, Duration::from_secs(2)).unwrap(), folder)
        };
        assert_eq!(hanging(1).0, Tried::Passed { unsteady: vec!["a".to_owned()] });
        let (tried, folder) = hanging(2);
        assert_eq!(tried, Tried::Failed);
        let count = std::fs::read_to_string(folder.path().join("count")).unwrap();
        assert_eq!(count.lines().count(), 2);
    }
}
