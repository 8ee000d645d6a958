//! What every test here starts from: a stream inside the test, the program in front of it, and
//! the judgement at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forebay_stream::{FaultRule, FaultScript, RunningServer, ServerConfig, Stats, StreamServer};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::kinesis::Record;
use forebay_tests::metrics::Metrics;
use forebay_tests::oracle::{Findings, Numbered, Vector, compare, vectors};
use forebay_tests::process::Finished;
use forebay_tests::wait;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::gateway::Gateway;
use crate::load::{Delivery, Device};

/// How long anything may take that nothing holds up.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Records read from a shard at a time.
const PAGE: usize = 10_000;

/// The operation that stores records.
pub(crate) const PUT: &str = "PutRecords";
/// The code of a throttled record.
pub(crate) const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// A running stream and a running program. The program goes first.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) forebay: Forebay,
    gateway: Option<Gateway>,
    pub(crate) server: RunningServer,
    _runtime: Runtime,
}

/// What was found when the load had ended.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) findings: Findings,
    pub(crate) records: Vec<Record>,
    pub(crate) metrics: Metrics,
    pub(crate) stats: Stats,
}

/// How a stand is built.
#[derive(Debug)]
pub(crate) struct Plan {
    streams: Vec<(String, Option<u32>)>,
    builder: Builder,
    gateway: bool,
}

// === impl Plan ===

impl Plan {
    /// A stream with so many shards, without rate limits, and a rule that sends `STREAM/#` to it.
    pub(crate) fn new(stream: &str, shards: u32) -> Result<Self> {
        let plan = Self {
            streams: Vec::new(),
            builder: Builder::new()?,
            gateway: false,
        };
        plan.stream(stream, Some(shards))
    }

    /// One more stream and its rule; without shards only the rule.
    pub(crate) fn stream(mut self, stream: &str, shards: Option<u32>) -> Result<Self> {
        let sql = format!("SELECT * FROM '{stream}/#'");
        self.streams.push((stream.to_owned(), shards));
        self.configure(|builder| builder.kinesis_rule(stream, &sql, stream, "${key}"))
    }

    /// Configures the program.
    pub(crate) fn configure(self, change: impl FnOnce(Builder) -> Result<Builder>) -> Result<Self> {
        Ok(Self {
            builder: change(self.builder)?,
            ..self
        })
    }

    /// `--set key=value`; the value is TOML.
    pub(crate) fn set(self, key: &str, value: &str) -> Result<Self> {
        self.configure(|builder| Ok(builder.set(key, value)))
    }

    /// With a gateway before the stream that writes down every request.
    pub(crate) fn observed(mut self) -> Self {
        self.gateway = true;
        self
    }

    /// Starts everything.
    pub(crate) fn start(self) -> Result<Stand> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let server = runtime.block_on(StreamServer::start(ServerConfig {
            bind: ([127, 0, 0, 1], 0).into(),
            limits: false,
            ..ServerConfig::default()
        }))?;
        for (stream, shards) in &self.streams {
            if let Some(shards) = shards {
                server.create_stream(stream, *shards)?;
            }
        }
        let gateway = if self.gateway {
            Some(Gateway::start(server.local_addr())?)
        } else {
            None
        };
        let endpoint = gateway
            .as_ref()
            .map_or_else(|| server.endpoint_url(), Gateway::endpoint);
        Ok(Stand {
            forebay: self.builder.endpoint(&endpoint).start()?,
            gateway,
            server,
            _runtime: runtime,
        })
    }
}

// === impl Stand ===

impl Stand {
    /// Puts faults into force; their windows and numbers begin now.
    pub(crate) fn inject(&self, rules: impl Into<Vec<FaultRule>>) -> Result<()> {
        let script = FaultScript {
            rules: rules.into(),
            seed: 7,
        };
        Ok(self.server.faults().set(script)?)
    }

    /// The gateway of an observed stand.
    pub(crate) fn gateway(&self) -> Result<&Gateway> {
        self.gateway.as_ref().context("the stand is not observed")
    }

    /// How often the stream has injected this effect.
    pub(crate) fn injected(&self, effect: &str) -> u64 {
        let injected = self.server.stats().injected;
        injected.get(effect).copied().unwrap_or(0)
    }

    /// Everything in a stream, shard by shard in the order of each.
    pub(crate) fn records(&self, stream: &str) -> Result<Vec<Record>> {
        let shards = self.shards(stream)?;
        let mut records: Vec<Record> = Vec::new();
        for shard in 0..shards {
            let mut after: Option<String> = None;
            loop {
                let page = self
                    .server
                    .read_shard(stream, shard, after.as_deref(), PAGE)?;
                let Some(last) = page.last() else { break };
                after = Some(last.sequence_number.clone());
                records.extend(page.into_iter().map(|record| Record {
                    shard: record.shard_id,
                    sequence_number: record.sequence_number,
                    partition_key: record.partition_key,
                    data: record.data,
                    arrival_ms: record.arrival_ms,
                }));
            }
        }
        Ok(records)
    }

    fn shards(&self, stream: &str) -> Result<u32> {
        let streams = self.server.stats().streams;
        let found = streams.iter().find(|found| found.stream_name == stream);
        Ok(u32::try_from(found.context("the stream")?.shards.len())?)
    }

    /// Scrapes until `holds`, and returns what was scraped then.
    pub(crate) fn until_metrics(
        &self,
        what: &str,
        holds: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics> {
        let mut last = Metrics::default();
        let waited = wait::until(what, LIMIT, || {
            last = self.forebay.metrics()?;
            Ok(holds(&last).then(|| last.clone()))
        });
        waited.with_context(|| format!("{last:?}"))
    }

    /// Judges a stream after everything that was published to it was answered: nothing lost,
    /// nothing invented, and the program's own figures are those of the stream.
    pub(crate) fn judge(&self, stream: &str, deliveries: &[Delivery]) -> Result<Judgement> {
        let published: BTreeMap<String, u64> =
            deliveries.iter().flat_map(Delivery::published).collect();
        self.judge_published(stream, &published)
    }

    /// As [`Self::judge`], for what else was published.
    pub(crate) fn judge_published(
        &self,
        stream: &str,
        published: &BTreeMap<String, u64>,
    ) -> Result<Judgement> {
        let metrics = self.until_metrics("rest", |metrics| {
            metrics.sum("forebay_records_pending", &[]) == 0.0
        })?;
        for balance in [
            "forebay_records_conservation_difference",
            "forebay_ingest_budget_used_bytes",
        ] {
            let value = metrics.value(balance, &[])?;
            ensure!(value == 0.0, "{balance} = {value} at rest");
        }
        let records = self.records(stream)?;
        let findings = compare(published, &records, identify)?;
        findings.expect_complete()?;
        let counted = metrics.sum(
            "forebay_kinesis_user_records_stored_total",
            &[("stream", stream)],
        );
        let distinct = records.len() - findings.duplicated.len();
        ensure!(
            counted == distinct as f64,
            "{counted} records counted as stored, {distinct} are"
        );
        Ok(Judgement {
            findings,
            records,
            metrics,
            stats: self.server.stats(),
        })
    }

    /// Stops the program, which must end well and must not have panicked anywhere.
    pub(crate) fn stop(self) -> Result<()> {
        let finished = self.end()?;
        ensure!(finished.code() == Some(0), "{finished:?}");
        Ok(())
    }

    /// Stops the program and returns how it ended, which must not be by a panic.
    pub(crate) fn end(self) -> Result<Finished> {
        let finished = self.forebay.stop(LIMIT)?;
        ensure!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
        Ok(finished)
    }
}

/// Key and number as the payload says them; the partition key must be the payload's.
fn identify(record: &Record) -> Result<Numbered> {
    let value: Value = record.json()?;
    let key = value["key"].as_str().unwrap_or_default().to_owned();
    ensure!(record.partition_key == key, "{record:?}");
    Ok((key, value["number"].as_u64().unwrap_or(u64::MAX)))
}

// === impl Judgement ===

impl Judgement {
    /// The records that the program says were refused with this code.
    pub(crate) fn record_errors(&self, code: &str) -> f64 {
        self.metrics
            .sum("forebay_kinesis_record_errors_total", &[("code", code)])
    }

    /// The requests that the program says failed.
    pub(crate) fn request_errors(&self) -> f64 {
        self.metrics
            .sum("forebay_kinesis_request_errors_total", &[])
    }

    /// The inversions that the program says there were.
    pub(crate) fn inversions(&self) -> f64 {
        self.metrics
            .sum("forebay_kinesis_order_inversions_total", &[])
    }

    /// The upper bound of duplicates that the program says there is.
    pub(crate) fn possible_duplicates(&self) -> f64 {
        self.metrics
            .sum("forebay_kinesis_possible_duplicates_total", &[])
    }
}

/// Devices with all keys of the recorded vectors between them.
pub(crate) fn devices(stream: &str, count: usize) -> Result<Vec<Device>> {
    let vectors = vectors()?;
    Ok((0..count)
        .map(|place| {
            let keys = vectors.iter().skip(place).step_by(count);
            let keys = keys.map(|vector| vector.key.clone()).collect();
            Device::new(stream, &format!("device-{place}"), keys)
        })
        .collect())
}

/// The vectors whose keys belong to this shard of so many.
pub(crate) fn vectors_of(shard: usize, shards: u32) -> Result<Vec<Vector>> {
    let vectors = vectors()?.into_iter();
    Ok(vectors
        .filter(|vector| vector.shard(shards) == shard)
        .collect())
}
