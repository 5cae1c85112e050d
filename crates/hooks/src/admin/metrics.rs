//! The counts, as Prometheus reads them. Endpoints are named, never their paths, which are secrets.

use std::{fmt, sync::Arc, sync::atomic::Ordering::Relaxed};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
    registry::Registry,
};

use crate::{journal::Figures, meters::EndpointMeter, receive::Receiver};

/// Lets a registry show what these receivers count, which must have their times in common.
pub fn register(receivers: Vec<Arc<Receiver>>, registry: &mut Registry) {
    let Some(first) = receivers.first() else { return };
    let meters = first.meters();
    let mut histogram = |name, help, histogram: &Histogram| {
        registry.register(name, help, histogram.clone());
    };
    histogram("hook_request_seconds", "Time until the answer", &meters.requests);
    histogram("hook_body_bytes", "Length of bodies", &meters.bodies);
    registry.register_collector(Box::new(Counts(receivers)));
}

/// What has the names of endpoints and targets, which come and go.
struct Counts(Vec<Arc<Receiver>>);

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.endpoints(&mut encoder)?;
        self.targets(&mut encoder)?;
        let used = self.0.iter().all(|receiver| receiver.meters().reloaded.load(Relaxed));
        let help = "Whether the latest configuration is used";
        gauge(&mut encoder, "hook_config_reload_success", help, u64::from(used))?;
        let journals = self.0.iter().filter_map(|receiver| receiver.journal());
        let figures = journals.filter_map(|journal| journal.figures().ok()).reduce(together);
        figures.map_or(Ok(()), |figures| journal(&mut encoder, &figures))
    }
}

/// What two journals hold.
fn together(mut one: Figures, other: Figures) -> Figures {
    one.waiting.extend(other.waiting);
    one.oldest = one.oldest.into_iter().chain(other.oldest).min();
    one.dead += other.dead;
    one.bytes += other.bytes;
    one
}

impl Counts {
    fn endpoints(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let endpoints: Vec<_> = self.0.iter().flat_map(|one| one.endpoints()).collect();
        let meters: Vec<_> = self.0.iter().flat_map(|one| one.meters().endpoints()).collect();
        let source = |name: &str| {
            let found = endpoints.iter().find(|(endpoint, _)| endpoint.name == name);
            found.map_or("", |(endpoint, _)| endpoint.source.name())
        };
        let mut family = counters(encoder, "hook_requests", "Requests by status")?;
        for (name, meter) in &meters {
            for (code, count) in meter.answers.all() {
                let code = code.to_string();
                let labels = [("endpoint", &**name), ("source", source(name)), ("code", &*code)];
                count_of(&mut family, &labels, count)?;
            }
        }
        let mut family = counters(encoder, "hook_rejected", "Requests turned down, by reason")?;
        for (name, meter) in &meters {
            for (reason, count) in meter.rejected.all() {
                count_of(&mut family, &[("endpoint", &**name), ("reason", reason)], count)?;
            }
        }
        let mut each = |name, help, value: fn(&EndpointMeter) -> u64| {
            let mut family = counters(encoder, name, help)?;
            meters.iter().try_for_each(|(name, meter)| {
                count_of(&mut family, &[("endpoint", &**name)], value(meter))
            })
        };
        each("hook_duplicates", "Repeats that were not told again", |meter| {
            meter.duplicates.load(Relaxed)
        })?;
        each("hook_filtered", "Requests of which no filter let anything pass", |meter| {
            meter.filtered.load(Relaxed)
        })?;
        let now = jiff::Timestamp::now().as_second();
        let help = "Age of the newest key of an endpoint";
        let mut family = gauges(encoder, "hook_key_age_seconds", help)?;
        for (endpoint, _) in &endpoints {
            if let Some(since) = endpoint.keys.newest() {
                let age = now.saturating_sub(since).max(0);
                let labels = [("endpoint", &*endpoint.name)];
                ConstGauge::new(age).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn targets(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let meters: Vec<_> = self.0.iter().flat_map(|one| one.meters().targets()).collect();
        let mut family = counters(encoder, "hook_notifications", "Attempts by result")?;
        for (name, meter) in &meters {
            for (result, count) in meter.results.all() {
                count_of(&mut family, &[("target", &**name), ("result", result)], count)?;
            }
        }
        let (name, help) = ("hook_attempt_seconds", "Time of attempts");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (name, meter) in &meters {
            meter.attempts.encode(family.encode_family(&[("target", &**name)])?)?;
        }
        Ok(())
    }
}

fn journal(encoder: &mut DescriptorEncoder<'_>, figures: &Figures) -> fmt::Result {
    let mut family = gauges(encoder, "hook_queue_depth", "Notifications that wait")?;
    for (target, count) in &figures.waiting {
        ConstGauge::new(*count).encode(family.encode_family(&[("target", &**target)])?)?;
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let age = figures.oldest.map_or(0, |id| now.saturating_sub(id.received_ms()).max(0));
    let age = u64::try_from(age / 1000).unwrap_or_default();
    let help = "Age of the oldest unfinished delivery";
    gauge(encoder, "hook_queue_oldest_seconds", help, age)?;
    gauge(encoder, "hook_deadletters", "Deliveries that were given up", figures.dead)?;
    gauge(encoder, "hook_store_bytes", "Bytes of records in the journal", figures.bytes)
}

fn counters<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)
}

fn gauges<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn count_of(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    count: u64,
) -> fmt::Result {
    ConstCounter::new(count).encode(family.encode_family(labels)?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstGauge::new(value).encode(gauges(encoder, name, help)?)
}
