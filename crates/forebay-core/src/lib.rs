//! Domain types, limits and seams of Forebay.
//!
//! Everything that two crates must agree on is here and nothing else is: topics, partition keys, hash keys, shard
//! maps, acknowledgement modes, tickets, and the seams through which time and randomness enter. The crate does no
//! I/O, starts no thread and knows no async runtime.
//!
//! ```
//! use forebay_core::{HashKey, ShardMap};
//!
//! let map = ShardMap::even(4).expect("four is a legal number of shards");
//! let hash = HashKey::of_partition_key("device-1");
//! assert!(map.shard(map.lookup(hash)).range().contains(&hash.value()));
//! ```

mod ack;
mod clock;
mod entropy;
mod fs;
mod hash_key;
pub mod limits;
mod message;
mod named;
mod ordering;
mod partition_key;
mod shard_map;
mod stream_name;
mod ticket;
pub mod topic;

pub use ack::{AckMode, OnSpoolFailure, QoS};
pub use clock::{Clock, ManualClock, SystemClock, Time};
pub use entropy::{Entropy, SeededEntropy};
pub use fs::{Fs, FsError, FsErrorKind, FsFile, FsMedium, OpenMode};
pub use hash_key::{HashKey, HashKeyError};
pub use message::{Message, Origin, Properties};
pub use ordering::{OnConfigError, OnFull, Ordering};
pub use partition_key::{PartitionKey, PartitionKeyError};
pub use shard_map::{Shard, ShardMap, ShardMapError};
pub use stream_name::{StreamName, StreamNameError};
pub use ticket::Ticket;
