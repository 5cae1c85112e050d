//! Query parameters, read like the API server reads them.

use std::{collections::HashMap, time::Duration};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{
    access::Caller,
    selector::{FieldSelector, LabelSelector},
    status::Status,
};
use crate::schema::Cause;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Query(HashMap<String, String>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let decode = |text: &str| {
            percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
        };
        let mut parameters = HashMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Like the API server, the first of several counts.
            parameters.entry(decode(key)).or_insert_with(|| decode(value));
        }
        Self(parameters)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Status> {
        Ok(self.optional_flag(name)?.unwrap_or(false))
    }

    pub(crate) fn optional_flag(&self, name: &str) -> Result<Option<bool>, Status> {
        match self.0.get(name).map(String::as_str) {
            None => Ok(None),
            // Go's clients write a bare `watch`, its server reads everything but these as true.
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Ok(Some(true)),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let shown = Value::from(text);
                Status::bad_request(format!("strconv.ParseInt: parsing {shown}: invalid syntax"))
            }),
        }
    }

    /// `dryRun`: absent or `All`.
    pub(crate) fn dry_run(&self, options: &str) -> Result<bool, Status> {
        match self.text("dryRun") {
            "" => Ok(false),
            one => dry_run(&[one], options),
        }
    }
}

/// Whether `dryRun`, which may only be `All`, is asked for.
pub(crate) fn dry_run(given: &[&str], options: &str) -> Result<bool, Status> {
    if given.iter().all(|one| *one == "All") {
        return Ok(!given.is_empty());
    }
    let cause = Cause::not_supported("dryRun", &Value::from(given), &["All"]);
    Err(Status::invalid("meta.k8s.io", options, "", vec![cause]))
}

/// What to do about fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// The options of a create, update or patch.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    pub(crate) caller: Caller,
    pub(crate) dry_run: bool,
    pub(crate) fields: FieldValidation,
}

impl WriteOptions {
    /// The options of the cluster itself.
    pub(crate) fn internal() -> Self {
        Self { caller: Caller::default(), dry_run: false, fields: FieldValidation::Ignore }
    }

    pub(crate) fn new(query: &Query, caller: Caller, options: &str) -> Result<Self, Status> {
        let fields = match query.text("fieldValidation") {
            "Ignore" => FieldValidation::Ignore,
            "" | "Warn" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            other => {
                let cause = Cause {
                    reason: "FieldValueNotSupported".into(),
                    message: format!(
                        "Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                    ),
                    field: "fieldValidation".into(),
                };
                return Err(Status::invalid("meta.k8s.io", options, "", vec![cause]));
            }
        };
        Ok(Self { caller, dry_run: query.dry_run(options)?, fields })
    }
}

/// What revision a list wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revision {
    /// The latest. All reads here are.
    Latest,
    /// Not older than this; 0 is anything.
    NotOlderThan(u64),
    /// Exactly this.
    Exact(u64),
}

/// The options of a list, watch or deletecollection.
#[derive(Debug)]
pub(crate) struct ListOptions {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    pub(crate) limit: usize,
    pub(crate) continues: String,
    pub(crate) revision: Revision,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) initial_events: bool,
    pub(crate) timeout: Option<Duration>,
}

fn parse_revision(text: &str) -> Result<Option<u64>, Status> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let cause = Cause::invalid(
                "resourceVersion",
                &Value::from(text),
                "strconv.ParseUint: parsing ",
            );
            let cause =
                Cause { message: format!("{}{:?}: invalid syntax", cause.message, text), ..cause };
            Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause])
        }),
    }
}

impl ListOptions {
    pub(crate) fn new(query: &Query) -> Result<Self, Status> {
        let revision = parse_revision(query.text("resourceVersion"))?;
        let watch = query.flag("watch")?;
        let matching = query.text("resourceVersionMatch");
        let initial = query.optional_flag("sendInitialEvents")?;
        let refuse = |field: &str, message: &str| {
            let cause = Cause::forbidden(field, message);
            Err(Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause]))
        };
        if watch {
            if !matching.is_empty() && initial.is_none() {
                return refuse(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            if initial.is_some() && matching != "NotOlderThan" {
                return refuse(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
        } else {
            if initial.is_some() {
                return refuse("sendInitialEvents", "sendInitialEvents is forbidden for list");
            }
            if !matching.is_empty() && revision.is_none() {
                return refuse(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                );
            }
        }
        let continues = query.text("continue").to_owned();
        let revision = match (revision, matching) {
            (None, _) => Revision::Latest,
            (Some(0), "Exact") => {
                return refuse(
                    "resourceVersionMatch",
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                );
            }
            (Some(revision), "Exact") => Revision::Exact(revision),
            (Some(revision), "" | "NotOlderThan") => Revision::NotOlderThan(revision),
            (Some(_), other) => {
                let cause = Cause {
                    reason: "FieldValueNotSupported".into(),
                    message: format!(
                        "Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""
                    ),
                    field: "resourceVersionMatch".into(),
                };
                return Err(Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause]));
            }
        };
        if !continues.is_empty()
            && !matches!(revision, Revision::Latest | Revision::NotOlderThan(0))
        {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let timeout =
            query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
        Ok(Self {
            labels: LabelSelector::parse(query.text("labelSelector"))
                .map_err(Status::bad_request)?,
            fields: FieldSelector::parse(query.text("fieldSelector"))
                .map_err(Status::bad_request)?,
            limit: query
                .number("limit")?
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(0),
            continues,
            revision,
            watch,
            bookmarks: query.flag("allowWatchBookmarks")?,
            initial_events: initial.unwrap_or(false),
            timeout: timeout.filter(|&seconds| seconds > 0).map(Duration::from_secs),
        })
    }
}
