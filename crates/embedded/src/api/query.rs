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
pub(crate) struct Query(HashMap<String, Vec<String>>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let decode = |text: &str| {
            percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
        };
        let mut parameters: HashMap<String, Vec<String>> = HashMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.entry(decode(key)).or_default().push(decode(value));
        }
        Self(parameters)
    }

    /// A parameter; like the API server, the first of several counts.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.first(name).unwrap_or_default()
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0.get(name).into_iter().flatten().map(String::as_str).collect()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Status> {
        Ok(self.optional_flag(name)?.unwrap_or(false))
    }

    pub(crate) fn optional_flag(&self, name: &str) -> Result<Option<bool>, Status> {
        match self.first(name) {
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
}

/// Whether `dryRun`, which may only be `All`, is asked for.
pub(crate) fn check_dry_run(given: &[&str], causes: &mut Vec<Cause>) -> bool {
    if given.iter().any(|one| *one != "All") {
        causes.push(Cause::not_supported("dryRun", &Value::from(given.to_vec()), &["All"]));
    }
    !given.is_empty()
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
        let mut causes = Vec::new();
        if options == "PatchOptions" && query.optional_flag("force")?.is_some() {
            let detail = "may not be specified for non-apply patch";
            causes.push(Cause::forbidden("force", detail));
        }
        check_manager(query.text("fieldManager"), &mut causes);
        let dry_run = check_dry_run(&query.all("dryRun"), &mut causes);
        let fields = match query.text("fieldValidation") {
            "Ignore" => FieldValidation::Ignore,
            "" | "Warn" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                let field = "fieldValidation";
                causes.push(Cause::not_supported(field, &Value::from(other), &supported));
                FieldValidation::Warn
            }
        };
        if causes.is_empty() {
            return Ok(Self { caller, dry_run, fields });
        }
        Err(Status::invalid("meta.k8s.io", options, "", causes))
    }
}

/// The name of who manages fields, which is not kept, but checked.
fn check_manager(name: &str, causes: &mut Vec<Cause>) {
    const LONGEST: usize = 128;
    if name.len() > LONGEST {
        causes.push(Cause::too_long("fieldManager", 128));
    }
    for (at, c) in name.char_indices().filter(|(_, c)| c.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {at})", c as u32);
        causes.push(Cause::invalid("fieldManager", &Value::from(name), &detail));
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

fn parse_revision(text: &str, watch: bool) -> Result<Option<u64>, Status> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let shown = Value::from(text);
            let problem = format!(
                "resourceVersion: Invalid value: {shown}: strconv.ParseUint: parsing {shown}: invalid syntax"
            );
            if watch {
                Status::unknown(problem)
            } else {
                Status::bad_request(format!("invalid resource version: {problem}"))
            }
        }),
    }
}

/// What revisions and matches do not go together.
fn check_match(
    watch: bool,
    revision: &str,
    matching: &str,
    initial: bool,
    continued: bool,
) -> Vec<Cause> {
    const FIELD: &str = "resourceVersionMatch";
    let supported: &[&str] = if watch { &["NotOlderThan"] } else { &["Exact", "NotOlderThan", ""] };
    let given = !matching.is_empty();
    let unsupported = given && (!supported.contains(&matching));
    let mut causes = Vec::new();
    let mut forbid = |wrong: bool, field: &str, detail: &str| {
        if wrong {
            causes.push(Cause::forbidden(field, detail));
        }
    };
    if watch {
        forbid(
            initial && matching != "NotOlderThan",
            FIELD,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
        forbid(
            given && !initial,
            FIELD,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
    } else {
        forbid(
            given && revision.is_empty(),
            FIELD,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        );
    }
    let continues = "resourceVersionMatch is forbidden when continue is provided";
    forbid(!watch && given && continued, FIELD, continues);
    if unsupported {
        causes.push(Cause::not_supported(FIELD, &Value::from(matching), supported));
    }
    let mut forbid = |wrong: bool, field: &str, detail: &str| {
        if wrong {
            causes.push(Cause::forbidden(field, detail));
        }
    };
    forbid(watch && continued, FIELD, continues);
    forbid(
        matching == "Exact" && revision == "0" && !watch,
        FIELD,
        "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
    );
    forbid(initial && !watch, "sendInitialEvents", "sendInitialEvents is forbidden for list");
    causes
}

impl ListOptions {
    pub(crate) fn new(query: &Query) -> Result<Self, Status> {
        let watch = query.flag("watch")?;
        let matching = query.text("resourceVersionMatch");
        let initial = query.optional_flag("sendInitialEvents")?;
        let continues = query.text("continue").to_owned();
        let text = query.text("resourceVersion");
        let causes = check_match(watch, text, matching, initial.is_some(), !continues.is_empty());
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", causes));
        }
        let revision = match (parse_revision(text, watch)?, matching) {
            (None, _) => Revision::Latest,
            (Some(revision), "Exact") => Revision::Exact(revision),
            (Some(revision), _) => Revision::NotOlderThan(revision),
        };
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
