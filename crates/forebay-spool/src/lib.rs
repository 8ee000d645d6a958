//! A durable log of records that were promised to somebody and are not yet in Kinesis.
//!
//! [`Spool`] is a state machine over a [`Fs`](forebay_core::Fs): it starts no thread, reads no clock and takes its
//! randomness as an argument. [`Spool::append`] writes a [`Group`] as one frame and flushes once; what it returned a
//! [`Commit`] for survives a killed process, a power cut and a failing flush. [`Spool::settle`] says what is no longer
//! owed, [`Spool::plan_read`] reads back what is. Segments are prepared, sealed and removed and checkpoints are written
//! by [`Job`]s, which a thread in the background runs.
//!
//! What it does not do: it keeps one copy on one disk, it does not know streams or shards, and it does not decide when
//! a group closes or who is answered.
//!
//! ```
//! use std::sync::Arc;
//! use forebay_core::{HashKey, PartitionKey, SeededEntropy, Time};
//! use forebay_spool::{Config, DiskFs, Group, Read, Record, Spool, StreamKey};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let config = Config { allow_volatile: true, max_bytes: Some(1 << 30), reserve_bytes: Some(0), ..Config::new(dir.path()) };
//! let entropy = SeededEntropy::from_os();
//! let (mut spool, _) = Spool::open(Arc::new(DiskFs), config, entropy, Time::ZERO, 0)?;
//! let mut group = Group::new();
//! group.push(&Record {
//!     stream: Arc::new(StreamKey { name: "telemetry".into(), ..StreamKey::default() }),
//!     rule: "all".into(),
//!     received_ms: 0,
//!     partition_key: PartitionKey::new("device-1").unwrap(),
//!     hash: HashKey::of_partition_key("device-1"),
//!     explicit: false,
//!     data: "21.5".into(),
//!     error: None,
//! });
//! let commit = spool.append(&mut group, Time::ZERO)?;
//! let mut plan = spool.plan_read(commit.first_seq, 4, Vec::new());
//! assert!(matches!(plan.read()?, Some(Read::Records(records)) if records.len() == 1));
//! assert_eq!(spool.settle([commit.first_seq], Time::ZERO), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backlog;
mod check;
mod checkpoint;
mod commit;
mod config;
mod cursor;
mod damage;
mod directory;
mod disk;
mod error;
mod flush_timing;
mod frame;
mod job;
mod lossy;
mod meta;
#[cfg(test)]
mod mutation;
mod offline;
mod open_ids;
mod progress;
mod reader;
mod record;
mod recovery;
mod replay;
mod scan;
mod segment;
mod snapshot;
mod spool;
mod stat;
pub mod testing;
#[cfg(test)]
mod tests;
mod wire;

pub use backlog::{Backlog, Settled, StreamId};
pub use check::{CheckMark, CheckPlan, CheckScope, Checked, Pages};
pub use checkpoint::Totals;
pub use config::Config;
pub use cursor::Damage;
pub use disk::{DiskFile, DiskFs, DiskLock, ReadOnlyDisk};
pub use error::{AppendError, OpenError};
pub use flush_timing::FlushTiming;
pub use frame::Group;
pub use job::{Done, Job};
pub use lossy::{LossyFile, LossyFs};
pub use offline::{CheckpointState, Inspected, Verified, inspect, stat, verify};
pub use open_ids::{Event, OpenIds};
pub use progress::{FramePlace, OpenPhase, Progress};
pub use reader::{Read, ReadPlan, ReadTarget};
pub use record::{ErrorContext, Record, RecordView, StreamKey};
pub use recovery::Recovered;
pub use spool::{Commit, Spool, UNKEPT_SETTLED_MAX};
pub use stat::{Counters, Stat};
