//! What travels through the pipeline: one Kinesis record and what is owed for it.

use bytes::Bytes;
use forebay_core::{AckMode, HashKey, PartitionKey, Ticket, Time};

use crate::StreamId;

/// Bytes that a record is charged besides its data and key: the record itself, its place in queues and a share of the
/// request that will carry it.
pub const RECORD_OVERHEAD_BYTES: u32 = 256;

/// One record on its way from a rule to a shard.
#[derive(Debug)]
pub struct Record {
    /// Position in the order in which the sequencer took the records in; 0 before that.
    pub seq: u64,
    /// The stream it goes to.
    pub stream: StreamId,
    /// Index of the rule that produced it.
    pub rule: u32,
    /// Partition key.
    pub partition_key: PartitionKey,
    /// The position that decides its shard.
    pub hash: HashKey,
    /// True when `hash` is an explicit hash key, which must be sent along.
    pub explicit: bool,
    /// Payload, as it will be stored.
    pub data: Bytes,
    /// When it was admitted.
    pub admitted: Time,
    /// When it is given up; [`Time::NEVER`] for what was promised.
    pub deadline: Time,
    /// The mode its publish is acknowledged by.
    pub ack: AckMode,
    /// The publish that waits for this record, if one does.
    pub ticket: Option<Ticket>,
    /// Bytes that it holds of the budgets until it is settled.
    pub charge: u32,
}

impl Record {
    /// Bytes as the Kinesis quotas count them: data plus partition key.
    pub fn kinesis_len(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }

    /// True when nobody was or will be told that it is kept: QoS 0 and `accept`.
    pub fn droppable(&self) -> bool {
        self.ack == AckMode::Accept
    }

    /// What a record of these sizes is charged.
    pub fn charge_for(data_len: usize, key_len: usize) -> u32 {
        u32::try_from(data_len + key_len)
            .unwrap_or(u32::MAX)
            .saturating_add(RECORD_OVERHEAD_BYTES)
    }
}
