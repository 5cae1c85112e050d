//! The counts, as Prometheus reads them. Endpoints are named, never their paths, which are secrets.

use std::{
    fmt::{Display, Write as _},
    sync::atomic::Ordering::Relaxed,
};

use axum::response::{IntoResponse as _, Response};
use http::header;

use crate::{meters::Histogram, receive::Receiver};

/// The media type of the text.
const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text as an answer.
pub(super) fn answer(text: String) -> Response {
    ([(header::CONTENT_TYPE, MEDIA)], text).into_response()
}

/// See the module.
pub(super) fn text(receiver: &Receiver) -> String {
    let mut page = Page::default();
    let meters = receiver.meters();
    let endpoints = receiver.endpoints();
    let source = |name: &str| {
        let found = endpoints.iter().find(|(endpoint, _)| endpoint.name == name);
        found.map_or("", |(endpoint, _)| endpoint.source.name())
    };
    page.family("qm_hook_requests_total", "counter", "Requests by status");
    for (name, meter) in meters.endpoints() {
        for (code, count) in meter.answers.all() {
            let code = code.to_string();
            page.line(&[("endpoint", &name), ("source", source(&name)), ("code", &code)], count);
        }
    }
    page.family("qm_hook_rejected_total", "counter", "Requests turned down, by reason");
    for (name, meter) in meters.endpoints() {
        for (reason, count) in meter.rejected.all() {
            page.line(&[("endpoint", &name), ("reason", reason)], count);
        }
    }
    page.family("qm_hook_duplicates_total", "counter", "Repeats that were not told again");
    for (name, meter) in meters.endpoints() {
        page.line(&[("endpoint", &name)], meter.duplicates.load(Relaxed));
    }
    page.family(
        "qm_hook_filtered_total",
        "counter",
        "Requests of which no filter let anything pass",
    );
    for (name, meter) in meters.endpoints() {
        page.line(&[("endpoint", &name)], meter.filtered.load(Relaxed));
    }
    page.family("qm_hook_request_seconds", "histogram", "Time until the answer");
    page.histogram(&[], &meters.requests, 1e6);
    page.family("qm_hook_body_bytes", "histogram", "Length of bodies");
    page.histogram(&[], &meters.bodies, 1.0);
    page.family("qm_hook_notifications_total", "counter", "Attempts by result");
    for (name, meter) in meters.targets() {
        for (result, count) in meter.results.all() {
            page.line(&[("target", &name), ("result", result)], count);
        }
    }
    page.family("qm_hook_attempt_seconds", "histogram", "Time of attempts");
    for (name, meter) in meters.targets() {
        page.histogram(&[("target", &name)], &meter.attempts, 1e6);
    }
    page.family(
        "qm_hook_config_reload_success",
        "gauge",
        "Whether the latest configuration is used",
    );
    page.line(&[], u8::from(meters.reloaded.load(Relaxed)));
    page.family("qm_hook_key_age_seconds", "gauge", "Age of the newest key of an endpoint");
    let now = jiff::Timestamp::now().as_second();
    for (endpoint, _) in &endpoints {
        if let Some(since) = endpoint.keys.newest() {
            page.line(&[("endpoint", &endpoint.name)], now.saturating_sub(since).max(0));
        }
    }
    journal(&mut page, receiver);
    page.text
}

fn journal(page: &mut Page, receiver: &Receiver) {
    let Some(Ok(figures)) = receiver.journal().map(|journal| journal.figures()) else { return };
    page.family("qm_hook_queue_depth", "gauge", "Notifications that wait");
    for (target, count) in &figures.waiting {
        page.line(&[("target", target)], count);
    }
    page.family("qm_hook_queue_oldest_seconds", "gauge", "Age of the oldest unfinished delivery");
    let now = jiff::Timestamp::now().as_millisecond();
    let age = figures.oldest.map_or(0, |id| now.saturating_sub(id.received_ms()).max(0));
    page.line(&[], age / 1000);
    page.family("qm_hook_deadletters", "gauge", "Deliveries that were given up");
    page.line(&[], figures.dead);
    page.family("qm_hook_store_bytes", "gauge", "Bytes of records in the journal");
    page.line(&[], figures.bytes);
}

#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// Begins the lines of one name.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        let _ = writeln!(self.text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
    }

    fn line(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.named("", labels, value);
    }

    fn named(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut before = '{';
        for (label, text) in labels {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{before}{label}=\"{text}\"");
            before = ',';
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    fn histogram<const N: usize>(
        &mut self,
        labels: &[(&str, &str)],
        histogram: &Histogram<N>,
        unit: f64,
    ) {
        // Sums of a metric need not be exact to the last digit.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let scaled = |value: u64| value as f64 / unit;
        let (buckets, total, sum) = histogram.read();
        for (bound, count) in buckets {
            let bound = scaled(bound).to_string();
            self.named("_bucket", &[labels, &[("le", &*bound)]].concat(), count);
        }
        self.named("_bucket", &[labels, &[("le", "+Inf")]].concat(), total);
        self.named("_sum", labels, scaled(sum));
        self.named("_count", labels, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_histograms_add_up() {
        let mut page = Page::default();
        page.family("x", "counter", "Things");
        page.line(&[("a", "b\"\\\nc"), ("d", "e")], 5);
        page.line(&[], 1);
        let meters = crate::meters::Meters::default();
        meters.bodies.note(300);
        page.histogram(&[("t", "u")], &meters.bodies, 1.0);
        let expected = "# HELP x Things.\n# TYPE x counter\nx{a=\"b\\\"\\\\\\nc\",d=\"e\"} 5\nx 1\n\
                        x_bucket{t=\"u\",le=\"256\"} 0\nx_bucket{t=\"u\",le=\"1024\"} 1\n";
        assert!(page.text.starts_with(expected), "{}", page.text);
        assert!(page.text.ends_with(
            "x_bucket{t=\"u\",le=\"+Inf\"} 1\nx_sum{t=\"u\"} 300\nx_count{t=\"u\"} 1\n"
        ));
    }
}
