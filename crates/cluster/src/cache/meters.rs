//! What caches tell of themselves, for Prometheus.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{Cache, Shared};

/// Tells of some caches: how much they hold, and how fresh that is. Register it as a collector.
#[derive(Debug, Default)]
pub struct CacheMeters(Vec<Arc<dyn Facts>>);

impl CacheMeters {
    /// Tells of this cache too, without keeping its watch alive.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, cache: &Cache<T>) -> Self {
        // One that watches nothing has nothing to tell.
        if cache.watch.is_some() {
            self.0.push(Arc::clone(&cache.shared) as Arc<dyn Facts>);
        }
        self
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: fn(&dyn Facts) -> f64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        self.0.iter().try_for_each(|cache| {
            let labels = [("resource", cache.name())];
            ConstGauge::new(value(&**cache)).encode(family.encode_family(&labels)?)
        })
    }
}

impl Collector for CacheMeters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.gauge(encoder, "cache_objects", "Objects in a watch cache", |cache| cache.objects())?;
        let help = "Whether the first list of a watch cache has arrived";
        self.gauge(encoder, "cache_ready", help, |cache| cache.ready())?;
        let help = "Time since the watch of a cache last brought something";
        self.gauge(encoder, "cache_age_seconds", help, |cache| cache.age())?;
        let (name, help) = ("cache_interruptions", "How often the watch of a cache broke off");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.0.iter().try_for_each(|cache| {
            let labels = [("resource", cache.name())];
            ConstCounter::new(cache.interruptions()).encode(family.encode_family(&labels)?)
        })
    }
}

/// What a cache of any type tells.
trait Facts: fmt::Debug + Send + Sync {
    fn name(&self) -> &str;
    fn objects(&self) -> f64;
    fn ready(&self) -> f64;
    fn age(&self) -> f64;
    fn interruptions(&self) -> u64;
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: Send + Sync> Facts for Shared<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn objects(&self) -> f64 {
        f64::from(u32::try_from(self.state.read().len()).unwrap_or(u32::MAX))
    }

    fn ready(&self) -> f64 {
        f64::from(u8::from(self.ready.load(Ordering::Acquire)))
    }

    fn age(&self) -> f64 {
        self.heard.lock().elapsed().as_secs_f64()
    }

    fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Relaxed)
    }
}
