//! Start, stop, and everything that can be in the way of a start.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use quartermaster_e2e::{Program, skip};
use serde_json::json;

use crate::program;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Starts what cannot start, and gives what it says.
async fn refused(program: &Program) -> String {
    let ended = program.run(&program.up_args()).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended.stderr
}

#[tokio::test]
async fn it_says_where_it_is_and_takes_that_back() {
    let up = program().start().await;
    let dir = up.program().dir().to_owned();
    let file = dir.join("run/endpoints.json");
    assert_eq!((mode(&dir), mode(&file), mode(&dir.join("token"))), (0o700, 0o600, 0o600));
    for url in [&up.endpoints.api, &up.endpoints.apps, &up.endpoints.ops] {
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    }
    for probe in ["livez", "readyz"] {
        let url = format!("{}/{probe}", up.endpoints.ops.trim_end_matches('/'));
        assert_eq!(reqwest::get(url).await.unwrap().status(), 200, "{probe}");
    }
    assert_eq!(up.get("/healthcheck").await.expect(200).json()["status"], "Healthy");
    let names = up.get("/namespaces").await.expect(200).json();
    assert!(names["data"].as_array().unwrap().contains(&json!({"name": "default"})), "{names}");
    let classes = up.get("/storageclasses").await.expect(200).json();
    assert_eq!(
        (&classes["data"][0]["name"], &classes["data"][0]["canUse"]),
        (&json!("local"), &json!(true))
    );

    let fresh = up.program().run(&["open", "--data-dir", dir.to_str().unwrap()]).await;
    assert!(fresh.stdout.starts_with(&format!("{}/?ticket=", up.api_base())), "{fresh:?}");
    let (status, _program) = up.stop().await;
    assert!(status.success(), "{status}");
    assert!(!file.exists());
}

#[tokio::test]
async fn sample_kinds_are_installed_once() {
    let up = program().start().await;
    let kinds = async |up: &quartermaster_e2e::Up| {
        let list = up.get("/workspacekinds").await.expect(200).json();
        let names = list["data"].as_array().unwrap().iter().map(|kind| kind["name"].clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(kinds(&up).await, ["files", "jupyterlab"]);
    // What runs is paused by the rules of its owner only.
    let lab = up.get("/workspacekinds/jupyterlab").await.expect(200).json()["data"].clone();
    assert_eq!(lab["activityRules"], serde_json::Value::Null);
    assert!(lab["podTemplate"]["activityProbe"]["jupyter"].is_object(), "{lab}");
    up.delete("/workspacekinds/jupyterlab").await.expect(204);
    let (_, program) = up.stop().await;
    let up = program.start().await;
    assert_eq!(kinds(&up).await, ["files"], "a deleted sample stays deleted");
}

#[tokio::test]
async fn what_is_left_of_a_killed_server_is_replaced() {
    let up = program().start().await;
    let first = up.endpoints.clone();
    let program = up.kill().await;
    assert!(program.dir().join("run/endpoints.json").exists());
    let dir = program.dir().to_str().unwrap().to_owned();
    let ended = program.run(&["open", "--data-dir", &dir]).await;
    assert!(ended.stderr.contains("is not running"), "{ended:?}");
    let up = program.start().await;
    assert_ne!(up.endpoints.pid, first.pid);
    assert_eq!(up.endpoints.token, first.token, "scripts keep their token");
}

#[tokio::test]
async fn a_port_in_use_and_a_locked_directory_are_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = refused(&program().listen(&address)).await;
    assert!(
        text.contains(&address) && text.contains("in use") && text.contains("--listen"),
        "{text}"
    );

    let up = program().start().await;
    let text = refused(up.program()).await;
    assert!(text.contains("in use by process") && text.contains("quartermaster open"), "{text}");
    assert!(up.program().dir().join("run/endpoints.json").exists(), "the first one still runs");
}

#[tokio::test]
async fn a_store_that_is_none_is_left_alone() {
    for content in [b"not a database".repeat(1000), vec![0; 8192], Vec::from("x")] {
        let program = program();
        fs::create_dir(program.dir()).unwrap();
        fs::set_permissions(program.dir(), fs::Permissions::from_mode(0o700)).unwrap();
        let store = program.dir().join("store.redb");
        fs::write(&store, &content).unwrap();
        let text = refused(&program).await;
        assert!(text.contains("store.redb"), "{text}");
        assert!(fs::read(&store).unwrap() == content, "nothing was written into it");
    }
}

#[tokio::test]
async fn a_damaged_store_is_refused_not_served() {
    let (_, program) = program().start().await.stop().await;
    let store = program.dir().join("store.redb");
    let whole = fs::read(&store).unwrap();
    fs::write(&store, &whole[..whole.len() / 2]).unwrap();
    let text = refused(&program).await;
    assert!(text.contains("store.redb"), "{text}");
}

#[tokio::test]
async fn a_directory_without_rights_is_explained() {
    let program = program();
    let file = program.scratch().join("file");
    fs::write(&file, "").unwrap();
    let text = refused(&program.data_dir(file.join("data"))).await;
    assert!(text.contains("--data-dir"), "{text}");
    assert_eq!(text.matches("os error").count(), 1, "the cause is told once: {text}");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_loses_nothing() {
    let program = program();
    fs::create_dir(program.dir()).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"])
        .arg(program.dir())
        .output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        return skip("a_full_disk_refuses_writes_and_loses_nothing", "only root can mount a tmpfs");
    }
    let _mount = Mount(program.dir().to_owned());
    let up = program.start().await;
    fs::write(up.program().dir().join("ballast"), vec![0; 2 << 20]).unwrap();
    let _filled = fs::write(up.program().dir().join("more"), vec![0; 4 << 20]);
    let mut stored = Vec::new();
    let mut status = reqwest::StatusCode::OK;
    for number in 0..2000 {
        let name = format!("claim-{number}");
        let body = json!({"data": {
            "name": name, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
            "requests": {"storage": "1Gi"},
        }});
        let answer = up.post("/persistentvolumeclaims/default", body).await;
        if answer.status != 201 {
            status = answer.status;
            break;
        }
        stored.push(name);
    }
    assert!(status == 507 || status == 500, "a write on a full disk gave {status}");
    assert_eq!(up.get("/healthcheck").await.status, 200, "reads go on");

    fs::remove_file(up.program().dir().join("ballast")).unwrap();
    fs::remove_file(up.program().dir().join("more")).unwrap();
    let up = up.crash().await;
    let list = up.get("/persistentvolumeclaims/default").await.expect(200).json();
    let names: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect();
    for name in &stored {
        assert!(names.contains(&name.as_str()), "{name} was acknowledged and is lost");
    }
    assert_eq!(names.len(), stored.len(), "the refused one is not there");
    assert!(fs::metadata(up.program().dir()).unwrap().size() > 0);
}

/// Unmounts with the last value, whatever happened before.
struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _busy = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
