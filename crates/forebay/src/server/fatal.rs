//! Panics that end the process.
//!
//! A panic in a connection's task closes that connection. A panic in the sequencer or the sender means that nothing
//! which is acknowledged later could be kept, so the process must not go on to acknowledge anything.

use std::panic;
use std::thread;

use crate::cli::remark;

/// What a panic leaves, as Rust's own runtime does when it happens in the main thread.
const PANICKED: i32 = 101;
/// Threads without which no promise can be kept.
const VITAL: [&str; 2] = ["sequencer", "sender"];

/// From here on a panic of a vital thread ends the process at once, after the usual report.
pub(crate) fn end_process_when_vital_threads_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        let current = thread::current();
        if let Some(name) = current.name().filter(|name| VITAL.contains(name)) {
            end(name);
        }
    }));
}

/// Ends the process because a vital thread is gone.
#[expect(
    clippy::disallowed_methods,
    reason = "destructors would wait for the thread that is gone, and connections would be served meanwhile"
)]
pub(super) fn end(thread: &str) -> ! {
    remark(&format!(
        "fatal: the {thread} has failed; Forebay can no longer keep what it would acknowledge, so it ends. \
         Unacknowledged messages will come again from their devices."
    ));
    std::process::exit(PANICKED)
}
