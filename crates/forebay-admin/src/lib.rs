//! The admin listener: metrics, health and status over HTTP, on a thread and runtime of its own.
//!
//! | path | answer |
//! | --- | --- |
//! | `/metrics` | everything in the registry, Prometheus text format |
//! | `/livez` | 200 while every heartbeat is younger than ten seconds, else 503 with the names of the late ones |
//! | `/readyz` | 200 while the process takes traffic, else 503 with the reason |
//! | `/statusz` | a [`Status`] as JSON |
//! | `/api/v1/spool/stat` | the [`SpoolStatus`] of it, 404 where there is no spool |
//! | `/api/v1/spool/verify` | POST begins to read the whole spool, GET says how far that is: a [`VerifyStatus`] |
//!
//! What the answers say comes in through [`AdminState`]: the program that wires the server fills in plain values, so
//! that this crate knows no broker and no sink. No route changes what is kept, and there is no cookie and no CORS header.
//! A page in a browser is kept out by the check of the Host header and, where something is begun, by a content type that
//! it may not send to others unasked; a slow or idle client is kept out by time limits.
//!
//! ```
//! use std::sync::Arc;
//! use forebay_admin::{AdminConfig, AdminServer, AdminState, Readiness, Status};
//! use forebay_core::SystemClock;
//! use forebay_metrics::Registry;
//!
//! let state = AdminState::new(
//!     Registry::new(),
//!     Arc::new(SystemClock::new()),
//!     || Readiness::Ready,
//!     || Status { version: "0.1.0".to_owned(), ..Status::default() },
//! );
//! let admin = AdminServer::start(AdminConfig::new("127.0.0.1:0".parse()?), state)?;
//! assert_ne!(admin.address().port(), 0);
//! admin.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod guard;
mod routes;
mod server;
mod spool;
mod state;
mod status;
#[cfg(test)]
mod tests;

pub use config::{AdminConfig, AdminLimits};
pub use server::{AdminServer, RunningAdmin, StartError};
pub use spool::{
    BacklogStatus, CheckProgress, CheckStatus, DamageStatus, EndedCheck, FlushStatus,
    RecoveryStatus, SegmentStatus, SpoolStatus, SpoolTotals, VerifyReport, VerifyState,
    VerifyStatus, WriterStatus,
};
pub use state::{AdminState, Heartbeat, Readiness, SpoolVerifier};
pub use status::{
    BudgetStatus, ConnectionStatus, Conservation, LastError, ListenerStatus, RuleStatus, Status,
    StreamStatus,
};
