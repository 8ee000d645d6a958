//! The snapshot behind `/statusz`: plain values, filled in by the program that wires the server.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::spool::SpoolStatus;

/// The state of the process at one moment. Field names are the JSON names and stay stable.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// The server's configured name.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Seconds since the process began to serve.
    pub uptime_seconds: f64,
    /// True from the moment a stop was asked for.
    pub draining: bool,
    /// MQTT listeners in the order of the configuration.
    pub listeners: Vec<ListenerStatus>,
    /// MQTT connections of all listeners together.
    pub connections: ConnectionStatus,
    /// Rules in the order of their names.
    pub rules: Vec<RuleStatus>,
    /// Streams that are open, in the order of their names.
    pub streams: Vec<StreamStatus>,
    /// Memory budgets.
    pub budgets: Vec<BudgetStatus>,
    /// The spool; absent when nothing is kept in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolStatus>,
    /// Where every record of the process is.
    pub conservation: Conservation,
}

/// One MQTT listener.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ListenerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The address it is bound to, with the port it got.
    pub address: String,
    /// Its protocol, such as `tcp`.
    pub protocol: String,
    /// Open connections.
    pub connections: u64,
    /// Acknowledgement mode for rules without one of their own.
    pub ack: String,
}

/// Connections of all listeners together.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConnectionStatus {
    /// Open now.
    pub open: u64,
    /// Not read at the moment, because a message of theirs waits for room.
    pub stalled: u64,
    /// The most that may be open.
    pub limit: u64,
}

/// One rule since the start of the process.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RuleStatus {
    /// Name of the rule.
    pub name: String,
    /// False when its document says that it is disabled.
    pub enabled: bool,
    /// The acknowledgement mode it asks for; absent when it leaves that to the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<String>,
    /// Messages whose topic matched.
    pub matched: u64,
    /// Messages its statement ran for, whatever came out.
    pub executed: u64,
    /// Messages its statement or an action's template failed for.
    pub errors: u64,
}

/// One stream.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StreamStatus {
    /// Name of the stream.
    pub name: String,
    /// Open shards; absent until the service told them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u64>,
    /// Records admitted and not settled.
    pub pending_records: u64,
    /// Bytes that these hold of the budgets.
    pub pending_bytes: u64,
    /// Why nothing is sent at the moment; absent while sending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// The last error that the service or the way to it gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Age of the oldest pending record; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending_seconds: Option<f64>,
}

/// An error that is remembered.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LastError {
    /// Its code, as the service or the client library names it.
    pub code: String,
    /// Its text. Never a payload or a credential.
    pub message: String,
    /// Seconds since it happened.
    pub age_seconds: f64,
}

/// One memory budget.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BudgetStatus {
    /// Its key in the configuration, such as `memory.ingest`.
    pub name: String,
    /// Bytes taken.
    pub used_bytes: u64,
    /// Bytes there are.
    pub limit_bytes: u64,
}

/// The conservation law: what was accepted is stored, failed or pending.
///
/// `pending` is counted where the records are, not derived from the other three, so that a difference other than what
/// moved during the reading means a record that nobody owns. Read `stored` and `failed` before `accepted`: then the
/// difference is never negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conservation {
    /// Records admitted.
    pub accepted: u64,
    /// Records with a sequence number of the service.
    pub stored: u64,
    /// Records settled as failed.
    pub failed: u64,
    /// Records found in queues, lanes and requests.
    pub pending: u64,
}

impl Conservation {
    /// Accepted less stored, failed and pending: 0 at rest.
    pub fn difference(&self) -> i128 {
        i128::from(self.accepted)
            - i128::from(self.stored)
            - i128::from(self.failed)
            - i128::from(self.pending)
    }
}

impl Serialize for Conservation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Conservation", 5)?;
        fields.serialize_field("accepted", &self.accepted)?;
        fields.serialize_field("stored", &self.stored)?;
        fields.serialize_field("failed", &self.failed)?;
        fields.serialize_field("pending", &self.pending)?;
        fields.serialize_field("difference", &self.difference())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_nobody_owns_shows_as_a_difference() {
        let mut law = Conservation {
            accepted: 10,
            stored: 6,
            failed: 1,
            pending: 3,
        };
        assert_eq!(law.difference(), 0);
        law.pending = 2;
        let json = serde_json::to_value(law).unwrap();
        assert_eq!(json["difference"], 1);
        law.pending = 5;
        assert_eq!(law.difference(), -2);
    }
}
