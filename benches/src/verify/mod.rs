//! Reads a stream back and compares it with what was acknowledged.
//!
//! A message is *lost* when it was acknowledged and no record carries it, *duplicated* when more than one does, and
//! *reordered* when its first record comes behind the first record of a later message of the same device under the
//! same partition key. [`Follower`] reads while messages still arrive, because a stream forgets; [`read_all`] is for
//! looking at records one by one.

mod follower;
mod reader;
mod report;
mod shards;
mod target;
#[cfg(test)]
mod tests;
mod tracker;

pub use follower::{Follower, FollowerConfig, FollowerProgress};
pub use reader::{From, StoredRecord, VerifyError, read_all};
pub use report::{Missing, ShardShare, StreamReport};
pub use target::{Credentials, StreamTarget};
pub use tracker::Tracker;
