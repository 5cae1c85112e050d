//! Create, replace and patch: one path from what a client sent to what is stored.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Api,
    access::{self, Attributes},
    admission::{Operation, Review},
    core, crds,
    decode::{self, Input},
    forms::{self, Part, served, served_bytes, served_object, stored_form},
    kinds::Resource,
    limits,
    metadata::{self, Object},
    query::WriteOptions,
    quota, rules,
    services::Reservation,
    status::Status,
};
use crate::schema::Cause;
use crate::store::{Action, Expect, Requirement, Write, WriteError};

/// How often a change is tried again when others change the same object.
const ATTEMPTS: usize = 256;

/// How many generated names are tried.
const NAMES: usize = 8;

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
        input: Input,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        let Input { mut object, doubts } = input;
        if resource.custom.as_ref().is_some_and(|custom| custom.terminating) {
            let name = metadata::get(&object, "name");
            return Err(Status::definition_terminating(resource, name));
        }
        settle(resource, namespace, &mut object)?;
        let repeated = metadata::dedup_owners(&mut object);
        if !metadata::get(&object, "resourceVersion").is_empty() && !options.dry_run {
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
        let mut warnings = rules::complete(&mut object, resource, doubts, options.fields)?;
        warnings.extend(repeated);
        for _ in 0..NAMES {
            // Only an object that waits for a free name is needed again.
            let mut object =
                if prefix.is_empty() { std::mem::take(&mut object) } else { object.clone() };
            if !prefix.is_empty() {
                metadata::set(&mut object, "name", metadata::generate_name(&prefix)?);
            }
            core::prepare(resource, &mut object);
            let name = metadata::get(&object, "name").to_owned();
            let target = Target { resource: resource.clone(), namespace: namespace.into(), name };
            limits::fill_in(self, &target, &mut object);
            access::escalation::check(self, &options.caller, &target, &object, None)?;
            let given = self.give_addresses(&target, &mut object, None, options.dry_run)?;
            self.admit_new(&target, &mut object)?;
            let mut more = rules::warn(resource, &object);
            limits::check(self, &target, &object)?;
            more.extend(self.review(&Review {
                operation: Operation::Create,
                target: &target,
                part: Part::Main,
                caller: &options.caller,
                object: Some(&object),
                old_object: None,
                dry_run: options.dry_run,
            })?);
            let stored = self.store_new(&target, &object, &options).await;
            drop(given);
            match stored {
                Err(status) if status.code() == 409 && !prefix.is_empty() => {}
                Ok(body) => {
                    warnings.extend(more);
                    return Ok(Written { created: true, body, warnings });
                }
                Err(status) => return Err(status),
            }
        }
        Err(Status::no_free_name(resource, metadata::get(&object, "name")))
    }

    fn admit_new(&self, target: &Target, object: &mut Object) -> Result<(), Status> {
        let resource = &target.resource;
        core::canonical(resource, object);
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
        let charge = quota::charge(self, target, object, None, options.dry_run).await?;
        let draft = stored_form(resource, object);
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
        let stored = self.store.write(write).await;
        if let (Err(_), Some(charge)) = (&stored, charge) {
            charge.undo().await;
        }
        match stored {
            Ok(entry) => {
                self.noted(target);
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
        input: Input,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        let resource = &target.resource;
        let Input { mut object, doubts } = input;
        settle(resource, &target.namespace, &mut object)?;
        same_name(target, &object)?;
        if resource.create_on_update
            && part == Part::Main
            && self.store.get(&resource.table, &target.key()).is_none()
        {
            metadata::remove(&mut object, "resourceVersion");
            access::demand(self, &options.caller, &Attributes::on("create", target))?;
            let input = Input { object, doubts };
            return self.create(resource, &target.namespace, input, options).await;
        }
        let warnings = rules::complete(&mut object, resource, doubts, options.fields)?;
        let change = |old: &Object| {
            same_uid(target, &object, old)?;
            Ok((object.clone(), warnings.clone()))
        };
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
            let patched = patch.apply(current)?;
            let Input { mut object, doubts } = decode::patched(&patched, &**resource)?;
            settle(resource, &target.namespace, &mut object)?;
            same_name(target, &object)?;
            let doubts = patch.doubts().iter().cloned().chain(doubts).collect();
            let warnings =
                rules::complete_patched(&mut object, resource, doubts, options.fields, &patched)?;
            Ok((object, warnings))
        };
        self.modify(target, part, &options, change).await
    }

    /// Reads, changes and writes an object until nobody else came between.
    pub(crate) async fn modify(
        &self,
        target: &Target,
        part: Part,
        options: &WriteOptions,
        change: impl Fn(&Object) -> Result<(Object, Vec<String>), Status>,
    ) -> Result<Written, Status> {
        let resource = &target.resource;
        let given = Mutex::new(None);
        let change = |old: &Object| {
            let (mut new, mut warnings) = change(old)?;
            access::escalation::check(self, &options.caller, target, &new, Some(old))?;
            *given.lock() = self.admit_change(target, part, &mut new, old, options.dry_run)?;
            if part == Part::Main {
                warnings.extend(rules::warn(resource, &new));
                // What of a pod is limited cannot change.
                if !resource.is("pods") && !metadata::is_deleting(old) {
                    limits::check(self, target, &new)?;
                }
            }
            warnings.extend(self.review(&Review {
                operation: Operation::Update,
                target,
                part,
                caller: &options.caller,
                object: Some(&new),
                old_object: Some(old),
                dry_run: options.dry_run,
            })?);
            Ok((new, warnings))
        };
        self.rewrite(target, options.dry_run, true, change).await
    }

    /// A change by the cluster itself, which may touch what a client may not.
    pub(crate) async fn modify_unchecked(
        &self,
        target: &Target,
        dry_run: bool,
        change: impl Fn(&Object) -> Result<(Object, Vec<String>), Status>,
    ) -> Result<(), Status> {
        self.rewrite(target, dry_run, false, change).await.map(|_| ())
    }

    /// `limited` tells whether the change counts for quotas.
    async fn rewrite(
        &self,
        target: &Target,
        dry_run: bool,
        limited: bool,
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
            let charge = match action {
                Action::Put if limited => {
                    quota::charge(self, target, &new, Some(&old), dry_run).await?
                }
                _ => None,
            };
            let draft = stored_form(resource, &new);
            if dry_run {
                // A change keeps the revision of what it would change.
                let body = served_bytes(resource, draft.revised(entry.revision()));
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
            let stored = self.store.write(write).await;
            if let (Err(_), Some(charge)) = (&stored, charge) {
                charge.undo().await;
            }
            match stored {
                Ok(entry) => {
                    self.noted(target);
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
        dry_run: bool,
    ) -> Result<Option<Reservation<'_>>, Status> {
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
            revision if revision.parse::<u64>().is_err() => {
                let shown = serde_json::Value::from(revision);
                return Err(Status::unknown(format!(
                    "strconv.ParseUint: parsing {shown}: invalid syntax"
                )));
            }
            _ => return Err(Status::modified(resource, &target.name)),
        }
        forms::keep_server_fields(new, old);
        forms::keep_other_part(resource, part, new, old);
        if part == Part::Main && forms::counts_as_change(resource, new, old) {
            metadata::set(new, "generation", metadata::generation(old) + 1);
        }
        let given = match part {
            Part::Main => self.give_addresses(target, new, Some(old), dry_run)?,
            Part::Status | Part::Finalize => None,
        };
        core::canonical(resource, new);
        let mut causes = metadata::validate_update(new, old, resource);
        causes.extend(rules::validate(resource, new, Some(old)));
        refuse(resource, &target.name, causes)?;
        if resource.is(crds::TABLE) {
            crds::accept(new, Some(old), &self.kinds())?;
        }
        Ok(given)
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

/// An object must have the name of its path.
fn same_name(target: &Target, object: &Object) -> Result<(), Status> {
    let path = &target.name;
    match metadata::get(object, "name") {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({path} based on URL) was undeterminable: name must be provided"
        ))),
        name if name == path => Ok(()),
        name => Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({path})"
        ))),
    }
}

/// A replace that names a uid is meant for that object only.
fn same_uid(target: &Target, new: &Object, old: &Object) -> Result<(), Status> {
    let (wanted, uid) = (metadata::get(new, "uid"), metadata::get(old, "uid"));
    if wanted.is_empty() || wanted == uid {
        return Ok(());
    }
    Err(other_uid(target, wanted, uid))
}

/// A change that was meant for another object of the same name.
pub(crate) fn other_uid(target: &Target, wanted: &str, uid: &str) -> Status {
    let resource = &target.resource;
    let table = match &resource.custom {
        Some(_) => format!("{}/{}", resource.group, resource.plural),
        None => resource.plural.clone(),
    };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{table}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}",
        target.key()
    );
    Status::conflict(resource, &target.name, &why)
}

/// Gives an object its kind, its version and the namespace of its path.
pub(crate) fn settle(
    resource: &Resource,
    namespace: &str,
    object: &mut Object,
) -> Result<(), Status> {
    object.insert("kind".into(), resource.kind.as_str().into());
    object.insert("apiVersion".into(), resource.api_version().into());
    metadata::normalise(object);
    if resource.namespaced {
        let own = metadata::get(object, "namespace");
        if !own.is_empty() && own != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        metadata::set(object, "namespace", namespace);
    }
    Ok(())
}

fn refuse(resource: &Resource, name: &str, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&resource.group, &resource.kind, name, causes))
}
