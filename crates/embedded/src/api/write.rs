//! Create, replace and patch: one path from what a client sent to what is stored.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{
    Api,
    access::{self, Attributes},
    core, crds,
    forms::{self, Part, served, served_bytes, served_object, stored_form},
    kinds::Resource,
    metadata::{self, Object},
    query::WriteOptions,
    rules,
    status::Status,
};
use crate::schema::Cause;
use crate::store::{Action, Draft, Expect, Requirement, Write, WriteError};

/// How often a change is tried again when others change the same object.
const ATTEMPTS: usize = 256;

/// Which object a request is about.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Target {
    pub(crate) fn key(&self) -> Arc<str> {
        self.resource.key(&self.namespace, &self.name)
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.resource, &self.name)
    }
}

/// What a write answers.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) created: bool,
    pub(crate) body: Bytes,
    pub(crate) warnings: Vec<String>,
}

impl Api {
    /// Stores a new object.
    pub(crate) async fn create(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        mut object: Object,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        if resource.custom.as_ref().is_some_and(|custom| custom.terminating) {
            return Err(Status::definition_terminating(resource));
        }
        let unknown = self.decode(resource, namespace, &mut object)?;
        if !metadata::get(&object, "resourceVersion").is_empty() {
            return Err(Status::revision_on_create());
        }
        let prefix = match metadata::get(&object, "name") {
            "" => metadata::get(&object, "generateName").to_owned(),
            _ => String::new(),
        };
        // The namespace is looked at first: its absence says more than what follows from it.
        self.check_namespace(resource, namespace, metadata::get(&object, "name"))?;
        metadata::begin(&mut object, resource, namespace);
        core::begin(resource, &mut object);
        let warnings = rules::complete(&mut object, resource, unknown, options.fields)?;
        for _ in 0..8 {
            if !prefix.is_empty() {
                metadata::set(&mut object, "name", metadata::generate_name(&prefix)?);
            }
            let name = metadata::get(&object, "name").to_owned();
            let target = Target { resource: resource.clone(), namespace: namespace.into(), name };
            access::escalation::check(self, &options.caller, &target, &object, None)?;
            self.admit_new(&target, &mut object)?;
            match self.store_new(&target, &object, &options).await {
                Err(status) if status.code() == 409 && !prefix.is_empty() => {}
                Ok(body) => return Ok(Written { created: true, body, warnings }),
                Err(status) => return Err(status),
            }
        }
        Err(Status::already_exists(resource, metadata::get(&object, "name")))
    }

    fn admit_new(&self, target: &Target, object: &mut Object) -> Result<(), Status> {
        let resource = &target.resource;
        let mut causes = metadata::validate(object, resource);
        causes.extend(rules::validate(resource, object, None));
        refuse(resource, &target.name, causes)?;
        if resource.is(crds::TABLE) {
            let registry = self.kinds();
            crds::accept(object, None, &registry)?;
        }
        Ok(())
    }

    async fn store_new(
        &self,
        target: &Target,
        object: &Object,
        options: &WriteOptions,
    ) -> Result<Bytes, Status> {
        let resource = &target.resource;
        let draft = Draft::new(&stored_form(resource, object));
        let key = target.key();
        if options.dry_run {
            return match self.store.get(&resource.table, &key) {
                Some(_) => Err(Status::already_exists(resource, &target.name)),
                None => Ok(served_bytes(resource, draft.unrevised())),
            };
        }
        let requires = resource.namespaced.then(|| Requirement {
            resource: "namespaces".into(),
            key: target.namespace.as_str().into(),
        });
        let write = Write {
            resource: resource.table.clone(),
            key,
            expect: Expect::Absent,
            requires,
            action: Action::Put,
            draft,
        };
        match self.store.write(write).await {
            Ok(entry) => {
                self.written(resource, &entry);
                Ok(served(resource, &entry))
            }
            Err(WriteError::Mismatch(_)) => Err(Status::already_exists(resource, &target.name)),
            Err(WriteError::Requirement(None)) => Err(Status::namespace_missing(&target.namespace)),
            Err(WriteError::Requirement(Some(_))) => {
                Err(Status::namespace_terminating(resource, &target.name, &target.namespace))
            }
            Err(WriteError::Storage(error)) => Err(error.into()),
        }
    }

    /// Replaces an object, or its status.
    pub(crate) async fn replace(
        &self,
        target: &Target,
        part: Part,
        mut object: Object,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        let resource = &target.resource;
        let unknown = self.decode(resource, &target.namespace, &mut object)?;
        match metadata::get(&object, "name") {
            "" => metadata::set(&mut object, "name", target.name.as_str()),
            name if name == target.name => {}
            name => {
                return Err(Status::bad_request(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    target.name
                )));
            }
        }
        if resource.create_on_update
            && part == Part::Main
            && self.store.get(&resource.table, &target.key()).is_none()
        {
            metadata::remove(&mut object, "resourceVersion");
            access::demand(self, &options.caller, &Attributes::on("create", target))?;
            return self.create(resource, &target.namespace, object, options).await;
        }
        let warnings = rules::complete(&mut object, resource, unknown, options.fields)?;
        let change = |_: &Object| Ok((object.clone(), warnings.clone()));
        self.modify(target, part, &options, change).await
    }

    /// Changes an object by what a patch makes of it.
    pub(crate) async fn patch(
        &self,
        target: &Target,
        part: Part,
        patch: &super::patch::Patch,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        let resource = &target.resource;
        let change = |current: &Object| {
            let mut object = patch.apply(current)?;
            let unknown = self.decode(resource, &target.namespace, &mut object)?;
            let warnings = rules::complete(&mut object, resource, unknown, options.fields)?;
            Ok((object, warnings))
        };
        self.modify(target, part, &options, change).await
    }

    /// Reads, changes and writes an object until nobody else came between.
    async fn modify(
        &self,
        target: &Target,
        part: Part,
        options: &WriteOptions,
        change: impl Fn(&Object) -> Result<(Object, Vec<String>), Status>,
    ) -> Result<Written, Status> {
        let change = |old: &Object| {
            let (mut new, warnings) = change(old)?;
            access::escalation::check(self, &options.caller, target, &new, Some(old))?;
            self.admit_change(target, part, &mut new, old)?;
            Ok((new, warnings))
        };
        self.rewrite(target, options.dry_run, change).await
    }

    /// A change by the cluster itself, which may touch what a client may not.
    pub(crate) async fn modify_unchecked(
        &self,
        target: &Target,
        change: impl Fn(&Object) -> Result<(Object, Vec<String>), Status>,
    ) -> Result<(), Status> {
        self.rewrite(target, false, change).await.map(|_| ())
    }

    async fn rewrite(
        &self,
        target: &Target,
        dry_run: bool,
        change: impl Fn(&Object) -> Result<(Object, Vec<String>), Status>,
    ) -> Result<Written, Status> {
        let resource = &target.resource;
        for _ in 0..ATTEMPTS {
            let entry =
                self.store.get(&resource.table, &target.key()).ok_or_else(|| target.not_found())?;
            let old = served_object(resource, &entry);
            let (new, warnings) = change(&old)?;
            if new == old {
                let body = served(resource, &entry);
                return Ok(Written { created: false, body, warnings });
            }
            let action =
                if forms::is_finished(resource, &new, &old) { Action::Delete } else { Action::Put };
            let draft = Draft::new(&stored_form(resource, &new));
            if dry_run {
                let body = served_bytes(resource, draft.unrevised());
                return Ok(Written { created: false, body, warnings });
            }
            let write = Write {
                resource: resource.table.clone(),
                key: target.key(),
                expect: Expect::Revision(entry.revision()),
                requires: None,
                action,
                draft,
            };
            match self.store.write(write).await {
                Ok(entry) => {
                    if action == Action::Put {
                        self.written(resource, &entry);
                    } else {
                        self.removed(resource, &entry);
                    }
                    let body = served(resource, &entry);
                    return Ok(Written { created: false, body, warnings });
                }
                Err(WriteError::Mismatch(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Status::modified(resource, &target.name))
    }

    /// Fills in and checks a changed object.
    fn admit_change(
        &self,
        target: &Target,
        part: Part,
        new: &mut Object,
        old: &Object,
    ) -> Result<(), Status> {
        let resource = &target.resource;
        match metadata::get(new, "resourceVersion") {
            "" if resource.custom.is_some() || !resource.blind_update => {
                let cause = Cause {
                    reason: "FieldValueInvalid".into(),
                    message: "Invalid value: 0: must be specified for an update".into(),
                    field: "metadata.resourceVersion".into(),
                };
                let (group, plural) = (&resource.group, &resource.plural);
                return Err(Status::invalid(group, plural, &target.name, vec![cause]));
            }
            "" => {}
            revision if revision == metadata::get(old, "resourceVersion") => {}
            _ => return Err(Status::modified(resource, &target.name)),
        }
        let (wanted, uid) = (metadata::get(new, "uid"), metadata::get(old, "uid"));
        if !wanted.is_empty() && wanted != uid {
            let why = format!(
                "Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
            );
            return Err(Status::conflict(resource, &target.name, &why));
        }
        forms::keep_server_fields(new, old);
        forms::keep_other_part(resource, part, new, old);
        if part == Part::Main && forms::counts_as_change(resource, new, old) {
            metadata::set(new, "generation", metadata::generation(old) + 1);
        }
        let mut causes = metadata::validate_update(new, old);
        causes.extend(rules::validate(resource, new, Some(old)));
        refuse(resource, &target.name, causes)?;
        if resource.is(crds::TABLE) {
            crds::accept(new, Some(old), &self.kinds())?;
        }
        Ok(())
    }

    /// Checks what every object sent must have: API version, kind, shape of its metadata, and the
    /// namespace of the path. Returns unknown fields of `metadata`.
    pub(crate) fn decode(
        &self,
        resource: &Resource,
        namespace: &str,
        object: &mut Object,
    ) -> Result<Vec<String>, Status> {
        let api_version = resource.api_version();
        for (field, expected) in [("kind", &resource.kind), ("apiVersion", &api_version)] {
            match object.get(field) {
                None | Some(Value::Null) if resource.custom.is_some() => {
                    let shown = Value::Object(object.clone());
                    let name = if field == "kind" { "Kind" } else { "apiVersion" };
                    return Err(Status::bad_request(format!(
                        "the object provided is unrecognized (must be of type {}): Object '{name}' is missing in '{shown}'",
                        resource.kind
                    )));
                }
                None | Some(Value::Null) => {}
                Some(Value::String(found)) if found == expected => {}
                Some(Value::String(found)) if found.is_empty() && resource.custom.is_none() => {}
                Some(Value::String(found)) if field == "apiVersion" => {
                    return Err(Status::bad_request(format!(
                        "the API version in the data ({found}) does not match the expected API version ({expected})"
                    )));
                }
                Some(Value::String(found)) => {
                    let version =
                        object.get("apiVersion").and_then(Value::as_str).unwrap_or(&api_version);
                    let version = version.rsplit('/').next().unwrap_or_default();
                    return Err(Status::bad_request(format!(
                        "{found} in version {version:?} cannot be handled as a {expected}: the kind does not match"
                    )));
                }
                Some(_) => {
                    return Err(rules::undecodable(
                        resource,
                        &format!(
                            "json: cannot unmarshal into Go struct field TypeMeta.{field} of type string"
                        ),
                    ));
                }
            }
            object.insert(field.into(), expected.as_str().into());
        }
        let unknown = metadata::normalise(object)
            .map_err(|problem| rules::undecodable(resource, &problem))?;
        let own = metadata::get(object, "namespace");
        if resource.namespaced {
            if !own.is_empty() && own != namespace {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            metadata::set(object, "namespace", namespace);
        }
        Ok(unknown)
    }

    fn check_namespace(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<(), Status> {
        if !resource.namespaced {
            return Ok(());
        }
        match self.store.get("namespaces", namespace) {
            None => Err(Status::namespace_missing(namespace)),
            Some(found) if found.meta().deleting => {
                Err(Status::namespace_terminating(resource, name, namespace))
            }
            Some(_) => Ok(()),
        }
    }
}

fn refuse(resource: &Resource, name: &str, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&resource.group, &resource.kind, name, causes))
}
