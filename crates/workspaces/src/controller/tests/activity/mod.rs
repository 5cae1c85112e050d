//! Idle workspaces: probed, warned, paused. The time is the test's own; Jupyter is played.

mod jupyter;

use std::{cell::Cell, time::Duration};

use cluster::{Key, controller::Outcome};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Event, Namespace, Pod, Service, ServiceAccount},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use prometheus_client::{encoding::text, registry::Registry};
use rstest::rstest;
use serde_json::{Value, json};

use self::jupyter::{Jupyter, Says};
use super::{
    super::{OUTDATED_AGAIN, Options, activity, run},
    kit::{DEADLINE, Fault, NAMESPACE, World, until},
};
use crate::{
    Caches,
    model::{Activity, ProbeResult, Workspace, WorkspaceKind, annotation, fixtures},
};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// More writes than the way to a pause has.
const TRIES: usize = 24;
/// When the tests begin.
const START: i64 = 1_790_000_000_000;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(START) };
    static UPTIME: Cell<i64> = const { Cell::new(0) };
}

fn now() -> i64 {
    NOW.get()
}

/// Time passes.
fn pass(millis: i64) {
    UPTIME.set(UPTIME.get() + millis);
    jump(millis);
}

/// The clock is set.
fn jump(millis: i64) {
    NOW.set(NOW.get() + millis);
}

/// A running workspace `lab` of a kind that asks Jupyter every hour.
struct Lab {
    world: World,
    jupyter: Jupyter,
}

fn options() -> Options {
    let activity = activity::Options {
        // Nobody waits for it, however slow the machine is, but the test in which nobody answers.
        jupyter_timeout: DEADLINE,
        uptime: || UPTIME.get(),
        ..activity::Options::default()
    };
    Options { now, activity, ..Options::default() }
}

fn rule(seconds: i32) -> Value {
    json!([{"config": {"secondsSinceActive": seconds}, "effect": {"pauseWorkspace": true}}])
}

impl Lab {
    async fn new(rules: Value) -> Self {
        Self::on(World::with(options()).await, rules).await
    }

    async fn on(world: World, rules: Value) -> Self {
        let jupyter = Jupyter::start().await;
        let probe = json!({"jupyter": {"lastActivity": true, "portId": "web"}});
        let lab = Self { world, jupyter };
        lab.change_kind(probe, rules).await;
        lab.world.create(fixtures::workspace("lab")).await;
        lab.run().await;
        lab
    }

    /// Makes the workspace anew, as if there had been none: cheaper than a new cluster.
    async fn start_over(&self) {
        let (world, context) = (&self.world, &self.world.context);
        world.delete::<Workspace>("lab").await;
        // Some clusters are slow to collect.
        world.delete_all::<Pod>().await;
        world.delete_all::<StatefulSet>().await;
        world.delete_all::<Service>().await;
        world.delete_all::<ServiceAccount>().await;
        until("nothing is left", || async {
            context.caches.workspaces.is_empty()
                && context.caches.pods.list(Some(NAMESPACE)).is_empty()
                && context.children.all().all(|children| children.is_empty())
        })
        .await;
        // It forgets one that is gone.
        world.reconcile("lab").await;
        world.create(fixtures::workspace("lab")).await;
        self.run().await;
    }

    async fn change_kind(&self, probe: Value, rules: Value) {
        let mut kind = fixtures::kind();
        let options = &mut kind.spec.pod_template.options;
        for image in &mut options.image_config.values {
            image.spec.ports[0].port = i32::from(self.jupyter.address.port());
        }
        let images = json!(options.image_config);
        let patch = json!({"spec": {"activityRules": rules, "podTemplate": {
            "activityProbe": probe, "options": {"imageConfig": images}},
        }});
        let api = Api::<WorkspaceKind>::all(self.world.client.clone());
        let patch = Patch::Merge(patch);
        let kind = api.patch("notebook", &PatchParams::default(), &patch).await.unwrap();
        let (key, version) = (Key::of(&kind.metadata), kind.resource_version().unwrap());
        let kinds = &self.world.context.caches.kinds;
        assert!(kinds.wait_for_version(&key, &version, DEADLINE).await);
    }

    /// Plays StatefulSet and kubelet.
    async fn run(&self) {
        self.world.reconcile("lab").await;
        let set = self.world.observe_stateful_set().await;
        let ready = json!({
            "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        });
        self.world.pod(&set, ready).await;
    }

    /// Passes until there is nothing to do but wait; how long.
    async fn settle(&self) -> Option<Duration> {
        let key = Key::new(Some(NAMESPACE), "lab");
        for _ in 0..20 {
            let outcome = self.world.reconcile("lab").await;
            let watch = &self.world.context.activity;
            if watch.is_busy(&key) {
                until("the probe ends", || async { !watch.is_probing(&key) }).await;
                continue;
            }
            match outcome {
                Outcome::Done => return None,
                OUTDATED_AGAIN => {}
                // Any time: probes are spread by uids, so that some wait for less than a second.
                Outcome::After(wait) => return Some(wait),
                Outcome::Later | Outcome::Retry => {}
            }
        }
        panic!("it never comes to rest");
    }

    async fn workspace(&self) -> Workspace {
        self.world.workspace("lab").await
    }

    async fn activity(&self) -> Activity {
        self.workspace().await.status.unwrap().activity
    }

    async fn is_paused(&self) -> bool {
        self.workspace().await.spec.paused
    }

    async fn last(&self) -> (ProbeResult, String) {
        let probe = self.activity().await.last_probe.unwrap();
        (probe.result, probe.message)
    }

    async fn eligible(&self) -> Option<i64> {
        let rules = self.activity().await.rules?;
        Some(rules.pause_workspace?.eligible_after)
    }

    async fn events(&self) -> Vec<String> {
        let events = self.world.all::<Event>().await;
        let about = events.iter().filter(|event| event.text("/involvedObject/kind") == "Workspace");
        let mut reasons: Vec<_> = about.map(|event| event.text("/reason").to_owned()).collect();
        reasons.sort();
        reasons
    }
}

#[tokio::test]
async fn activity_is_told_and_a_settled_workspace_writes_nothing() {
    let lab = Lab::new(rule(7200)).await;
    lab.jupyter.says(Says::active(START - MINUTE));
    let wait = lab.settle().await.unwrap();
    assert!(wait >= Duration::from_secs(3600) && wait < Duration::from_secs(3800), "{wait:?}");
    let activity = lab.activity().await;
    assert_eq!((activity.last_activity, activity.last_update), (START - MINUTE, START));
    let eligible = START - MINUTE + 2 * HOUR;
    assert_eq!(lab.eligible().await, Some(eligible));
    let pause = activity.rules.unwrap().pause_workspace.unwrap();
    assert_eq!(pause.warn_after, Some(eligible - 10 * MINUTE));
    let success = (ProbeResult::Success, "Jupyter probe succeeded".to_owned());
    assert_eq!(lab.last().await, success);
    let asked = lab.jupyter.asked();
    assert_eq!(asked, ["GET /workspace/connect/team-a/lab/web/api/status"]);

    lab.world.wire.writes();
    pass(10 * MINUTE);
    assert_eq!(lab.settle().await.unwrap(), wait - Duration::from_secs(600));
    assert_eq!(lab.world.wire.writes(), [""; 0]);
    assert_eq!(lab.jupyter.asked(), [""; 0]);
}

#[tokio::test]
async fn an_idle_workspace_is_warned_and_paused() {
    let lab = Lab::new(rule(7200)).await;
    lab.jupyter.says(Says::active(START));
    lab.settle().await;
    pass(HOUR + 4 * MINUTE);
    lab.settle().await;
    assert_eq!(lab.world.told("lab").await.1, "Workspace is running");
    // The next probe comes with the warning, ten minutes before the pause.
    pass(46 * MINUTE);
    assert_eq!(lab.settle().await, Some(Duration::from_secs(600)));
    let (state, message) = lab.world.told("lab").await;
    assert_eq!(state, "Running");
    assert!(message.contains("will be paused at"), "{message}");
    assert!(lab.events().await.contains(&"PauseSoon".to_owned()));
    lab.world.wire.writes();
    pass(5 * MINUTE);
    lab.settle().await;
    assert_eq!(lab.world.wire.writes(), [""; 0], "told once");

    pass(5 * MINUTE);
    lab.settle().await;
    assert!(lab.is_paused().await);
    assert_eq!(lab.events().await, ["IdlePaused", "PauseSoon", "Running"]);
    lab.settle().await;
    assert_eq!(lab.only_replicas().await, 0);
}

impl Lab {
    async fn only_replicas(&self) -> i64 {
        self.world.only::<StatefulSet>().await.value()["spec"]["replicas"].as_i64().unwrap()
    }
}

#[tokio::test]
async fn probes_and_pauses_are_counted() {
    let lab = Lab::new(rule(7200)).await;
    let mut registry = Registry::default();
    lab.world.context.options.metrics.register(&mut registry);
    let counts = || {
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        let counts = page.lines().filter(|line| {
            line.starts_with("controller_activity_probes_total")
                || line.starts_with("controller_idle_pauses_total")
                || line.starts_with("controller_writes_total{kind=\"Workspace\",verb=\"patch\"}")
        });
        let mut counts: Vec<_> = counts.map(str::to_owned).collect();
        counts.sort();
        counts
    };
    assert_eq!(counts(), ["controller_idle_pauses_total 0"]);
    lab.jupyter.says(Says::active(START));
    lab.settle().await;
    lab.jupyter.says(Says { status: 500, ..Says::active(1) });
    pass(2 * HOUR);
    lab.settle().await;
    lab.jupyter.says(Says::active(START));
    pass(300 * SECOND);
    lab.settle().await;
    assert!(lab.is_paused().await);
    assert_eq!(
        counts(),
        [
            "controller_activity_probes_total{probe=\"Jupyter\",result=\"Failure\"} 1",
            "controller_activity_probes_total{probe=\"Jupyter\",result=\"Success\"} 2",
            "controller_idle_pauses_total 1",
            "controller_writes_total{kind=\"Workspace\",verb=\"patch\"} 1",
        ]
    );
}

#[tokio::test]
async fn use_withdraws_the_warning() {
    let lab = Lab::new(rule(7200)).await;
    lab.jupyter.says(Says::active(START - 115 * MINUTE));
    lab.settle().await;
    assert!(lab.world.told("lab").await.1.contains("will be paused at"));
    pass(5 * MINUTE);
    lab.jupyter.says(Says::active(now()));
    lab.settle().await;
    assert_eq!(lab.world.told("lab").await.1, "Workspace is running");
    assert_eq!(lab.eligible().await, Some(now() + 2 * HOUR));
    assert!(!lab.is_paused().await);
}

#[tokio::test]
async fn a_busy_kernel_is_activity() {
    let lab = Lab::new(rule(7200)).await;
    lab.jupyter.says(Says { kernels: vec!["idle", "busy"], ..Says::active(START - 24 * HOUR) });
    lab.settle().await;
    assert!(!lab.is_paused().await);
    assert_eq!(lab.activity().await.last_activity, START);
    pass(2 * HOUR);
    lab.jupyter.says(Says { kernels: vec!["idle"], ..Says::active(START - 24 * HOUR) });
    lab.settle().await;
    assert!(lab.is_paused().await);
}

#[rstest]
#[case::status(Says { status: 500, ..Says::active(1) }, "status 500")]
#[case::redirect(Says { status: 302, ..Says::active(1) }, "status 302")]
#[case::other_body(Says { body: Some("<html>".into()), ..Says::active(1) }, "bad body")]
#[case::bad_time(Says { body: Some(r#"{"last_activity": "x"}"#.into()), ..Says::active(1) }, "RFC 3339")]
#[case::large(Says { body: Some(" ".repeat((1 << 20) + 1)), ..Says::active(1) }, "length limit")]
#[case::no_answer(Says { silent: true, ..Says::active(1) }, "timeout after 500ms")]
#[tokio::test]
async fn a_probe_that_fails_pauses_nobody(#[case] says: Says, #[case] why: &str) {
    let mut lab = Lab::new(rule(7200)).await;
    lab.jupyter.says(Says::active(START));
    lab.settle().await;
    if says.silent {
        lab.world.context.options.activity.jupyter_timeout = Duration::from_millis(500);
    }
    lab.jupyter.says(says);
    pass(24 * HOUR);
    let wait = lab.settle().await;
    assert_eq!(wait, Some(Duration::from_secs(300)), "tried again soon");
    let (result, message) = lab.last().await;
    assert_ne!(result, ProbeResult::Success);
    assert!(message.starts_with("Jupyter probe failed: ") && message.contains(why), "{message}");
    let activity = lab.activity().await;
    assert_eq!((activity.last_activity, activity.last_update), (START, START), "kept");
    assert!(!lab.is_paused().await);
    let told = lab.world.told("lab").await.1;
    assert!(told.contains("not paused while its activity probe fails"), "{told}");
    assert_eq!(lab.events().await, ["ActivityProbeFailed", "ActivityUnknown", "Running"]);

    // As soon as it can be known, it is.
    lab.jupyter.says(Says::active(START));
    pass(300 * SECOND);
    lab.settle().await;
    assert!(lab.is_paused().await);
}

#[tokio::test]
async fn a_port_that_the_image_has_not_is_a_failure() {
    let lab = Lab::new(rule(7200)).await;
    let probe = json!({"jupyter": {"lastActivity": true, "portId": "api"}});
    lab.change_kind(probe, rule(7200)).await;
    lab.settle().await;
    assert_eq!(lab.last().await.1, "Jupyter probe failed: the image has no port \"api\"");
}

#[tokio::test]
async fn a_request_to_keep_it_is_heeded() {
    let lab = Lab::new(rule(7200)).await;
    lab.jupyter.says(Says::active(START - 115 * MINUTE));
    lab.settle().await;
    pass(4 * MINUTE);
    let asked = jiff::Timestamp::from_millisecond(now()).unwrap().to_string();
    let annotations = json!({"metadata": {"annotations": {annotation::KEEP_ALIVE: asked}}});
    lab.world.patch("lab", annotations).await;
    lab.settle().await;
    assert_eq!(lab.eligible().await, Some(now() + 2 * HOUR));
    assert_eq!(lab.world.told("lab").await.1, "Workspace is running");
    pass(HOUR);
    lab.settle().await;
    assert!(!lab.is_paused().await);
    pass(HOUR);
    lab.settle().await;
    assert!(lab.is_paused().await);
}

#[tokio::test]
async fn a_change_during_the_last_probe_holds_the_pause_up() {
    let lab = Lab::new(rule(7200)).await;
    lab.jupyter.says(Says::active(START - 3 * HOUR));
    lab.world.reconcile("lab").await;
    let key = Key::new(Some(NAMESPACE), "lab");
    let watch = &lab.world.context.activity;
    until("the probe ends", || async { !watch.is_probing(&key) }).await;
    // The status of this pass and the annotation exclude each other.
    let asked = jiff::Timestamp::from_millisecond(now()).unwrap().to_string();
    let annotations = json!({"metadata": {"annotations": {annotation::KEEP_ALIVE: asked}}});
    let patch = Patch::Merge(annotations);
    let api = lab.world.api::<Workspace>();
    api.patch("lab", &PatchParams::default(), &patch).await.unwrap();
    lab.settle().await;
    assert!(!lab.is_paused().await);
    assert_eq!(lab.eligible().await, Some(START + 2 * HOUR));
}

#[rstest]
#[case::forward(24 * HOUR)]
#[case::back(-24 * HOUR)]
#[tokio::test]
async fn a_clock_that_jumps_pauses_nobody(#[case] millis: i64) {
    let lab = Lab::new(rule(7200)).await;
    lab.jupyter.says(Says::active(START));
    lab.settle().await;
    pass(MINUTE);
    lab.settle().await;
    jump(millis);
    lab.settle().await;
    assert!(!lab.is_paused().await);
    let probe = lab.activity().await.last_probe.unwrap();
    assert_eq!(probe.start_time, now(), "asked at once");
    // From then on two hours without use are two hours.
    lab.jupyter.says(Says::active(now()));
    for _ in 0..5 {
        pass(30 * MINUTE);
        lab.settle().await;
    }
    assert!(lab.is_paused().await);
}

#[tokio::test]
async fn the_rules_look_at_the_namespace() {
    let exempt = json!([
        {"config": {"secondsSinceActive": 16}, "effect": {"pauseWorkspace": false},
         "match": {"matchNamespace": {"selector": {"matchLabels": {"tier": "gold"}}}}},
        {"config": {"secondsSinceActive": 7200, "minRunningSeconds": 60},
         "effect": {"pauseWorkspace": true}},
    ]);
    let lab = Lab::new(exempt).await;
    let label = async |tier: Value| {
        let api = Api::<Namespace>::all(lab.world.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": {"tier": tier}}}));
        let namespace = api.patch(NAMESPACE, &PatchParams::default(), &patch).await.unwrap();
        let version = namespace.resource_version().unwrap();
        let namespaces = &lab.world.context.caches.namespaces;
        let key = Key::of(&namespace.metadata);
        assert!(namespaces.wait_for_version(&key, &version, DEADLINE).await);
    };
    label(json!("gold")).await;
    lab.jupyter.says(Says::active(START - 24 * HOUR));
    lab.settle().await;
    assert_eq!((lab.eligible().await, lab.is_paused().await), (None, false));
    label(Value::Null).await;
    pass(HOUR + 10 * MINUTE);
    lab.settle().await;
    assert!(lab.is_paused().await);
}

#[tokio::test]
async fn a_workspace_that_has_just_started_is_not_paused() {
    let rules = json!([{"config": {"secondsSinceActive": 20, "minRunningSeconds": 600},
                        "effect": {"pauseWorkspace": true}}]);
    let lab = Lab::new(rules).await;
    lab.jupyter.says(Says::active(START - HOUR));
    lab.settle().await;
    assert!(!lab.is_paused().await);
    pass(600 * SECOND);
    lab.settle().await;
    assert!(lab.is_paused().await);
}

#[tokio::test]
async fn kinds_without_a_probe_or_rules_are_left_alone() {
    let lab = Lab::new(json!([])).await;
    lab.jupyter.says(Says::active(START - 24 * HOUR));
    lab.settle().await;
    assert_eq!((lab.eligible().await, lab.is_paused().await), (None, false));
    lab.change_kind(Value::Null, json!([])).await;
    lab.jupyter.asked();
    pass(24 * HOUR);
    assert_eq!(lab.settle().await, None);
    assert_eq!(lab.jupyter.asked(), [""; 0]);
}

#[rstest]
#[tokio::test]
async fn a_failed_write_is_made_good(#[values(Fault::Before, Fault::After)] fault: Fault) {
    let Some(world) = World::failing(fault, options(), &[]).await else { return };
    let lab = Lab::on(world, rule(7200)).await;
    let mut failures = 0;
    for nth in 0..TRIES {
        if nth > 0 {
            lab.start_over().await;
        }
        lab.jupyter.says(Says::active(now() - 24 * HOUR));
        lab.world.wire.fail(nth, fault);
        lab.settle().await;
        // A pause that failed is made with the news of the next probe.
        for _ in 0..3 {
            pass(10 * MINUTE);
            lab.settle().await;
        }
        let failed = lab.world.wire.has_failed();
        failures += usize::from(failed);
        assert!(lab.is_paused().await, "{nth}");
        lab.world.wire.writes();
        lab.settle().await;
        assert_eq!(lab.world.wire.writes(), [""; 0], "{nth}");
        if !failed {
            break;
        }
    }
    assert!((4..TRIES).contains(&failures), "{failures}");
}

#[tokio::test]
async fn the_end_of_a_probe_wakes_its_workspace() {
    let lab = Lab::new(rule(7200)).await;
    lab.jupyter.says(Says::active(START - 24 * HOUR));
    let world = &lab.world;
    let stop = tokio_util::sync::CancellationToken::new();
    let caches = Caches::start(&world.client);
    let controller = tokio::spawn(run(world.client.clone(), caches, options(), stop.clone()));
    until("the pause", || async { lab.is_paused().await }).await;
    until("the end", || async { lab.only_replicas().await == 0 }).await;
    let pods = world.all::<Pod>().await;
    world.delete::<Pod>(pods[0].text("/metadata/name")).await;
    stop.cancel();
    controller.await.unwrap();
}
