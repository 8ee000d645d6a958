//! The admin listener: AWS IoT's API, metrics, health and status over HTTP, on a thread and runtime of its own.
//!
//! | path | answer | needs |
//! | --- | --- | --- |
//! | `/metrics` | everything in the registry, Prometheus text format | nothing on loopback, else a token |
//! | `/livez` | 200 while every heartbeat is younger than ten seconds, else 503 with the names of the late ones | nothing |
//! | `/readyz` | 200 while the process takes traffic, else 503 with the reason | nothing |
//! | `/statusz` | a [`Status`] as JSON | a token |
//! | `/api/v1/rules` | the rules with their documents | a token |
//! | `/api/v1/reload` | POST reads configuration and rules again: a [`Reloaded`] | a token |
//! | `/api/v1/spool/stat` | the [`SpoolStatus`] of it, 404 where there is no spool | a token |
//! | `/api/v1/spool/verify` | POST begins to read the whole spool, GET says how far that is: a [`VerifyStatus`] | a token |
//! | `/rules`, `/tags`, `/untag`, `/endpoint` | AWS IoT's control plane | a signature |
//! | `/topics`, `/retainedMessage` | AWS IoT's data plane | a signature |
//!
//! What the answers say comes in through [`AdminState`]: the program that wires the server gives values, and the two
//! traits [`RuleControl`] and [`MessagePort`], so that this crate knows no broker and no sink. There is no cookie and no
//! CORS header. A page in a browser is kept out by the check of the Host and Origin headers and by what it may not send
//! to others unasked: an Authorization header, a content type. Signatures are verified where access keys are configured
//! ([`AccessKeys`]); a slow or idle client is kept out by time limits.
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

mod access;
mod audit;
mod aws;
mod config;
mod guard;
mod messages;
mod percent;
mod routes;
mod rules;
mod server;
mod service;
mod sigv4;
mod spool;
mod state;
mod status;
#[cfg(test)]
mod tests;

pub use access::{Access, AccessFileError, AccessKeys, Role, Tokens};
pub use aws::{MissingRule, bad_rule_name};
pub use config::{AdminConfig, AdminLimits};
pub use messages::{
    HttpPublish, MessagePort, PublishFault, Publishing, RetainedMessage, RetainedSummary,
};
pub use rules::{Reloaded, RuleChange, RuleControl, RuleDescription, RuleFault, RuleSummary, Tag};
pub use server::{AdminServer, RunningAdmin, StartError};
pub use service::AdminService;
pub use spool::{
    BacklogStatus, CheckProgress, CheckStatus, DamageStatus, EndedCheck, FlushStatus,
    RecoveryStatus, SegmentStatus, SpoolStatus, SpoolTotals, VerifyReport, VerifyState,
    VerifyStatus, WriterStatus,
};
pub use state::{AdminState, Heartbeat, MessageSlot, Readiness, RuleApi, SpoolVerifier};
pub use status::{
    BudgetStatus, ConnectionStatus, Conservation, LastError, ListenerStatus, RuleStatus, Status,
    StreamStatus,
};
