//! What reviews come to, for Prometheus.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::Denial;

/// Counts reviews by webhook and verdict; clones share their counts.
#[derive(Debug, Clone, Default)]
pub struct Reviews(Family<[(&'static str, &'static str); 2], Counter>);

impl Reviews {
    /// Shows the counts.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Writes that admission rules were asked about, by webhook and verdict";
        registry.register("admission_reviews", help, self.0.clone());
    }

    /// Notes what the rules said.
    pub fn note(&self, webhook: &'static str, verdict: &Result<Vec<String>, Denial>) {
        let verdict = match verdict {
            Ok(warnings) if warnings.is_empty() => "allowed",
            Ok(_) => "warned",
            Err(denial) if denial.code >= 500 => "failed",
            Err(_) => "denied",
        };
        self.count(webhook, verdict);
    }

    /// Notes that a question could not be read.
    pub(super) fn unreadable(&self, webhook: &'static str) {
        self.count(webhook, "unreadable");
    }

    fn count(&self, webhook: &'static str, verdict: &'static str) {
        self.0.get_or_create(&[("webhook", webhook), ("verdict", verdict)]).inc();
    }
}
