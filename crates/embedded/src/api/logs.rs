//! The log subresource of pods. Whoever runs the pods gives the bytes.

use std::io;

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use serde_json::Value;

use super::{query::Query, status::Status};

/// What of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// The log of the container's previous run.
    pub previous: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only lines of the last seconds.
    pub since_seconds: Option<u64>,
    /// Only lines after this time.
    pub since_time: Option<jiff::Timestamp>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Why there is no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The request does not fit the state of the container (400).
    #[error("{0}")]
    BadRequest(String),
    /// Something broke (500).
    #[error("{0}")]
    Internal(String),
}

/// The bytes of a log as they come.
pub type LogStream = BoxStream<'static, io::Result<Bytes>>;

/// Whoever has the logs of pods.
pub trait LogSource: Send + Sync {
    /// Opens the log of a container of a pod (the Pod as JSON).
    fn open<'a>(
        &'a self,
        pod: &'a Value,
        container: &'a str,
        options: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, LogError>>;
}

impl From<LogError> for Status {
    fn from(error: LogError) -> Self {
        match error {
            LogError::BadRequest(message) => Self::bad_request(message),
            LogError::Internal(message) => Self::internal(message),
        }
    }
}

/// Reads the options from a query, and finds out which container is meant.
pub(crate) fn request(pod: &Value, query: &Query) -> Result<(String, LogOptions), Status> {
    let count = |name: &str| -> Result<Option<u64>, Status> {
        Ok(query.number(name)?.map(|number| u64::try_from(number).unwrap_or(0)))
    };
    let since_time = match query.text("sinceTime") {
        "" => None,
        text => Some(text.parse().map_err(|error| Status::bad_request(format!("{error}")))?),
    };
    let options = LogOptions {
        follow: query.flag("follow")?,
        previous: query.flag("previous")?,
        timestamps: query.flag("timestamps")?,
        tail_lines: count("tailLines")?,
        since_seconds: count("sinceSeconds")?,
        since_time,
        limit_bytes: count("limitBytes")?,
    };
    Ok((container(pod, query.text("container"))?, options))
}

/// The container that is meant.
pub(crate) fn container(pod: &Value, wanted: &str) -> Result<String, Status> {
    let names = |list: &str| -> Vec<&str> {
        pod.pointer(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|container| container.get("name")?.as_str())
            .collect()
    };
    let pod_name = super::kinds::text(pod, "/metadata/name");
    let (main, init) = (names("/spec/containers"), names("/spec/initContainers"));
    if !wanted.is_empty() {
        return if main.contains(&wanted) || init.contains(&wanted) {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!("container {wanted} is not valid for pod {pod_name}")))
        };
    }
    let default = pod
        .pointer("/metadata/annotations/kubectl.kubernetes.io~1default-container")
        .and_then(Value::as_str);
    match main.as_slice() {
        _ if default.is_some_and(|default| main.contains(&default)) => {
            Ok(default.unwrap_or_default().to_owned())
        }
        [only] if init.is_empty() => Ok((*only).to_owned()),
        _ => {
            let mut message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                main.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}
