//! What the sequencer's thread costs with a log on a real directory: CPU time per group, from what is staged to what is
//! dealt to lanes and, a group later, struck off.
//!
//! `cargo run --release -p forebay-pipeline --example sequencer_speed -- DIR` writes about 1 GiB below DIR, which should
//! be on the disk in question, and removes it again. What else runs on the machine disturbs it: run it twice.

#![expect(clippy::print_stdout, reason = "it prints its measurements")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{
    AckMode, Clock, Message, Origin, QoS, SeededEntropy, ShardMap, SystemClock, Time,
};
use forebay_metrics::Registry;
use forebay_pipeline::{LaneTable, Pipeline, PipelineConfig, Settlement, SinkEvent, Stream};
use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};
use forebay_spool::{Config, DiskFs, Spool};
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of a record's data.
const DATA: usize = 256;
/// Groups of one measurement.
const GROUPS: u32 = 1000;
const SHARDS: u32 = 8;

fn cpu() -> Outcome<Duration> {
    Ok(clock_gettime(ClockId::ThreadCPUTime).try_into()?)
}

fn rules() -> Outcome<Arc<RuleSet>> {
    let json = br#"{"sql": "SELECT * FROM '#'", "actions": [
        {"kinesis": {"roleArn": "r", "streamName": "s", "partitionKey": "${topic()}"}}]}"#;
    let rule = RuleDocument::from_json(json, Some("all"))?;
    let rules = vec![(rule, RuleSettings::default())];
    let rules = RuleSet::build(rules, RuleLimits::default());
    Ok(Arc::new(rules.map_err(|errors| format!("{errors:?}"))?))
}

struct Run {
    clock: Arc<SystemClock>,
    pipeline: Pipeline,
    settlement: Settlement,
    sink: Option<(Arc<Stream>, Arc<LaneTable>)>,
    /// CPU time of the sequencer.
    used: Duration,
}

impl Run {
    fn open(dir: &Path) -> Outcome<Self> {
        let clock = Arc::new(SystemClock::new());
        let config = Config {
            allow_volatile: true,
            max_bytes: Some(1 << 30),
            reserve_bytes: Some(1 << 30),
            ..Config::on_disk(dir)
        };
        let entropy = SeededEntropy::from_os();
        let (spool, _) = Spool::open(Arc::new(DiskFs), config, entropy, clock.now(), 0)?;
        let config = PipelineConfig {
            per_stream_share: 1.0,
            commit_max_delay: Duration::ZERO,
            ..PipelineConfig::default()
        };
        let pipeline = Pipeline::with_log(
            config,
            &rules()?,
            &Registry::new(),
            &mut SeededEntropy::from_os(),
            spool,
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let settlement = pipeline.sink.settlement();
        Ok(Self {
            clock,
            pipeline,
            settlement,
            sink: None,
            used: Duration::ZERO,
        })
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    /// One group: staged by a worker, sequenced, stored by the sink.
    fn group(&mut self, size: usize) -> Outcome<()> {
        let payload = Bytes::from(vec![7; DATA]);
        let now = self.now();
        for at in 0..size {
            let message = Message {
                topic: &format!("devices/{}", at % 1000),
                payload: &payload,
                client_id: None,
                timestamp_ms: 0,
                origin: &Origin::UNKNOWN,
            };
            let intake = &mut self.pipeline.intakes[0];
            intake.publish_detached(&message, QoS::AtLeastOnce, AckMode::Spool, now);
        }
        self.pipeline.intakes[0].flush();
        let start = cpu()?;
        while self.pipeline.sequencer.step(self.clock.now()) {}
        self.used += cpu()?.saturating_sub(start);
        self.work();
        self.store();
        Ok(())
    }

    /// What other threads do for the log.
    fn work(&mut self) {
        let now = self.now();
        while let Some(task) = self.pipeline.sequencer.take_task(now) {
            let result = task.run(&DiskFs, &*self.clock);
            self.pipeline.sequencer.finish_task(result, now);
        }
    }

    fn store(&mut self) {
        while let Some(event) = self.pipeline.sink.next_event() {
            match event {
                SinkEvent::Opened(stream) => {
                    let map = Arc::new(ShardMap::even(SHARDS).expect("there are shards"));
                    self.pipeline.sink.install_map(&stream, map, Vec::new());
                }
                SinkEvent::Lanes { stream, table } => self.sink = Some((stream, table)),
                SinkEvent::Ready(_) | SinkEvent::Closed(_) | SinkEvent::Drain => {}
            }
        }
        if let Some((stream, table)) = &self.sink {
            for lane in &table.lanes {
                for record in std::iter::from_fn(|| lane.pop()).flatten() {
                    self.settlement.stored(stream, record);
                }
            }
            self.settlement.flush();
        }
    }
}

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let parent = args
        .next()
        .ok_or("name a directory of the disk to measure")?;
    let dir = tempfile::tempdir_in(parent)?;
    let mut run = Run::open(&dir.path().join("spool"))?;
    for size in [30, 100, 350, 1000] {
        // The first ones open the stream and prepare segments.
        for _ in 0..100 {
            run.group(size)?;
        }
        run.used = Duration::ZERO;
        let before = run.pipeline.control.conservation().stored;
        for _ in 0..GROUPS {
            run.group(size)?;
        }
        let stored = run.pipeline.control.conservation().stored - before;
        let used = run.used / GROUPS;
        let target = Duration::from_micros(50) + Duration::from_nanos(250) * u32::try_from(size)?;
        println!(
            "group {size:>5}: {used:>8.1?} CPU (target {target:?}), {:>6.3} us per record; {stored} stored",
            used.as_secs_f64() * 1e6 / size as f64,
        );
    }
    Ok(())
}
