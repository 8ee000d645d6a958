//! What a seed decides before anything happens: sizes, settings, rules, and which mistake is made.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{AckMode, Entropy as _, OnFull, OnSpoolFailure, Ordering, SeededEntropy};
use forebay_kinesis::config::{BatchSettings, RateLimit};
use forebay_pipeline::PipelineConfig;
use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};
use forebay_spool::Config;

pub(super) const WORKERS: usize = 2;
/// The streams of a run. Every publish with two records has one of them in the last.
pub(super) const STREAMS: [&str; 3] = ["s0", "s1", "t"];
const SEGMENT: u64 = 32 << 10;

/// How the parts are put together. All but the first are mistakes that a run has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wiring {
    Right,
    /// A record is settled when it is sent, before the service has answered.
    SettlesWhenSent,
    /// A restart begins with an empty disk.
    ForgetsDisk,
    /// A publish is answered when it was admitted, whatever its mode.
    AnswersWhenAdmitted,
    /// PUBCOMP leaves before the release of its packet id is durable.
    CompletesWhenReleased,
    /// The sender keeps no order, although the stream asks for one.
    SendsInAnyOrder,
    /// Every request is sent twice.
    SendsTwice,
    /// What a changed shard map gives back is forgotten.
    DropsWhatIsGivenBack,
}

/// What a publish under a topic gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Spool,
    Stored,
    Accept,
    /// Two records in two streams, in mode `spool`.
    Both,
}

impl Mode {
    /// The first level of its topics.
    pub(super) fn level(self) -> &'static str {
        match self {
            Self::Spool => "spool",
            Self::Stored => "stored",
            Self::Accept => "accept",
            Self::Both => "both",
        }
    }

    pub(super) fn any(entropy: &mut SeededEntropy) -> Self {
        match entropy.below(8) {
            0..=3 => Self::Spool,
            4 => Self::Stored,
            5 => Self::Accept,
            _ => Self::Both,
        }
    }
}

/// The settings of one run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) pipeline: PipelineConfig,
    pub(super) batch: BatchSettings,
    pub(super) spool: Config,
    pub(super) rules: Arc<RuleSet>,
    pub(super) devices: usize,
    pub(super) crashes: u64,
    pub(super) disturbances: u64,
    pub(super) outages: u64,
    pub(super) reshards: u64,
}

impl Plan {
    pub(super) fn new(ordering: Ordering, entropy: &mut SeededEntropy) -> Self {
        let pipeline = PipelineConfig {
            workers: WORKERS,
            ingest_bytes: 16 * 1024 + entropy.below(96 * 1024),
            lanes_bytes: (4 * 1024) << entropy.below(5),
            refill_bytes: 8 * 1024,
            per_stream_share: 0.5,
            on_full: OnFull::Block,
            ordering,
            record_deadline: Some(Duration::from_secs(15 + entropy.below(300))),
            output_bytes_per_message: 8 * 1024,
            max_streams: STREAMS.len(),
            stream_idle: Duration::from_secs(match entropy.below(3) {
                0 => 2,
                _ => 600,
            }),
            commit_max_delay: Duration::from_millis(entropy.below(2)),
            on_spool_failure: match entropy.below(2) {
                0 => OnSpoolFailure::Stored,
                _ => OnSpoolFailure::Stall,
            },
            spool_qos0: entropy.below(3) == 0,
            rule_label_limit: 8,
        };
        let batch = BatchSettings {
            linger: Duration::from_millis(entropy.below(20)),
            send_on_idle: entropy.below(2) == 0,
            records_per_request: 1 + entropy.below(40) as usize,
            rate_limit: match entropy.below(2) {
                0 => RateLimit::Off,
                _ => RateLimit::Percent(20 + entropy.below(200) as u32),
            },
            inflight_per_lane: match entropy.below(3) {
                0 => Some(1 + entropy.below(3) as u32),
                _ => None,
            },
            inflight_per_stream: 1 + entropy.below(8) as u32,
            lane_bytes: 1024 + entropy.below(32_768) as usize,
            ..BatchSettings::default()
        };
        let spool = Config {
            segment_bytes: SEGMENT,
            first_bytes: SEGMENT / 2,
            max_bytes: Some((5 + entropy.below(10)) * SEGMENT),
            reserve_bytes: Some(0),
            ..Config::new("/spool")
        };
        Self {
            pipeline,
            batch,
            spool,
            rules: rules(entropy),
            devices: 2 + entropy.below(5) as usize,
            crashes: entropy.below(5),
            disturbances: entropy.below(4),
            outages: entropy.below(3),
            reshards: entropy.below(4),
        }
    }
}

fn rules(entropy: &mut SeededEntropy) -> Arc<RuleSet> {
    let rule = |name: &str, filter: &str, stream: &str, ack: AckMode, on_full: Option<OnFull>| {
        let json = format!(
            r#"{{"sql": "SELECT * FROM '{filter}'", "awsIotSqlVersion": "2016-03-23", "actions": [
            {{"kinesis": {{"streamName": "{stream}", "partitionKey": "${{topic()}}", "roleArn": "arn:aws:iam::1:role/r"}}}}]}}"#
        );
        let settings = RuleSettings {
            ack: Some(ack),
            on_full,
            ..RuleSettings::default()
        };
        let document = RuleDocument::from_json(json.as_bytes(), Some(name)).unwrap();
        (document, settings)
    };
    let policies = [OnFull::Block, OnFull::DropNewest, OnFull::DropOldest];
    let policy = policies[entropy.below(3) as usize];
    let own = "s${topic(2)}";
    let documents = vec![
        rule("spool", "spool/#", own, AckMode::Spool, None),
        rule("stored", "stored/#", own, AckMode::Stored, None),
        rule("accept", "accept/#", own, AckMode::Accept, Some(policy)),
        rule("both", "both/#", own, AckMode::Spool, None),
        rule("too", "both/#", "t", AckMode::Spool, None),
    ];
    Arc::new(RuleSet::build(documents, RuleLimits::default()).unwrap())
}
