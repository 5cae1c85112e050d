//! What belongs to what.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use super::cache::Key;

/// The reference by which `owner` controls an object.
pub(crate) fn controlled_by<K: Resource<DynamicType = ()>>(owner: &K) -> Vec<OwnerReference> {
    owner.controller_owner_ref(&()).into_iter().collect()
}

/// Whether `owner` controls the object.
pub(crate) fn is_controlled_by(object: &ObjectMeta, owner: &impl ResourceExt) -> bool {
    let uid = owner.uid();
    controller(object).is_some_and(|reference| Some(&reference.uid) == uid.as_ref())
}

/// The key of the object of kind `K` that controls this one.
pub(crate) fn controller_key<K>(object: &ObjectMeta) -> Option<Key>
where
    K: Resource<DynamicType = ()>,
{
    let reference = controller(object).filter(|reference| reference.kind == K::kind(&()))?;
    Some((object.namespace.clone().unwrap_or_default(), reference.name.clone()))
}

fn controller(object: &ObjectMeta) -> Option<&OwnerReference> {
    object.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

/// Whether a selector picks these labels. An empty one picks nothing.
pub(crate) fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    let empty =
        selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty) && expressions.is_empty();
    !empty
        && wanted.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.iter().all(|expression| {
            let value = labels.get(&expression.key);
            let values = expression.values.as_deref().unwrap_or_default();
            let listed = value.is_some_and(|value| values.contains(value));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
