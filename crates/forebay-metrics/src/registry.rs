//! The registry: makes handles, runs what must be looked up at scrape, and writes the exposition.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::histogram::{Buckets, Histogram};
use crate::process;

const METADATA: Metadata<'static> = Metadata::new("forebay", Level::INFO, None);

/// A number that only grows. Cloning gives another handle to it.
#[derive(Clone)]
pub struct Counter(metrics::Counter);

impl Counter {
    /// Adds `by`.
    pub fn increment(&self, by: u64) {
        self.0.increment(by);
    }

    /// Sets the counter to a total that is kept elsewhere; it never goes back.
    pub fn absolute(&self, total: u64) {
        self.0.absolute(total);
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counter")
    }
}

/// A counter of one owner that adds up in plain memory and is handed over in batches: an addition per event, an atomic
/// operation per [`flush`](Self::flush).
#[derive(Debug)]
pub struct BatchedCounter {
    pending: u64,
    counter: Counter,
}

impl BatchedCounter {
    /// Batches for this counter.
    pub fn new(counter: Counter) -> Self {
        Self {
            pending: 0,
            counter,
        }
    }

    /// Adds `by`; nobody sees it before the next flush.
    pub fn add(&mut self, by: u64) {
        self.pending += by;
    }

    /// True when something was added since the last flush.
    pub fn is_dirty(&self) -> bool {
        self.pending > 0
    }

    /// Hands over what was added.
    pub fn flush(&mut self) {
        if self.pending > 0 {
            self.counter.increment(std::mem::take(&mut self.pending));
        }
    }
}

/// A number that goes up and down. Cloning gives another handle to it.
#[derive(Clone)]
pub struct Gauge(metrics::Gauge);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Adds `by`, which may be negative.
    pub fn add(&self, by: f64) {
        self.0.increment(by);
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauge")
    }
}

type ScrapeHook = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct HistogramFamily {
    help: &'static str,
    series: BTreeMap<String, Histogram>,
}

struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    histograms: Mutex<BTreeMap<&'static str, HistogramFamily>>,
    hooks: Mutex<Vec<ScrapeHook>>,
}

/// All metrics of one server. Cloning it gives another handle to the same metrics.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        Self {
            inner: Arc::new(Inner {
                recorder,
                handle,
                histograms: Mutex::default(),
                hooks: Mutex::default(),
            }),
        }
    }

    /// A counter. The same name and labels give the same counter. Not for hot paths: keep the handle.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        self.inner
            .recorder
            .describe_counter(KeyName::from(name), None, SharedString::from(help));
        Counter(
            self.inner
                .recorder
                .register_counter(&key(name, labels), &METADATA),
        )
    }

    /// A gauge. The same name and labels give the same gauge. Not for hot paths: keep the handle.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        self.inner
            .recorder
            .describe_gauge(KeyName::from(name), None, SharedString::from(help));
        Gauge(
            self.inner
                .recorder
                .register_gauge(&key(name, labels), &METADATA),
        )
    }

    /// A histogram. The same name and labels give the same histogram, with the buckets of its first caller.
    ///
    /// # Panics
    /// When another thread panicked while it registered a histogram.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        buckets: Buckets,
    ) -> Histogram {
        let mut families = self
            .inner
            .histograms
            .lock()
            .expect("no panic while the map is locked");
        let family = families.entry(name).or_default();
        family.help = help;
        family
            .series
            .entry(label_text(labels))
            .or_insert_with(|| Histogram::new(buckets))
            .clone()
    }

    /// Runs `hook` before every exposition, for gauges that are cheaper to look up than to keep up to date. Hooks are
    /// added while a server is wired and stay for its life.
    ///
    /// # Panics
    /// When a hook panicked earlier.
    pub fn on_scrape(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.inner
            .hooks
            .lock()
            .expect("no panic while the list is locked")
            .push(Box::new(hook));
    }

    /// Everything in the Prometheus text format.
    ///
    /// # Panics
    /// When a hook panicked earlier.
    pub fn render(&self) -> String {
        for hook in self
            .inner
            .hooks
            .lock()
            .expect("no panic while the list is locked")
            .iter()
        {
            hook();
        }
        self.inner.handle.run_upkeep();
        let mut text = self.inner.handle.render();
        for (name, family) in self
            .inner
            .histograms
            .lock()
            .expect("no panic while locked")
            .iter()
        {
            text.push_str(&format!(
                "# HELP {name} {}\n# TYPE {name} histogram\n",
                family.help
            ));
            for (labels, histogram) in &family.series {
                histogram.render(name, labels, &mut text);
            }
            text.push('\n');
        }
        process::render(&mut text);
        text
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> = labels
        .iter()
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect();
    Key::from_parts(name, labels)
}

fn label_text(labels: &[(&'static str, &str)]) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let escaped = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!("{name}=\"{escaped}\"")
        })
        .collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::buckets;

    #[test]
    fn registries_are_apart_and_hooks_run_before_the_text_is_written() {
        let (a, b) = (Registry::new(), Registry::new());
        a.counter("x_total", "Help.", &[]).increment(1);
        let gauge = b.gauge("g", "Help.", &[("k", "v\"w")]);
        b.on_scrape(move || gauge.set(2.5));
        b.histogram("h_seconds", "Help.", &[("rule", "r")], buckets::LATENCY)
            .shard()
            .record(1);
        assert!(a.render().contains("x_total 1"));
        let text = b.render();
        assert!(!text.contains("x_total"));
        assert!(text.contains("g{k=\"v\\\"w\"} 2.5"), "{text}");
        assert!(text.contains("# TYPE h_seconds histogram"));
        assert!(text.contains("h_seconds_bucket{rule=\"r\",le=\"0.0001\"} 1"));
        assert!(text.contains("process_resident_memory_bytes "));
    }
}
