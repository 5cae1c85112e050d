//! Every call of every path fails once: before it is done, with its answer lost, against a newer
//! version, or because the API is busy. Whatever fails, the same objects stand at the end.

use cluster::{Key, controller::Outcome};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::ApiResource,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    super::{
        GatewayApi, Istio, Options, kind,
        routes::{http_routes, virtual_services},
    },
    kit::{DEADLINE, Fault, NAMESPACE, World},
};
use crate::model::{Workspace, WorkspaceKind, fixtures};

/// More calls than a pass has.
const CALLS: usize = 60;
/// More passes than making good takes.
const PASSES: usize = 12;

/// What happens to a workspace that is there, or to its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// It is new.
    Create,
    /// Its kind has another template, other ports and other roles.
    Update,
    /// It is paused.
    Pause,
    /// Its generated names belong to others.
    Taken,
    /// Its kind is gone.
    Kindless,
}

fn options() -> Options {
    Options {
        connect_secret: true,
        istio: Some(Istio::default()),
        gateway_api: Some(GatewayApi { gateway: "edge/front".to_owned(), ..Default::default() }),
        now: || 1_000,
        ..Options::default()
    }
}

/// A kind and a workspace of their own for each call that fails.
struct Subject<'a> {
    world: &'a World,
    name: String,
}

impl Subject<'_> {
    fn kinds(&self) -> Api<WorkspaceKind> {
        Api::all(self.world.client.clone())
    }

    async fn make_kind(&self) {
        let mut kind = fixtures::kind();
        kind.metadata.name = Some(self.name.clone());
        let roles = json!({"clusterRoles": [{"name": "view"}, {"name": "edit"}]});
        kind.spec.pod_template.service_account = serde_json::from_value(roles).unwrap();
        let made = self.kinds().create(&PostParams::default(), &kind).await.unwrap();
        self.seen(&made).await;
    }

    async fn change_kind(&self, patch: Value) {
        let patch = Patch::Merge(patch);
        let kind = self.kinds().patch(&self.name, &PatchParams::default(), &patch).await.unwrap();
        self.seen(&kind).await;
    }

    async fn seen(&self, kind: &WorkspaceKind) {
        let version = kind.resource_version().unwrap();
        let cache = &self.world.context.caches.kinds;
        assert!(cache.wait_for_version(&Key::of(&kind.metadata), &version, DEADLINE).await);
    }

    async fn make_workspace(&self) {
        let mut workspace = fixtures::workspace(&self.name);
        workspace.spec.kind.clone_from(&self.name);
        self.world.create(workspace).await;
    }

    async fn reconcile(&self) -> Outcome {
        self.world.reconcile(&self.name).await
    }

    /// Reconciles until there is nothing left to do.
    async fn settle(&self) {
        for _ in 0..PASSES {
            if self.reconcile().await == Outcome::Done {
                return;
            }
        }
        panic!("{} does not settle: {:?}", self.name, self.world.told(&self.name).await);
    }

    /// Brings about what the path begins with.
    async fn prepare(&self, path: Path) {
        self.make_kind().await;
        if path == Path::Create {
            return self.make_workspace().await;
        }
        if path == Path::Taken {
            self.make_workspace().await;
            return self.take_names().await;
        }
        self.make_workspace().await;
        self.settle().await;
        match path {
            Path::Update => {
                self.change_kind(json!({"spec": {"podTemplate": {
                    "probes": null,
                    "serviceAccount": {"clusterRoles": [{"name": "view"}, {"name": "admin"}]},
                    "ports": [{"id": "web", "protocol": "HTTP", "defaultDisplayName": "Notebook",
                        "httpProxy": {"removePathPrefix": true}}],
                    "options": {"imageConfig": {"values": [{
                        "id": "img-2", "spawner": {"displayName": "Image 2"},
                        "spec": {"image": "i:3", "ports": [{"id": "web", "port": 9999}]},
                    }]}},
                }}}))
                .await;
            }
            Path::Pause => {
                self.world.patch(&self.name, json!({"spec": {"paused": true}})).await;
            }
            Path::Kindless => {
                self.change_kind(json!({"metadata": {"finalizers": null}})).await;
                self.kinds().delete(&self.name, &Default::default()).await.unwrap();
                let key = Key::new(None, &self.name);
                let kinds = &self.world.context.caches.kinds;
                assert!(kinds.wait_for(&key, DEADLINE, |kind| kind.is_none()).await);
            }
            Path::Create | Path::Taken => {}
        }
    }

    /// Somebody else has the first names of Service and VirtualService.
    async fn take_names(&self) {
        use crate::decide::naming;
        let uid = self.world.workspace(&self.name).await.metadata.uid.unwrap();
        let service = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
        for (resource, name, spec) in [
            (service, naming::service(&self.name, &uid, 0), json!({"ports": [{"port": 1}]})),
            (virtual_services(), naming::virtual_service(&self.name, &uid, 0), json!({})),
        ] {
            let api = cluster::apply::api(&self.world.client, &resource, NAMESPACE);
            let theirs = json!({
                "apiVersion": resource.api_version, "kind": resource.kind,
                "metadata": {"name": name}, "spec": spec,
            });
            api.create(&PostParams::default(), &theirs.into()).await.unwrap();
        }
    }

    /// All that the workspace owns and what it says of itself, without what differs from run to
    /// run.
    async fn picture(&self) -> String {
        use k8s_openapi::api::{
            apps::v1::StatefulSet,
            core::v1::{Secret, Service, ServiceAccount},
            rbac::v1::RoleBinding,
        };
        let uid = self.world.workspace(&self.name).await.metadata.uid.unwrap();
        let mut all = Vec::new();
        let mut names = Vec::new();
        for resource in [
            ApiResource::erase::<ServiceAccount>(&()),
            ApiResource::erase::<Secret>(&()),
            ApiResource::erase::<StatefulSet>(&()),
            ApiResource::erase::<Service>(&()),
            ApiResource::erase::<RoleBinding>(&()),
            virtual_services(),
            http_routes(),
        ] {
            let mut owned = self.world.all_of(&resource).await;
            owned.retain(|object| object.controller_uid() == Some(&uid));
            for object in owned {
                names.push(object.text("/metadata/name").to_owned());
                let value = object.value();
                let role = &value["roleRef"]["name"];
                all.push(json!({
                    "kind": resource.kind, "labels": value["metadata"]["labels"],
                    "replicas": value["spec"]["replicas"],
                    "template": value["spec"]["template"], "ports": value["spec"]["ports"],
                    "http": value["spec"]["http"], "rules": value["spec"]["rules"],
                    "role": role, "subjects": value["subjects"],
                }));
            }
        }
        all.sort_by_key(|one| format!("{}{}", one["kind"], one["role"]));
        let status = self.world.workspace(&self.name).await.status;
        let mut text = json!({"objects": all, "status": status}).to_string();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        for name in names.iter().filter(|name| !name.ends_with(&self.name)) {
            // Generated ends are made of chance.
            text = text.replace(name.as_str(), "[generated]");
        }
        text.replace(&self.name, "[name]")
    }
}

#[rstest]
#[tokio::test]
async fn a_call_that_fails_is_made_good(
    #[values(Path::Create, Path::Update, Path::Pause, Path::Taken, Path::Kindless)] path: Path,
    #[values(Fault::Before, Fault::After, Fault::Conflict, Fault::Busy, Fault::Cut)] fault: Fault,
) {
    let kinds = [virtual_services(), http_routes()];
    let Some(world) = World::failing(fault, options(), &kinds).await else { return };
    let subject = |name: &str| Subject { world: &world, name: name.to_owned() };
    let faultless = subject("faultless");
    faultless.prepare(path).await;
    faultless.settle().await;
    let wanted = faultless.picture().await;

    let mut calls = 0;
    loop {
        let subject = subject(&format!("call-{calls}"));
        subject.prepare(path).await;
        world.wire.fail(calls, fault);
        let first = subject.reconcile().await;
        let failed = world.wire.has_failed();
        // Whoever looks in between is told the truth: nothing runs that does not.
        assert_ne!(world.told(&subject.name).await.0, "Running");
        subject.settle().await;
        assert_eq!(subject.picture().await, wanted, "{path:?} {fault:?} {calls} {first:?}");
        // Each step twice: nothing is left to do.
        world.wire.writes();
        assert_eq!(subject.reconcile().await, Outcome::Done);
        assert_eq!(world.wire.writes(), [""; 0], "{path:?} {fault:?} {calls}");
        if !failed {
            break;
        }
        calls += 1;
        assert!(calls < CALLS, "more calls than a pass has");
    }
    // A path that calls nothing would prove nothing.
    let least = match path {
        Path::Create => 10,
        Path::Taken => 12,
        Path::Update => 10,
        Path::Pause => 3,
        Path::Kindless => 1,
    };
    assert!(calls >= least, "only {calls} calls");
}

#[rstest]
#[tokio::test]
async fn a_call_about_a_kind_that_fails_is_made_good(
    #[values(Fault::Before, Fault::After, Fault::Conflict, Fault::Busy, Fault::Cut)] fault: Fault,
) {
    let Some(world) = World::failing(fault, options(), &[]).await else { return };
    let mut failures = 0;
    for calls in 0..CALLS {
        let subject = Subject { world: &world, name: format!("call-{calls}") };
        subject.make_kind().await;
        subject.make_workspace().await;
        let key = Key::new(None, &subject.name);
        world.wire.fail(calls, fault);
        let mut outcome = kind::reconcile(&world.context, &key).await;
        let failed = world.wire.has_failed();
        failures += usize::from(failed);
        for _ in 0..PASSES {
            if outcome == Outcome::Done {
                break;
            }
            outcome = kind::reconcile(&world.context, &key).await;
        }
        assert_eq!(outcome, Outcome::Done);
        let kind = subject.kinds().get(&subject.name).await.unwrap();
        assert_eq!(kind.status.map(|status| status.workspaces), Some(1), "{calls}");
        assert_eq!(kind.metadata.finalizers.unwrap_or_default().len(), 1, "{calls}");
        world.wire.writes();
        kind::reconcile(&world.context, &key).await;
        assert_eq!(world.wire.writes(), [""; 0], "{calls}");
        if !failed {
            break;
        }
    }
    assert_eq!(failures, 2, "finalizer and status");
}

#[tokio::test]
async fn an_event_that_is_not_taken_is_no_failure() {
    let world = World::new().await;
    let mut workspace = fixtures::workspace("lab");
    workspace.spec.kind = "nope".into();
    world.create(workspace).await;
    // The status is the first call, the event the second.
    world.wire.fail(1, Fault::Before);
    assert_eq!(world.reconcile("lab").await, Outcome::Done);
    assert!(world.wire.has_failed());
    assert_eq!(world.told("lab").await.0, "Error");
}

/// The name of an event has to fit, and so has its message.
#[tokio::test]
async fn events_of_long_names_and_messages_are_taken() {
    let world = World::new().await;
    let name = "a".repeat(250);
    let mut workspace: Workspace = fixtures::workspace(&name);
    workspace.spec.pod_template.options.image_config = "ü".repeat(256);
    let mut kind = fixtures::kind();
    kind.metadata.name = Some("k".repeat(253));
    let kinds: Api<WorkspaceKind> = Api::all(world.client.clone());
    kinds.create(&PostParams::default(), &kind).await.unwrap();
    workspace.spec.kind = "k".repeat(253);
    let key = Key::new(None, &workspace.spec.kind);
    world.context.caches.kinds.wait_for(&key, DEADLINE, |kind| kind.is_some()).await;
    world.create(workspace).await;
    world.reconcile(&name).await;
    assert_eq!(world.told(&name).await.0, "Error");
    let event = world.only::<k8s_openapi::api::core::v1::Event>().await;
    assert!(event.text("/message").starts_with("Workspace has invalid imageConfig"));
}
