//! Kills: what the broker answered is in the stream, whenever and however often its process dies.
//!
//! The broker is a real process that is started, killed with SIGKILL and started again on the same data directory and
//! port; the stream is another process, which lives on; devices in threads of the test and other people's clients keep
//! publishing, connect again and repeat what was not answered. At the end everything that was published, all of it
//! answered by then, is compared with what the streams hold. A message that was answered is never sent again, so if
//! the broker loses one, it is missing.
//!
//! `FOREBAY_KILL_ROUNDS=200 cargo test -p forebay-tests --test kill` is the long run. A failure names its seed;
//! `FOREBAY_KILL_SEED` repeats all decisions of that loop: instants, troubles and what a forgetful disk stores early.
//! What the scheduler does meanwhile is not repeated.
#![expect(
    clippy::disallowed_methods,
    reason = "black-box tests live in real time; they measure it and never wait for it blindly"
)]

mod controls;
mod device;
mod foreign;
mod full_disk;
mod judgement;
mod loops;
mod message;
mod packet_ids;
mod rounds;
mod shutdown;
mod site;

/// The mode whose promise is tried.
const ACK: &str = "spool";
