//! What is counted, for Prometheus: the registry of a process, and what listeners count of requests.
//!
//! Whatever can be counted registers itself at the start; [`crate::listener::ops_router`] serves all
//! of it. Labels have few values: routes by their pattern, statuses by their class.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode, header};
use parking_lot::RwLock;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::Error;

/// The media type of the text.
const MEDIA: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Seconds, from a tenth of a millisecond to half a minute.
const TIMES: [f64; 12] =
    [0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// The registry of a process: all names begin with `qm_`.
pub fn registry() -> Registry {
    Registry::with_prefix("qm")
}

/// A histogram of times in seconds.
pub fn times() -> Histogram {
    Histogram::new(TIMES)
}

/// All that is counted, as Prometheus reads it.
pub fn answer(registry: &Registry) -> Result<Response, Error> {
    let mut text = String::new();
    text::encode(&mut text, registry).map_err(Error::internal)?;
    Ok(([(header::CONTENT_TYPE, MEDIA)], text).into_response())
}

/// Counts of the requests of all listeners; cheap to clone.
#[derive(Debug, Clone)]
pub struct Requests {
    answered: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram>,
    in_flight: Family<At, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct At {
    listener: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    listener: &'static str,
    method: &'static str,
    route: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    listener: &'static str,
    method: &'static str,
    route: Arc<str>,
    status: &'static str,
}

/// What stands for the pattern of a route where there is none.
static NOWHERE: LazyLock<Arc<str>> = LazyLock::new(|| "none".into());

impl Requests {
    /// Counts that the registry shows.
    pub fn new(registry: &mut Registry) -> Self {
        let requests = Self {
            answered: Family::default(),
            seconds: Family::new_with_constructor(times),
            in_flight: Family::default(),
        };
        registry.register(
            "http_requests",
            "Requests by route, method and class of the status",
            requests.answered.clone(),
        );
        registry.register(
            "http_request_seconds",
            "Time until the head of the answer",
            requests.seconds.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests whose answer has not begun",
            requests.in_flight.clone(),
        );
        requests
    }

    /// Counts those of one listener.
    pub(crate) fn at(&self, listener: &'static str) -> RequestsAt {
        let in_flight = self.in_flight.get_or_create_owned(&At { listener });
        RequestsAt { listener, in_flight, all: self.clone(), known: Arc::default() }
    }
}

/// Counts of the requests of one listener.
#[derive(Debug, Clone)]
pub(crate) struct RequestsAt {
    listener: &'static str,
    in_flight: Gauge,
    all: Requests,
    /// What was found by its labels once needs no looking up.
    known: Arc<RwLock<HashMap<Arc<str>, Vec<Known>>>>,
}

/// Counts of one route, method and class of status.
#[derive(Debug)]
struct Known {
    method: &'static str,
    status: &'static str,
    seconds: Histogram,
    answered: Counter,
}

impl RequestsAt {
    /// Notes that a request came, until what is returned goes.
    pub(crate) fn came(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// Notes an answer.
    pub(crate) fn answered(
        &self,
        method: &Method,
        route: Option<&Arc<str>>,
        status: StatusCode,
        took: Duration,
    ) {
        let (route, method, status) = (route.unwrap_or(&NOWHERE), name(method), class(status));
        let took = took.as_secs_f64();
        let fits = |known: &&Known| known.method == method && known.status == status;
        if let Some(known) = self.known.read().get(route).and_then(|all| all.iter().find(fits)) {
            known.seconds.observe(took);
            known.answered.inc();
            return;
        }
        let Requests { answered, seconds, .. } = &self.all;
        let asked = Asked { listener: self.listener, method, route: Arc::clone(route) };
        let labels = Answered { listener: self.listener, method, route: Arc::clone(route), status };
        let seconds = seconds.get_or_create_owned(&asked);
        let answered = answered.get_or_create_owned(&labels);
        seconds.observe(took);
        answered.inc();
        let known = Known { method, status, seconds, answered };
        self.known.write().entry(Arc::clone(route)).or_default().push(known);
    }
}

/// A request on its way; it may also break off.
pub(crate) struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Methods are what clients say, so only the known ones get a name.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
