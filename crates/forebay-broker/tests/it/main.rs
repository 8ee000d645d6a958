//! Black-box tests of the broker: a live one on loopback, and clients that write bytes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it stands"
)]

mod bed;
mod client;

mod crashes;
mod delivery;
mod handshake;
mod limits;
mod malformed;
mod overload;
mod publish;
mod retained;
mod shutdown;
mod wills;
