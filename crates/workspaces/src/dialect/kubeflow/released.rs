//! Objects that their owners have released for users to change, by label.

use std::fmt::Debug;

use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Preconditions},
};
use serde::de::DeserializeOwned;

use super::{attempts::Attempts, envelope::NoContent, error::Problem};
use crate::{decide::request::is_true, model::label};

/// Passes if users may change it.
pub(crate) fn check_released(metadata: &ObjectMeta) -> Result<(), Problem> {
    if is_true(metadata.labels.as_ref(), label::CAN_UPDATE) {
        return Ok(());
    }
    Err(Problem::forbidden("the object has no label can-update=true"))
}

/// Deletes an object if users may change it, and if nothing else stands in the way of what it is
/// now.
pub(crate) async fn delete_released<K>(
    api: &Api<K>,
    name: &str,
    check: impl Fn(&ObjectMeta) -> Result<(), Problem>,
) -> Result<NoContent, Problem>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug,
{
    let mut attempts = Attempts::default();
    loop {
        // Read from the cluster: the label decides whether data may be lost.
        let metadata = api.get_metadata(name).await?.metadata;
        check_released(&metadata)?;
        check(&metadata)?;
        let preconditions =
            Preconditions { uid: metadata.uid, resource_version: metadata.resource_version };
        let params = DeleteParams::background().preconditions(preconditions);
        if attempts.outcome(api.delete(name, &params).await)?.is_some() {
            return Ok(NoContent);
        }
    }
}
