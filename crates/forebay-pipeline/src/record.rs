//! What travels through the pipeline: one Kinesis record and what is owed for it.

use bytes::Bytes;
use forebay_core::{AckMode, HashKey, PartitionKey, Ticket, Time};

use crate::{ErrorRole, StreamId};

/// Bytes that a record is charged besides its data and key: the record itself, its place in queues and a share of the
/// request that will carry it.
pub const RECORD_OVERHEAD_BYTES: u32 = 256;

/// One record on its way from a rule to a shard.
#[derive(Debug)]
pub struct Record {
    /// Position in the order in which the sequencer put records into lanes; 0 before that. A record that is read back
    /// from the log, or waited for what is, gets a new one: what a lane has of mode `spool` is in this order, and so is
    /// the rest of it.
    pub seq: u64,
    /// Its number in the log, which it keeps for life. For a record of mode `spool` that is not in the log because the
    /// log could not be written, the number that the next record of the log could have had.
    pub log: u64,
    /// True when it is in the log.
    pub in_log: bool,
    /// Index of the lane that it was dealt to.
    pub lane: u32,
    /// The stream it goes to.
    pub stream: StreamId,
    /// The pipeline's number for the rule that produced it; it outlives the set that the rule was part of.
    pub rule: u32,
    /// Partition key.
    pub partition_key: PartitionKey,
    /// The position that decides its shard.
    pub hash: HashKey,
    /// True when `hash` is an explicit hash key, which must be sent along.
    pub explicit: bool,
    /// Payload, as it will be stored.
    pub data: Bytes,
    /// When it was admitted, or read back.
    pub admitted: Time,
    /// When its publish was received, milliseconds since the Unix epoch.
    pub received_ms: i64,
    /// When it is given up; [`Time::NEVER`] for what was promised.
    pub deadline: Time,
    /// The mode its publish is acknowledged by.
    pub ack: AckMode,
    /// The publish that waits for this record, if one does.
    pub ticket: Option<Ticket>,
    /// Bytes that it is counted with in the budget that holds it: in the ingest budget until it is settled or in the
    /// log, after that in the budget of the lanes.
    pub charge: u32,
    /// True for the last record of its publish: all of them go into one frame of the log.
    pub ends_publish: bool,
    /// What it has to do with error actions; few records have anything.
    pub error: Option<Box<ErrorRole>>,
    /// What was tried before it was given back for other lanes. Only a record that is not in the log has it: one that
    /// is in the log is read back from there.
    pub attempts: Attempts,
}

/// The history of a record's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempts {
    /// Requests that have carried it.
    pub requests: u32,
    /// One of them ended without a known outcome: the record may be stored already.
    pub ambiguous: bool,
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

    /// True when it is to fail, rather than wait until somebody has mended it, if the service refuses it because of its
    /// stream, the key of that, or a permission.
    pub fn takes_configuration_errors(&self) -> bool {
        self.error
            .as_ref()
            .is_some_and(|role| role.takes_configuration_errors())
    }

    /// What a record of these sizes is charged.
    pub fn charge_for(data_len: usize, key_len: usize) -> u32 {
        u32::try_from(data_len + key_len)
            .unwrap_or(u32::MAX)
            .saturating_add(RECORD_OVERHEAD_BYTES)
    }
}
