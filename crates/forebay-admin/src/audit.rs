//! The audit trail: one line for each write, and for each that was refused.

use std::io::Write;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use crate::rules::RuleChange;

/// One line.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) time_ms: i64,
    pub(crate) caller: &'a str,
    pub(crate) peer: IpAddr,
    /// The operation.
    pub(crate) route: &'a str,
    /// What it was about.
    pub(crate) object: &'a str,
    pub(crate) change: RuleChange,
    /// The error's name.
    pub(crate) refused: Option<&'a str>,
}

/// Where the lines go, besides the log.
#[derive(Default)]
pub(crate) struct Audit(Option<Mutex<Box<dyn Write + Send>>>);

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Audit").field(&self.0.is_some()).finish()
    }
}

impl Audit {
    pub(crate) fn to(file: Box<dyn Write + Send>) -> Self {
        Self(Some(Mutex::new(file)))
    }

    /// Writes one line. What cannot be written is said in the log: the change has been made.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let result = entry.refused.unwrap_or("ok");
        tracing::info!(
            caller = entry.caller,
            peer = %entry.peer,
            route = entry.route,
            object = entry.object,
            result,
            "admin write"
        );
        let Some(file) = &self.0 else {
            return;
        };
        // Serialised as JSON, so that no name can begin a line of its own.
        let mut line = json!({
            "timeMs": entry.time_ms,
            "caller": entry.caller,
            "peer": entry.peer.to_string(),
            "route": entry.route,
            "object": entry.object,
            "before": entry.change.before,
            "after": entry.change.after,
            "result": result,
        })
        .to_string();
        line.push('\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()).and_then(|()| file.flush()) {
            tracing::error!(%error, "the audit trail cannot be written");
        }
    }
}
