//! Makes a used cluster as new: what tests leave behind is deleted, at once and whatever holds it.

use std::time::Instant;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    discovery::{ApiCapabilities, ApiResource, Discovery, Scope, verbs},
};
use serde_json::json;

use crate::PATIENCE;

/// What a new cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Kinds without a namespace of which a new cluster has no objects.
const CLUSTER_WIDE: [&str; 4] =
    ["workspacekinds", "storageclasses", "persistentvolumes", "validatingwebhookconfigurations"];
/// Kinds of which a new cluster has some, with the label that these carry.
const BOOTSTRAPPED: [&str; 2] = ["clusterroles", "clusterrolebindings"];
const BOOTSTRAP: &str = "!kubernetes.io/bootstrapping";

/// Requests at a time.
const AT_ONCE: usize = 16;

/// Deletes what tests made.
pub(crate) async fn tidy(client: &Client) {
    let namespaces = Api::<Namespace>::all(client.clone());
    let all = namespaces.list(&ListParams::default()).await.expect("the namespaces");
    let theirs = all.items.iter().map(ResourceExt::name_any);
    let theirs: Vec<_> = theirs.filter(|name| !NAMESPACES.contains(&name.as_str())).collect();
    for name in &theirs {
        // From now on nothing can be made in it.
        namespaces.delete(name, &DeleteParams::default()).await.expect("it begins to go");
    }
    let discovery = Discovery::new(client.clone()).run_aggregated().await.expect("the kinds");
    // Events are found twice, in the core group and in one of their own.
    let groups = discovery.groups().filter(|group| group.name() != "events.k8s.io");
    let kinds = groups.flat_map(|group| group.recommended_resources());
    let kinds = kinds.filter(|(_, can)| can.supports_operation(verbs::DELETE_COLLECTION));
    let places: Vec<_> = kinds.flat_map(|kind| places(client, kind, &theirs)).collect();
    stream::iter(places).for_each_concurrent(AT_ONCE, |(api, selector)| empty(api, selector)).await;
    for name in &theirs {
        release(&namespaces, name).await;
    }
}

/// Where objects of a kind may be that have to go, and which of them.
fn places(
    client: &Client,
    (kind, can): (ApiResource, ApiCapabilities),
    namespaces: &[String],
) -> Vec<(Api<DynamicObject>, &'static str)> {
    let plural = kind.plural.as_str();
    match can.scope {
        Scope::Namespaced => namespaces
            .iter()
            .map(|name| (Api::namespaced_with(client.clone(), name, &kind), ""))
            .collect(),
        Scope::Cluster if CLUSTER_WIDE.contains(&plural) => {
            vec![(Api::all_with(client.clone(), &kind), "")]
        }
        Scope::Cluster if BOOTSTRAPPED.contains(&plural) => {
            vec![(Api::all_with(client.clone(), &kind), BOOTSTRAP)]
        }
        Scope::Cluster => Vec::new(),
    }
}

/// Deletes objects until none is left.
async fn empty(api: Api<DynamicObject>, selector: &str) {
    let which = ListParams::default().labels(selector);
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::background() };
    let end = Instant::now() + PATIENCE;
    loop {
        let left = match api.list_metadata(&which).await {
            Err(error) if is_gone(&error) => return,
            // Its definition came a moment ago.
            Err(error) if is_starting(&error) && Instant::now() < end => continue,
            left => left.expect("a list"),
        };
        if left.items.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "this does not go: {:?}", left.items);
        let _asked = api.delete_collection(&now, &which).await.expect("they begin to go");
        for held in left.items.iter().filter(|object| !object.finalizers().is_empty()) {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            let released = api.patch(&held.name_any(), &PatchParams::default(), &patch).await;
            if let Err(error) = released {
                assert!(is_gone(&error), "{error}");
            }
        }
    }
}

/// Lets an empty namespace go at once. The cluster's own controller would take five seconds.
async fn release(namespaces: &Api<Namespace>, name: &str) {
    let end = Instant::now() + PATIENCE;
    while let Some(mut namespace) = namespaces.get_opt(name).await.expect("an answer") {
        assert!(Instant::now() < end, "this does not go: {namespace:?}");
        namespace.spec.get_or_insert_default().finalizers = None;
        let now = PostParams::default();
        let released = namespaces.replace_subresource("finalize", name, &now, &namespace).await;
        if let Err(error) = released {
            assert!(is_gone(&error), "{error}");
        }
    }
}

/// Whether the kind cannot be listed yet.
fn is_starting(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 429)
}

/// Whether somebody else was faster.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}
