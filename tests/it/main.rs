//! Black box: the built program, real sockets, other people's clients and servers.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it stands"
)]

mod end_to_end;
mod oracle;
mod shutdown;
