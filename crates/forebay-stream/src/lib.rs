//! An embedded server that speaks the Amazon Kinesis Data Streams API: for demonstrations, tests and load measurements.
//!
//! **Not for production.** It keeps one copy of the records on one disk, does not check signatures, and exists to be
//! broken on purpose. Unmodified AWS clients talk to it (JSON 1.1 over HTTP/1.1, and over HTTP/2 without TLS, which
//! is what the JavaScript SDK uses), it enforces the service's limits when asked to, and it injects faults by script.
//!
//! ```
//! use forebay_stream::{ServerConfig, StreamServer};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let config = ServerConfig { bind: "127.0.0.1:0".parse().unwrap(), ..ServerConfig::default() };
//! let server = StreamServer::start(config).await?;
//! server.create_stream("telemetry", 4)?;
//! println!("aws kinesis list-shards --stream-name telemetry --endpoint-url {}", server.endpoint_url());
//! server.shutdown().await;
//! # Ok::<(), forebay_stream::ServerError>(())
//! # }).unwrap();
//! ```
//!
//! # What a stored record survives
//! Every request that stores records writes them to the stream's log in one write before it is answered, so they
//! survive the end of the process, also by SIGKILL. The log is flushed to the device when a segment is full and on
//! [`RunningServer::shutdown`], not per request: a power cut can take the newest records. Damage at the end of a log
//! is cut off when it is opened. Sequence numbers never go back, not even then.
//!
//! # What it deliberately does not do
//! Resharding, consumers with enhanced fan-out, encryption, tags, CBOR, TLS and the check of signatures. A missing or
//! incomplete `Authorization` header is refused as the service does it.

mod api;
mod connection;
mod error;
mod faults;
mod http;
mod json;
mod limits;
mod log;
mod registry;
mod sequence;
mod server;
mod service;
mod stats;
mod stream;
mod token;

pub use error::ServerError;
pub use faults::{DownMode, FaultControl, FaultEffect, FaultError, FaultRule, FaultScript};
pub use server::{RunningServer, ServerConfig, StreamServer};
pub use stats::{ShardStats, Stats, StreamStats};
pub use stream::StoredRecord;
