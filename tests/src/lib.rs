//! What the black-box tests share: processes that end with the test, the program under test,
//! other people's clients and servers, and an MQTT client that trusts nobody.
//!
//! Nothing here uses the product's own codec or HTTP client: a mistake made twice is invisible.
#![expect(
    clippy::disallowed_methods,
    reason = "black-box tests live in real time, and `wait` polls in one place"
)]

pub mod duplicates;
pub mod forebay;
pub mod foreign;
pub mod http;
pub mod kinesis;
pub mod metrics;
pub mod mqtt;
pub mod oracle;
pub mod process;
pub mod streams;
pub mod wait;
