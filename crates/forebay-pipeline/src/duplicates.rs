//! What may be stored twice, by cause.
//!
//! Nobody knows what a process had sent when it died, and the log learns of a stored record later than the service. So
//! what is counted is an upper bound: the records that were sent although an earlier request may have carried them, and
//! those that a restart would send again.

use forebay_core::Fs;
use forebay_metrics::{Counter, Registry};
use forebay_spool::{Spool, UNKEPT_SETTLED_MAX};

use crate::RECORD_OVERHEAD_BYTES;

/// Why a record may be stored twice. What devices send twice is not among them: those are two messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DuplicateSource {
    /// It is sent again because nobody knows what became of a request.
    Ambiguous,
    /// It was owed when the log was opened, and the process before may have sent it.
    SpoolReplay,
    /// The same, after damage that may hide how much was known to be stored.
    SpoolDamage,
    /// It was stored while that could not be written to the log: a restart would send it again.
    DiskFailure,
}

impl DuplicateSource {
    /// All sources.
    pub const ALL: [DuplicateSource; 4] = [
        Self::Ambiguous,
        Self::SpoolReplay,
        Self::SpoolDamage,
        Self::DiskFailure,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::SpoolReplay => "spool_replay",
            Self::SpoolDamage => "spool_damage",
            Self::DiskFailure => "disk_failure",
        }
    }

    /// The counter of this source for a stream. Keep it where it is needed often.
    pub fn counter(self, registry: &Registry, stream: &str) -> Counter {
        registry.counter(
            "forebay_kinesis_possible_duplicates_total",
            "Upper bound of duplicates, by source. ambiguous: records sent again although a request with an unknown \
             outcome may have stored them. spool_replay: records owed at the start, as far as the process before may \
             have sent them. spool_damage: records owed at the start after damage that may hide what was stored. \
             disk_failure: records stored while the spool could not be written, which a restart would send again.",
            &[("stream", stream), ("source", self.as_str())],
        )
    }
}

/// What the log owes from earlier processes, as far as one of them may have sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// Their records have lower numbers in the log; those of this process do not.
    pub below: u64,
    /// How many of them may have been sent, whichever they are, and are not counted yet.
    pub records: u64,
    /// What they are counted as.
    pub source: DuplicateSource,
}

impl Inherited {
    /// What a log owes that has just been opened; `None` when it owes nothing. `lanes_bytes` is the memory that lanes
    /// may take, taken to be what it was in the process before.
    ///
    /// That process held no more than that, plus what it had settled without having written so. Which records these
    /// were does not matter: as many as were sent before can be stored twice, so the first ones that are sent now stand
    /// for them.
    pub(crate) fn of<F: Fs>(spool: &Spool<F>, lanes_bytes: u64) -> Option<Self> {
        if spool.unsettled().is_empty() && spool.uncertain().is_none() {
            return None;
        }
        let in_memory = lanes_bytes / u64::from(RECORD_OVERHEAD_BYTES);
        let (records, source) = match spool.may_hide_settled() {
            true => (u64::MAX, DuplicateSource::SpoolDamage),
            false => (in_memory + UNKEPT_SETTLED_MAX, DuplicateSource::SpoolReplay),
        };
        Some(Self {
            below: spool.next_seq(),
            records,
            source,
        })
    }

    /// So many of them are sent now. Returns how many of these are to be counted.
    pub fn count(&mut self, sent: u64) -> u64 {
        let counted = self.records.min(sent);
        self.records -= counted;
        counted
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use forebay_core::{
        AckMode, Clock as _, ManualClock, Message, Origin, QoS, SeededEntropy, ShardMap, Time,
    };
    use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};
    use forebay_spool::Config;
    use forebay_spool::testing::{Faults, SimDisk};

    use super::*;
    use crate::{LaneTable, Pipeline, PipelineConfig, Record, Settlement, SinkEvent, Stream};

    const FIRST_SEGMENT: &str = "/spool/00000001.seg";

    /// One process on a disk, with one stream of one shard.
    struct Process {
        disk: SimDisk,
        clock: Arc<ManualClock>,
        registry: Registry,
        pipeline: Pipeline<SimDisk>,
        settlement: Settlement,
        sink: Option<(Arc<Stream>, Arc<LaneTable>)>,
    }

    impl Process {
        fn start(disk: &SimDisk) -> Self {
            let clock = Arc::new(ManualClock::new(1_700_000_000_000));
            let config = Config {
                segment_bytes: 64 << 10,
                first_bytes: 64 << 10,
                max_bytes: Some(1 << 20),
                reserve_bytes: Some(0),
                ..Config::new("/spool")
            };
            let entropy = SeededEntropy::new(1);
            let (spool, _) =
                Spool::open(Arc::new(disk.clone()), config, entropy, Time::ZERO, 0).unwrap();
            let json = br#"{"sql": "SELECT * FROM '#'", "actions": [
                {"kinesis": {"roleArn": "r", "streamName": "s", "partitionKey": "k"}}]}"#;
            let rule = RuleDocument::from_json(json, Some("all")).unwrap();
            let rules = vec![(rule, RuleSettings::default())];
            let rules = RuleSet::build(rules, RuleLimits::default()).unwrap();
            let config = PipelineConfig {
                workers: 1,
                lanes_bytes: 1 << 20,
                commit_max_delay: Duration::ZERO,
                ..PipelineConfig::default()
            };
            let registry = Registry::new();
            let pipeline = Pipeline::with_log(
                config,
                &Arc::new(rules),
                &registry,
                &mut SeededEntropy::new(2),
                spool,
                Arc::clone(&clock) as _,
            );
            let settlement = pipeline.sink.settlement();
            Self {
                disk: disk.clone(),
                clock,
                registry,
                pipeline,
                settlement,
                sink: None,
            }
        }

        fn publish(&mut self, count: usize) {
            for _ in 0..count {
                let message = Message {
                    topic: "t",
                    payload: &Bytes::from_static(b"x"),
                    client_id: None,
                    timestamp_ms: 0,
                    origin: &Origin::UNKNOWN,
                };
                let intake = &mut self.pipeline.intakes[0];
                intake.publish_detached(&message, QoS::AtLeastOnce, AckMode::Spool, Time::ZERO);
                intake.flush();
                self.run();
            }
        }

        /// Lets everything happen that is due, over some time.
        fn run(&mut self) {
            for _ in 0..8 {
                self.clock.advance(Duration::from_millis(300));
                let now = self.clock.now();
                self.pipeline.sequencer.step(now);
                while let Some(task) = self.pipeline.sequencer.take_task(now) {
                    let result = task.run(&self.disk, &*self.clock);
                    self.pipeline.sequencer.finish_task(result, now);
                }
                while let Some(event) = self.pipeline.sink.next_event() {
                    match event {
                        SinkEvent::Opened(stream) => {
                            let map = Arc::new(ShardMap::even(1).unwrap());
                            self.pipeline.sink.install_map(&stream, map, Vec::new());
                        }
                        SinkEvent::Lanes { stream, table } => self.sink = Some((stream, table)),
                        SinkEvent::Ready(_) | SinkEvent::Closed(_) | SinkEvent::Drain => {}
                    }
                }
            }
        }

        fn take(&mut self) -> Vec<Record> {
            let (_, table) = self.sink.as_ref().expect("a stream is in use");
            std::iter::from_fn(|| table.lanes[0].pop())
                .flatten()
                .collect()
        }

        fn store(&mut self, records: Vec<Record>) {
            let (stream, _) = self.sink.as_ref().expect("a stream is in use");
            for record in records {
                self.settlement.stored(stream, record);
            }
            self.settlement.flush();
            self.run();
        }

        /// The process dies and the next one starts.
        fn kill(self) -> Self {
            let disk = self.disk.clone();
            drop(self);
            disk.kill();
            disk.set_faults(Faults::default());
            Self::start(&disk)
        }

        fn fail_writes(&self) {
            self.disk.set_faults(Faults {
                write: 10_000,
                ..Faults::default()
            });
        }

        fn counted(&self) -> Option<u64> {
            let text = self.registry.render();
            let series = "possible_duplicates_total{stream=\"s\",source=\"disk_failure\"} ";
            let (_, rest) = text.split_once(series)?;
            rest.lines().next()?.parse().ok()
        }
    }

    #[test]
    fn what_an_earlier_process_may_have_sent_is_bounded_by_its_memory() {
        let mut process = Process::start(&SimDisk::new(1, 64 << 20));
        assert_eq!(process.pipeline.sink.inherited(), None, "a new log");
        process.publish(3);
        let first = process.take();
        assert_eq!(first.len(), 3);
        let mut process = process.kill();
        let mut inherited = process.pipeline.sink.inherited().expect("three are owed");
        assert_eq!(inherited.source, DuplicateSource::SpoolReplay);
        assert_eq!(inherited.records, (1 << 20) / 256 + 65_536);
        process.run();
        process.publish(1);
        let again = process.take();
        let old = |record: &&Record| record.log < inherited.below;
        assert_eq!((again.iter().filter(old).count(), again.len()), (3, 4));
        let most = inherited.records;
        assert_eq!(inherited.count(most - 1), most - 1);
        assert_eq!((inherited.count(5), inherited.count(5)), (1, 0));
        process.store(again);
        assert_eq!(process.counted(), None, "the disk took everything");
        let process = process.kill();
        assert_eq!(process.pipeline.sink.inherited(), None, "nothing is owed");
    }

    #[test]
    fn after_damage_everything_that_is_owed_counts() {
        let mut process = Process::start(&SimDisk::new(2, 64 << 20));
        process.publish(3);
        let disk = process.disk.clone();
        // In the second frame: the checkpoint that the first segment asks for is about the first.
        assert!(disk.flip(Path::new(FIRST_SEGMENT), 4096 + 512 + 100, 1));
        let inherited = process.kill().pipeline.sink.inherited();
        let inherited = inherited.expect("two are owed");
        assert_eq!(inherited.source, DuplicateSource::SpoolDamage);
        assert_eq!(inherited.records, u64::MAX);
    }

    #[test]
    fn what_is_stored_while_the_log_cannot_say_so_is_counted() {
        let mut process = Process::start(&SimDisk::new(3, 64 << 20));
        process.publish(5);
        let logged = process.take();
        assert_eq!(logged.len(), 5);
        process.fail_writes();
        // Its frame is held: it may be on disk, and its record is sent meanwhile.
        process.publish(1);
        assert_eq!(process.counted(), Some(1));
        // What comes now never was in the log.
        process.publish(2);
        let fallback = process.take();
        assert_eq!(fallback.len(), 3);
        process.store(fallback);
        assert_eq!(process.counted(), Some(1));
        process.store(logged);
        assert_eq!(process.counted(), Some(6));
        let mut process = process.kill();
        process.run();
        let again = process.take();
        assert!((5..=6).contains(&again.len()), "{} again", again.len());
        process.store(again);
        assert_eq!(process.counted(), None);
    }
}
