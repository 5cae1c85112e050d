//! Help, errors and exit codes, as a person reads them.

use std::fs;

use crate::{program, tidy};

/// Runs a command and gives exit code, output and errors as one text.
async fn shown(args: &[&str]) -> String {
    let program = program();
    let ended = program.run(args).await;
    let text = format!(
        "exit code {}\n--- stdout\n{}--- stderr\n{}",
        ended.code.unwrap(),
        ended.stdout,
        ended.stderr
    );
    tidy(&text, &program)
}

#[tokio::test]
async fn help_of_the_program_and_of_each_command() {
    let mut text = String::new();
    for command in ["", "up", "serve", "open", "check", "crds", "rbac", "files", "completions"] {
        let args: Vec<&str> =
            [command, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect();
        text.push_str(&format!("==== {}\n{}\n", args.join(" "), shown(&args).await));
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn wrong_command_lines_end_with_64() {
    let mut text = String::new();
    for args in [
        vec![],
        vec!["upp"],
        vec!["up", "--lisen", "x"],
        vec!["up", "--listen", "localhost"],
        vec!["up", "--listen", "0.0.0.0:4000"],
        vec!["up", "--auth", "trust"],
        vec!["up", "--auth", "header"],
        vec!["up", "-c", "/does/not/exist.yaml"],
        vec!["serve", "--auth", "none"],
        vec!["serve", "--auth", "local", "--listen", "0.0.0.0:4000"],
        vec!["serve", "--cluster", "kubeconfig:"],
        vec!["serve", "--cluster", "embedded"],
        vec!["up", "--log", "a=b=c"],
        vec!["rbac", "--bind", "a/b"],
        vec!["rbac", "--namespace", "Mine"],
        vec!["check"],
        vec!["files"],
        vec!["completions", "cobol"],
    ] {
        text.push_str(&format!("==== {}\n{}\n", args.join(" "), shown(&args).await));
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_wrong_configuration_is_reported_whole() {
    let program = program();
    let file = program.scratch().join("quartermaster.yaml");
    let path = file.to_str().unwrap();
    fs::write(&file, "listeners:\n  api: here\n  apps: there\nauth: {mode: trust}\nimage: []\n")
        .unwrap();
    for args in [vec!["check", "-c", path], vec!["up", "-c", path]] {
        let ended = program.run(&args).await;
        assert_eq!(ended.code, Some(64), "{ended:?}");
        for part in ["listeners.api", "listeners.apps", "trust", "unknown field `image`"] {
            assert!(ended.stderr.contains(part), "{part} is missing: {}", ended.stderr);
        }
    }
    fs::write(&file, "listeners:\n  api: 127.0.0.1:1\n").unwrap();
    let ended = program.run(&["check", "-c", path]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
}

#[tokio::test]
async fn open_says_when_nothing_runs() {
    let text = shown(&["open"]).await;
    assert!(text.starts_with("exit code 1\n"), "{text}");
    assert!(text.contains("is not running") && text.contains("hint: start it"), "{text}");
}

#[tokio::test]
async fn definitions_and_completions_go_to_standard_output() {
    let ended = program().run(&["crds"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for name in ["workspaces.kubeflow.org", "workspacekinds.kubeflow.org"] {
        assert!(ended.stdout.contains(&format!("  name: {name}\n")));
    }
    let ended = program().run(&["completions", "bash"]).await;
    assert!(ended.stdout.contains("_quartermaster"), "{}", ended.stderr);
}
