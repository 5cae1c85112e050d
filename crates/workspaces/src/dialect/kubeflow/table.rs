//! Every route of this dialect.

use super::{
    actions, assets, claims,
    doc::{Doc, Value},
    events, kinds, logs, namespaces, option_values, quotas, resources,
    route::Route,
    secrets, storage_classes,
    wire::{
        claim::{ClaimCreate, ClaimListItem},
        culling::KeptAlive,
        details::Details,
        event::EventItem,
        explanation::Explanation,
        kind::KindListItem,
        kind_edit::{KindChange, KindCreated, KindUpdate},
        list_values::ListValues,
        option_list::PodTemplateOptions,
        quota::QuotaItem,
        resources::Resources,
        secret::{SecretCreate, SecretListItem, SecretUpdate, SecretView},
        storage_class::StorageClassItem,
        workspace::{
            Nothing, PauseAction, Paused, PausedOne, Restarted, WorkspaceCreate, WorkspaceUpdate,
        },
        workspace_list::WorkspaceListItem,
        workspace_old::OldListItem,
    },
    workspaces,
};
use crate::model::WorkspaceKind;

const WORKSPACE: &str = "/workspaces/{namespace}/{name}";
const KIND: &str = "/workspacekinds/{name}";
const POD_TEMPLATE: &str = "/workspaces/{namespace}/{name}/podtemplate";

/// The table: each path, its methods, what they are for and who handles them.
pub(crate) fn routes() -> Vec<Route> {
    let mut routes = around();
    routes.extend(workspaces());
    routes.extend(insight());
    routes.extend(kinds());
    routes.extend(choices());
    routes.extend(storage());
    routes.extend(secrets());
    routes
}

fn around() -> Vec<Route> {
    use namespaces::{Health, Namespace, User, healthcheck, list, user};
    let health = Doc::new("getHealthcheck", "Tells whether the server works").open();
    let me = Doc::new("getUser", "Tells who the caller is");
    let all = Doc::new("listNamespaces", "Lists the namespaces that the caller can work in");
    vec![
        Route::at("/healthcheck").get(health.bare::<Health>(200).bare::<Health>(503), healthcheck),
        Route::at("/user").get(me.ok::<User>(), user),
        Route::at("/namespaces").get(all.ok::<Vec<Namespace>>(), list),
    ]
}

fn workspaces() -> Vec<Route> {
    use workspaces::{create, delete, details, get, list, list_all, update};
    let every = listed(Doc::new("listAllWorkspaces", "Lists the workspaces of all namespaces"));
    let some = listed(Doc::new("listWorkspacesByNamespace", "Lists the workspaces of a namespace"));
    let new = asked(Doc::new("createWorkspace", "Makes a workspace")).body::<WorkspaceCreate>();
    let one = Doc::new("getWorkspace", "Shows what of a workspace can be edited");
    let put = asked(Doc::new("updateWorkspace", "Replaces what of a workspace can be edited"));
    let end = Doc::new("deleteWorkspace", "Deletes a workspace; its volumes and Secrets stay");
    let pod = Doc::new("getWorkspacePodTemplateDetails", "Shows what a workspace's pod is made of");
    let log = logged("getWorkspacePodTemplateLogsBatch", "Gives the end of a container's log");
    let stream =
        logged("streamWorkspacePodTemplateLogs", "Gives a container's log and what is added to it")
            .query("follow", Value::Boolean, "Whether to go on: by default")
            .text("text/event-stream");
    let mut routes = vec![
        Route::at("/workspaces").get(every, list_all),
        Route::at("/workspaces/{namespace}")
            .get(some, list)
            .post(new.ok::<WorkspaceCreate>().created::<WorkspaceCreate>().fails(&[409]), create),
        Route::at(WORKSPACE)
            .get(
                one.ok::<WorkspaceUpdate>()
                    .or::<OldListItem<'static>>()
                    .tagged()
                    .fails(&[400, 404]),
                get,
            )
            .put(
                put.body::<WorkspaceUpdate>().ok::<WorkspaceUpdate>().matched().fails(&[404, 409]),
                update,
            )
            .delete(end.gone().matched().fails(&[404, 409]), delete),
        Route::under(POD_TEMPLATE, "/details")
            .get(pod.ok::<Details<'static>>().fails(&[404]), details),
        Route::under(POD_TEMPLATE, "/logs/batch").get(log, logs::batch),
        Route::under(POD_TEMPLATE, "/logs/stream").get(stream, logs::follow),
    ];
    routes.extend(actions());
    routes
}

fn actions() -> [Route; 4] {
    use actions::{keep_alive, pause, pause_all, restart};
    let stop = Doc::new("updateWorkspacePauseState", "Pauses or starts a workspace").query(
        "idempotent",
        Value::Boolean,
        "Whether a workspace that is so already is a success",
    );
    let all = Doc::new("updateWorkspacesPauseState", "Pauses or starts all of a namespace");
    let keep = Doc::new("keepWorkspaceAlive", "Puts the pause of an idle workspace off");
    let again = Doc::new("restartWorkspace", "Replaces the pod of a workspace");
    [
        Route::under(WORKSPACE, "/actions/pause")
            .post(stop.body::<PauseAction>().ok::<Paused>().matched().fails(&[404, 409]), pause),
        Route::at("/workspaces/{namespace}/actions/pause")
            .post(all.body::<PauseAction>().ok::<Vec<PausedOne>>(), pause_all),
        Route::under(WORKSPACE, "/actions/keepalive")
            .post(keep.body::<Nothing>().ok::<KeptAlive>().fails(&[404, 409]), keep_alive),
        Route::under(WORKSPACE, "/actions/restart").post(
            again.body::<Nothing>().accepted::<Restarted>().matched().fails(&[404, 409]),
            restart,
        ),
    ]
}

/// What both lists of workspaces have in common.
fn listed(doc: Doc) -> Doc {
    doc.query("view", Value::Text, "`full` for metadata and volumes of the pods too")
        .query("workspaceKind", Value::Text, "Only those of this kind")
        .query("imageConfig", Value::Text, "Only those with this image")
        .query("podConfig", Value::Text, "Only those with this pod option")
        .query("state", Value::Text, "Only those in this state, or one of several")
        .query("owner", Value::Text, "Only those that this user made")
        .query("nameContains", Value::Text, "Only those with this in their name")
        .query("labelSelector", Value::Text, "Only those with such labels")
        .query("sortBy", Value::Text, "What to order by; backwards after a minus")
        .query("pageSize", Value::Integer(500), "The most items of a page")
        .query("nextPageToken", Value::Text, "Where the page before ended")
        .query("watch", Value::Boolean, "Whether to go on with changes, as events")
        .ok::<Vec<WorkspaceListItem<'static>>>()
        .or::<Vec<OldListItem<'static>>>()
        .text("text/event-stream")
        .tagged()
        .fails(&[400])
}

/// A write that can be asked about before it is made.
fn asked(doc: Doc) -> Doc {
    doc.query("dryRun", Value::Text, "`All` or `true`: only say what would come of it")
}

/// What both log routes have in common.
fn logged(id: &'static str, summary: &'static str) -> Doc {
    Doc::new(id, summary)
        .query("container", Value::Label, "Whose log: `main` by default")
        .query("tailLines", Value::Integer(i64::MAX), "So many lines: 1000 by default")
        .query("sinceTime", Value::Time, "Lines since then")
        .query("previous", Value::Boolean, "The log of the run before")
        .text("text/plain")
        .fails(&[400, 404])
}

fn kinds() -> Vec<Route> {
    type Item = KindListItem<'static>;
    use kinds::{create, delete, get, list, update};
    let all = Doc::new("listWorkspaceKinds", "Lists the kinds of workspaces").query(
        "namespaceFilter",
        Value::Label,
        "As they look to who makes workspaces there, not to an admin",
    );
    let new = Doc::new("createWorkspaceKind", "Makes a kind from a manifest");
    let new = new.manifest::<WorkspaceKind>().created::<KindCreated<'static>>().or::<Item>();
    let one = Doc::new("getWorkspaceKind", "Shows what of a kind can be edited");
    let edit = Doc::new("updateWorkspaceKind", "Replaces what of a kind can be edited");
    let edit = edit.body::<KindChange>().ok::<KindUpdate<'static>>().matched();
    let end = Doc::new("deleteWorkspaceKind", "Deletes a kind that nobody uses");
    vec![
        Route::at("/workspacekinds")
            .get(all.ok::<Vec<Item>>().tagged(), list)
            .post(new.fails(&[409]), create),
        Route::at(KIND)
            .get(one.ok::<KindUpdate<'static>>().or::<Item>().tagged().fails(&[404]), get)
            .put(edit.fails(&[404, 409]), update)
            .delete(end.gone().matched().fails(&[404, 409]), delete),
    ]
}

fn choices() -> Vec<Route> {
    use option_values::{explain, list};
    let values = Doc::new("podTemplateOptionsListValues", "Lists the options that are left")
        .body::<ListValues>()
        .ok::<PodTemplateOptions<'static>>();
    let why = Doc::new("explainFilterRules", "Tells which rule decides about which option")
        .query("namespace", Value::Label, "Where workspaces would be made")
        .query("imageConfig", Value::Text, "The image that is chosen")
        .query("podConfig", Value::Text, "The pod option that is chosen")
        .ok::<Explanation<'static>>();
    let picture = |id, summary| {
        Doc::new(id, summary)
            .query("namespace", Value::Label, "For who sees workspaces there, not for an admin")
            .query("sha256", Value::Text, "The hash of the content, to keep the answer for ever")
            .text("image/svg+xml")
            .tagged()
            .fails(&[404])
    };
    let icon = picture("getWorkspaceKindIcon", "Gives the small picture of a kind");
    let logo = picture("getWorkspaceKindLogo", "Gives the large picture of a kind");
    vec![
        Route::under(KIND, "/podtemplate/options/listvalues").post(values.fails(&[404]), list),
        Route::under(KIND, "/filterrules/explain").get(why.fails(&[404]), explain),
        Route::under(KIND, "/assets/icon").get(icon, assets::icon),
        Route::under(KIND, "/assets/logo").get(logo, assets::logo),
    ]
}

fn secrets() -> Vec<Route> {
    type View = SecretView<'static>;
    use secrets::{create, delete, get, list, update};
    let all = Doc::new("listSecrets", "Lists the Secrets of a namespace and who mounts them")
        .query("all", Value::Boolean, "Also those that machines made")
        .ok::<Vec<SecretListItem<'static>>>();
    let new = Doc::new("createSecret", "Makes a Secret").body::<SecretCreate>().created::<View>();
    let one = Doc::new("getSecret", "Shows the keys of a Secret, never the values").ok::<View>();
    let edit = Doc::new("updateSecret", "Replaces the keys of a Secret")
        .body::<SecretUpdate>()
        .ok::<View>()
        .matched();
    let end = Doc::new("deleteSecret", "Deletes a Secret").gone().matched();
    vec![
        Route::at("/secrets/{namespace}").get(all.tagged(), list).post(new.fails(&[409]), create),
        Route::at("/secrets/{namespace}/{name}")
            .get(one.tagged().fails(&[404]), get)
            .put(edit.fails(&[404, 409]), update)
            .delete(end.fails(&[404, 409]), delete),
    ]
}

fn storage() -> Vec<Route> {
    use claims::{create, delete, list};
    let classes = Doc::new("listStorageClasses", "Lists the storage classes").query(
        "namespace",
        Value::Label,
        "For who makes volumes there, not for an admin",
    );
    let classes = classes.ok::<Vec<StorageClassItem<'static>>>().tagged();
    let all = Doc::new("listPVCs", "Lists the volumes of a namespace and who uses them");
    let all = all.ok::<Vec<ClaimListItem<'static>>>().tagged();
    let new = Doc::new("createPVC", "Makes a volume").body::<ClaimCreate>();
    let end = Doc::new("deletePVC", "Deletes a volume and its data")
        .query("force", Value::Boolean, "Even if somebody uses it")
        .gone();
    let quotas = Doc::new("listQuotas", "Tells what a namespace may use, and what it does")
        .ok::<Vec<QuotaItem<'static>>>()
        .tagged();
    vec![
        Route::at("/storageclasses").get(classes, storage_classes::list),
        Route::at("/persistentvolumeclaims/{namespace}")
            .get(all, list)
            .post(new.created::<ClaimCreate>().fails(&[409]), create),
        Route::at("/persistentvolumeclaims/{namespace}/{name}")
            .delete(end.fails(&[404, 409]), delete),
        Route::at("/quotas/{namespace}").get(quotas, quotas::list),
    ]
}

/// What is seen of a workspace from outside.
fn insight() -> Vec<Route> {
    let used = Doc::new("getWorkspacePodTemplateResources", "Tells what a workspace uses")
        .ok::<Resources<'static>>();
    let told = Doc::new("listWorkspacePodTemplateEvents", "Tells what happened, newest first")
        .query("limit", Value::Integer(500), "So many at most: 100 by default")
        .ok::<Vec<EventItem<'static>>>()
        .tagged();
    vec![
        Route::under(POD_TEMPLATE, "/resources").get(used.fails(&[404]), resources::get),
        Route::under(POD_TEMPLATE, "/events").get(told.fails(&[404]), events::list),
    ]
}
