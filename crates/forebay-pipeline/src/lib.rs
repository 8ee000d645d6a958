//! The pipeline between brokers and streams: intake, sequencer, lanes, settlement and acknowledgement release.
//!
//! A publish enters through the [`Intake`] of its ingest worker, which evaluates the rules, reserves room and stages
//! the records. One [`Sequencer`] numbers what is staged, writes to the log what is promised to be kept, and deals it to
//! [`Lane`]s, one per open shard; a lane that has no room is refilled from the log later. The sink
//! adapter takes batches from lanes through its [`SinkPort`] and settles every record through a [`Settlement`], which
//! gives the room back and finishes the publish in its connection's [`AckRing`].
//!
//! The parts are synchronous state machines: time, randomness and threads come from outside, so that a simulation
//! drives the code that production runs. The pipeline calls neither the broker nor the sink; what travels to them goes
//! through mailboxes that they drain after a [`Wake`].
//!
//! It deliberately does not speak MQTT or HTTP, and it does not know how a record is sent.

mod ack_ring;
mod admission;
mod budget;
mod config;
mod control;
mod dealer;
mod duplicates;
mod error_action;
mod hash_cache;
mod intake;
mod lane;
mod lane_budget;
mod lane_feed;
mod log_check;
mod log_damage;
mod log_places;
#[cfg(test)]
mod log_simulation;
mod log_status;
mod log_writer;
mod mailbox;
#[cfg(all(test, forebay_loom))]
mod models;
#[cfg(test)]
mod mutation;
mod record;
mod refill;
mod rule_book;
mod sequencer;
mod sequencer_thread;
mod settlement;
mod shared;
mod sink;
mod stream;
mod stream_cache;
mod sync;
mod tally;
#[cfg(test)]
mod testing;
mod waiting;

pub use ack_ring::AckRing;
pub use admission::{Admission, Drained, Publish, Resumed};
pub use config::PipelineConfig;
pub use control::{Conservation, Pipeline, PipelineControl};
pub use duplicates::{DuplicateSource, Inherited};
pub use error_action::{ErrorRole, RecordFailure};
pub use forebay_rules::RepublishedMessage;
pub use intake::Intake;
pub use lane::{Lane, LaneTable};
pub use log_status::{
    LogCheckProgress, LogCheckReport, LogCheckStatus, LogCondition, LogStatus, OverloadStage,
};
pub use record::{Attempts, RECORD_OVERHEAD_BYTES, Record};
pub use rule_book::TooManyRuleNames;
pub use sequencer::{LogResult, LogTask, Sequencer};
pub use sequencer_thread::SequencerThread;
pub use settlement::{FailureReason, Settlement};
pub use shared::{Finished, Released, Wake};
pub use sink::{SinkEvent, SinkPort};
pub use stream::{Stream, StreamId, TooManyStreams};
