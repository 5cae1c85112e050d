//! Claims that are made along with a workspace: all of them and the workspace, or nothing.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{
    App,
    claims::object,
    error::{Problem, created},
    extract::Caller,
    wire::claim::ClaimCreate,
};
use crate::model::Workspace;

const NOUN: &str = "PVC";

/// Claims that are to be made.
pub(crate) struct ClaimsAlong {
    api: Api<PersistentVolumeClaim>,
    claims: Vec<PersistentVolumeClaim>,
}

impl ClaimsAlong {
    pub(crate) fn new(
        app: &App,
        namespace: &str,
        claims: Vec<(usize, ClaimCreate)>,
        caller: &Caller,
    ) -> Self {
        let claims = claims.into_iter().map(|(_, claim)| object(claim, caller)).collect();
        Self { api: Api::namespaced(app.client.clone(), namespace), claims }
    }

    /// Makes the workspace and its claims. The cluster is asked about each of them before the first
    /// is made; if one is refused all the same, those before it go again.
    pub(crate) async fn make(
        &self,
        app: &App,
        workspaces: &Api<Workspace>,
        workspace: &Workspace,
        dry_run: bool,
    ) -> Result<Workspace, Problem> {
        let asked = PostParams { dry_run: true, ..PostParams::default() };
        for claim in &self.claims {
            created(self.api.create(&asked, claim).await, NOUN)?;
        }
        if dry_run || !self.claims.is_empty() {
            let made = created(workspaces.create(&asked, workspace).await, "workspace")?;
            if dry_run {
                return Ok(made);
            }
        }
        let mut made = Vec::new();
        match self.make_all(&mut made, workspaces, workspace).await {
            Ok(workspace) => {
                for claim in &made {
                    app.settle(&app.caches.pvcs, claim).await;
                }
                Ok(workspace)
            }
            Err(problem) => {
                self.undo(&made).await;
                Err(problem)
            }
        }
    }

    async fn make_all(
        &self,
        made: &mut Vec<PersistentVolumeClaim>,
        workspaces: &Api<Workspace>,
        workspace: &Workspace,
    ) -> Result<Workspace, Problem> {
        let params = PostParams::default();
        for claim in &self.claims {
            made.push(created(self.api.create(&params, claim).await, NOUN)?);
        }
        created(workspaces.create(&params, workspace).await, "workspace")
    }

    /// Deletes what was made, these very objects only: nothing can be in them yet.
    async fn undo(&self, made: &[PersistentVolumeClaim]) {
        for claim in made {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let uid = claim.metadata.uid.clone();
            let this_one = Preconditions { uid, ..Preconditions::default() };
            let params = DeleteParams::background().preconditions(this_one);
            if let Err(error) = self.api.delete(name, &params).await {
                tracing::warn!(claim = name, %error, "a claim of no workspace is left over");
            }
        }
    }
}
