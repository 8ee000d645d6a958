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
//! survive the end of the process, also by SIGKILL. The log is flushed to the device on [`RunningServer::shutdown`],
//! not per request: a power cut can take the newest records. Damage at the end of a segment is cut off when it is
//! opened. Sequence numbers never go back, not even then.
//!
//! # Bounds
//! Logs: `retention_bytes` over all streams, above which the oldest segments go, and `retention`. Records are not held
//! in memory (unless there is no data directory), only an index of at most 16 bytes per record, usually a hundredth of
//! that. 1 024 connections, further ones wait; 20 MiB per request; 20 000 shards; 256 fault rules.
//!
//! # The control call
//! A POST with `X-Amz-Target: ForebayStream_20261101.<Operation>` and a JSON body, not signed:
//!
//! | operation | body | does |
//! | --- | --- | --- |
//! | `SetFaults` | a [`FaultScript`], e.g. `{"Seed": 1, "Rules": [{"Operation": "PutRecords", "Effect": {"Type": "RecordError", "Code": "ProvisionedThroughputExceededException", "Fraction": 0.3}}]}` | puts the script in the place of the one in force |
//! | `ClearFaults` | `{}` | ends all faults |
//! | `GetStats` | `{}` | gives the [`Stats`] |
//! | `SetLimits` | `{"Enabled": true, "RecordsPerSecond": 500, "BytesPerSecond": 1048576}`, the rates being optional | switches the limits, with write rates per shard |
//!
//! [`RunningServer`] has the same for the program that the server runs in.
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
