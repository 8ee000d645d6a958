//! The limits that other services set, in one place, and the relations between them.
//!
//! What a user can configure is not here but in the configuration.

/// Records in one PutRecords request (Kinesis API reference, PutRecords).
pub const RECORDS_PER_REQUEST_MAX: usize = 500;
/// Counted bytes (data before base64 plus partition keys) in one PutRecords request (same page).
pub const BYTES_PER_REQUEST_MAX: usize = 10 * 1024 * 1024;
/// Counted bytes of one record where the stream's own setting is not known (service default).
pub const RECORD_BYTES_DEFAULT: usize = 1024 * 1024;
/// Counted bytes of one record where the stream allows the most (service maximum).
pub const RECORD_BYTES_MAX: usize = 10 * 1024 * 1024;
/// UTF-16 code units of a partition key.
pub const PARTITION_KEY_UNITS_MAX: usize = 256;
/// UTF-8 bytes that a partition key of the greatest length can take.
pub const PARTITION_KEY_BYTES_MAX: usize = PARTITION_KEY_UNITS_MAX * 3;
/// Bytes of a stream name.
pub const STREAM_NAME_BYTES_MAX: usize = 128;
/// Records that one shard accepts per second (Kinesis developer guide, quotas).
pub const SHARD_RECORDS_PER_SECOND: u32 = 1000;
/// Bytes that one shard accepts per second (same page).
pub const SHARD_BYTES_PER_SECOND: u32 = 1024 * 1024;
/// Bytes of a topic in an MQTT packet: its length field has 16 bits.
pub const MQTT_STRING_BYTES_MAX: usize = 65_535;
/// Length of a rule name (AWS IoT API reference, RuleName).
pub const RULE_NAME_BYTES_MAX: usize = 128;
/// UTF-8 bytes of a rule document (AWS General Reference, AWS IoT rules engine quotas).
pub const RULE_DOCUMENT_BYTES_MAX: usize = 128 * 1024;
/// Actions of one rule (AWS IoT API reference, ActionList).
pub const RULE_ACTIONS_MAX: usize = 10;
/// Nested brackets of a JSON payload that rules read.
pub const JSON_DEPTH_MAX: usize = 128;
/// Nested parts of an SQL expression.
pub const EXPRESSION_DEPTH_MAX: usize = 64;

// A request must always be able to hold one record of the greatest size, or such a record could never be sent.
const _: () = assert!(RECORD_BYTES_MAX <= BYTES_PER_REQUEST_MAX);
const _: () = assert!(RECORD_BYTES_DEFAULT <= RECORD_BYTES_MAX);
