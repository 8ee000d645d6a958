//! What a rule or the rule set is told beside the documents, which stay in AWS's own form.

use forebay_core::topic::TopicLimits;
use forebay_core::{AckMode, OnConfigError, OnFull, Ordering};
use forebay_sql::{Limits, SelectStar};

/// The settings of one rule that AWS's document has no place for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSettings {
    /// When publishes that the rule selects are acknowledged; `None` leaves it to the listener.
    pub ack: Option<AckMode>,
    /// What happens when a record of the rule finds no room; `None` leaves it to the process.
    pub on_full: Option<OnFull>,
    /// How strictly the stream keeps the order of a key; `None` leaves it to the stream.
    pub ordering: Option<Ordering>,
    /// Template of the explicit hash key of each record: a decimal number below 2^128.
    pub explicit_hash_key: Option<String>,
    /// How the payload's own members are written.
    pub select_star: SelectStar,
    /// What happens to a record whose stream, role or key AWS refuses; `None`: as
    /// [`Rule::on_config_error`](crate::Rule::on_config_error) says.
    pub on_config_error: Option<OnConfigError>,
}

/// Bounds of a rule set and of the evaluation of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleLimits {
    /// Rules in the set, disabled ones included.
    pub rules_max: usize,
    /// Rules that run for one message; the rest is counted in [`Evaluated::cut`](crate::Evaluated::cut).
    pub rules_per_message_max: usize,
    /// Steps of one message and bytes of one outgoing payload.
    pub evaluation: Limits,
    /// Bytes of all records of one message.
    pub output_bytes_per_message_max: usize,
    /// What the broker lets through as a topic: a filter that needs more can never match.
    pub topic: TopicLimits,
}

impl Default for RuleLimits {
    fn default() -> Self {
        Self {
            rules_max: 10_000,
            rules_per_message_max: 100,
            evaluation: Limits::default(),
            output_bytes_per_message_max: 16 * 1024 * 1024,
            topic: TopicLimits {
                bytes_max: 1024,
                levels_max: 32,
            },
        }
    }
}
