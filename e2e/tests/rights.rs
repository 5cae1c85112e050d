//! What `serve` may do: every missing permission is named once, and the printed roles are enough.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;

use quartermaster_e2e::{Api, Kube, LONG, Program, Site, binary, within};
use serde_json::{Value, json};

const ACCOUNT: &str = "story";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// The roles that the program prints, as objects.
async fn printed() -> Vec<Value> {
    let args = ["rbac", "--namespace", "default", "--service-account", ACCOUNT];
    let ended = Program::new(binary()).run(&args).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let documents = ended.stdout.split("---\n").filter(|text| !text.trim().is_empty());
    documents.map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

/// Every permission of the roles, in the words of the start-up message.
fn wanted(roles: &[Value]) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    for role in roles {
        let namespace = match role["kind"].as_str() {
            Some("Role") => " in namespace default",
            Some("ClusterRole") => "",
            _ => continue,
        };
        for rule in role["rules"].as_array().unwrap() {
            let texts = |key: &str| -> Vec<&str> {
                rule[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
            };
            for (resource, verb) in texts("resources")
                .into_iter()
                .flat_map(|resource| texts("verbs").into_iter().map(move |verb| (resource, verb)))
            {
                let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
                let sub = if sub.is_empty() { String::new() } else { format!("/{sub}") };
                let group = match texts("apiGroups")[0] {
                    "" => String::new(),
                    group => format!(".{group}"),
                };
                wanted.insert(format!("{verb} {resource}{group}{sub}{namespace}"));
            }
        }
    }
    wanted
}

fn collection(role: &Value) -> String {
    match role["kind"].as_str().unwrap() {
        "ClusterRole" => format!("{RBAC}/clusterroles"),
        "ClusterRoleBinding" => format!("{RBAC}/clusterrolebindings"),
        "Role" => format!("{RBAC}/namespaces/default/roles"),
        "RoleBinding" => format!("{RBAC}/namespaces/default/rolebindings"),
        other => unreachable!("{other} is no role"),
    }
}

async fn remove(kube: &Kube, roles: &[Value]) {
    for role in roles {
        kube.delete(&format!("{}/quartermaster", collection(role))).await;
    }
}

/// What `serve` prints that is missing for this user: required, and with a warning.
async fn missing(api: &Api, user: &str) -> (Vec<String>, String) {
    let kubeconfig = api.acting_as(user);
    let program = Program::new(binary()).env("KUBECONFIG", kubeconfig.to_str().unwrap());
    let args = ["serve", "--cluster", "kubeconfig", "--listen", "127.0.0.1:0"];
    let ended = program.run(&args).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("Missing permissions"), "{ended:?}");
    assert!(ended.stderr.contains("hint: `quartermaster rbac`"), "{ended:?}");
    let lines = ended.stderr.lines();
    let required = lines.filter_map(|line| line.strip_prefix("  ").map(str::to_owned));
    (required.collect(), ended.stderr)
}

#[tokio::test]
async fn every_missing_permission_is_named_once_and_the_roles_are_enough() {
    let site = Site::of_this_run();
    let api = site.api(Program::new(binary())).await;
    let kube = api.kube();
    let roles = printed().await;
    remove(&kube, &roles).await;
    let user = format!("system:serviceaccount:default:{ACCOUNT}");

    // Nobody's rights: all of them are missing.
    let (required, text) = missing(&api, &user).await;
    let optional = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("warning: not allowed to ")?;
        Some(rest.split_once(": ").unwrap().0.to_owned())
    });
    let named: Vec<String> = required.into_iter().chain(optional).collect();
    let once: BTreeSet<String> = named.iter().cloned().collect();
    assert_eq!(named.len(), once.len(), "named twice: {named:?}");
    assert_eq!(once, wanted(&roles));

    // All but two.
    for role in &roles {
        let mut role = role.clone();
        if role["kind"] == "ClusterRole" {
            for rule in role["rules"].as_array_mut().unwrap() {
                let resources = rule["resources"].as_array_mut().unwrap();
                resources.retain(|resource| resource != "statefulsets" && resource != "pods/log");
            }
            let rules = role["rules"].as_array_mut().unwrap();
            rules.retain(|rule| !rule["resources"].as_array().unwrap().is_empty());
        }
        kube.create(&collection(&role), &role).await;
    }
    let (required, _) = missing(&api, &user).await;
    let verbs = ["create", "get", "list", "update", "watch"];
    let mut wanted: Vec<String> =
        verbs.iter().map(|verb| format!("{verb} statefulsets.apps")).collect();
    wanted.push("get pods/log".to_owned());
    assert_eq!(required.into_iter().collect::<BTreeSet<_>>(), wanted.into_iter().collect());

    // All of them: it starts and does its work, and nothing is forbidden on the way.
    remove(&kube, &roles).await;
    for role in &roles {
        kube.create(&collection(role), role).await;
    }
    let kubeconfig = api.acting_as(&user);
    let program = Program::new(binary()).env("KUBECONFIG", kubeconfig.to_str().unwrap());
    let up = program.serve("kubeconfig").arg("--log").arg("info").start().await;
    up.create_kind(&site.files_kind("rights")).await.expect(201);
    up.create_workspace("rights-box", "rights").await;
    up.wait_for_state("rights-box", "Running", LONG).await;
    let path = "/workspaces/default/rights-box/podtemplate";
    up.get(&format!("{path}/logs/batch")).await.expect(200);
    up.get(&format!("{path}/details")).await.expect(200);
    up.pause("rights-box", true).await.expect(200);
    up.wait_for_state("rights-box", "Paused", LONG).await;
    up.delete("/workspaces/default/rights-box").await.expect(204);
    let gone = async || up.workspace("rights-box").await.is_none().then_some(());
    within(LONG, "it is gone", gone).await;
    up.delete("/persistentvolumeclaims/default/rights-box-home").await.expect(204);
    within(LONG, "the kind goes", async || {
        let status = up.delete("/workspacekinds/rights").await.status;
        (status == 404).then_some(())
    })
    .await;
    let printed = up.printed();
    assert!(!printed.to_lowercase().contains("forbidden"), "{printed}");
    let (status, _) = up.stop().await;
    assert!(status.success());
    let lease = kube.get("/apis/coordination.k8s.io/v1/namespaces/default/leases/quartermaster");
    let lease = lease.await.expect(200).json();
    assert_eq!(lease["spec"]["holderIdentity"], json!(null), "given back: {lease}");
    remove(&kube, &roles).await;
}
