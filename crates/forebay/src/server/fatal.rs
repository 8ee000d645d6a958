//! Panics that end the process.
//!
//! A panic in a connection's task closes that connection. A panic in the sequencer, the sender or a thread of the spool
//! means that nothing which is acknowledged later could be kept or sent, so the process must not go on to acknowledge
//! anything.

use std::panic;
use std::thread;

use super::failed_starts::text_of;
use crate::cli::remark;

/// What a panic leaves, as Rust's own runtime does when it happens in the main thread.
const PANICKED: i32 = 101;
/// Threads without which no promise can be kept.
const VITAL: [&str; 4] = ["sequencer", "sender", "spool-jobs", "spool-reader"];

/// From here on a panic of a vital thread ends the process at once, after the usual report and after `remember` was told
/// in that thread what it said.
pub(crate) fn end_process_when_vital_threads_panic(
    remember: impl Fn(&str) + Send + Sync + 'static,
) {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        let current = thread::current();
        if let Some(name) = current.name().filter(|name| VITAL.contains(name)) {
            remember(text_of(info.payload()));
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Names the thread that the test's own process lets panic.
    const ROLE: &str = "FOREBAY_TEST_PANICKING_THREAD";

    /// Runs this test again in a process of its own, in which `thread` panics, and returns how it ended.
    fn ended(thread: &str) -> std::process::Output {
        let test =
            "server::fatal::tests::a_panic_of_a_vital_thread_ends_the_process_and_no_other_does";
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads", "1"])
            .env(ROLE, thread)
            .stdout(Stdio::null())
            .output()
            .unwrap()
    }

    #[test]
    fn a_panic_of_a_vital_thread_ends_the_process_and_no_other_does() {
        if let Ok(name) = std::env::var(ROLE) {
            end_process_when_vital_threads_panic(|said| assert_eq!(said, "on purpose"));
            let panicking = thread::Builder::new()
                .name(name)
                .spawn(|| panic!("on purpose"));
            assert!(panicking.unwrap().join().is_err());
            return;
        }
        for vital in VITAL {
            let output = ended(vital);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(PANICKED), "{said}");
            assert!(said.contains("on purpose"), "{said}");
            assert!(
                said.contains(&format!("fatal: the {vital} has failed")),
                "{said}"
            );
        }
        assert_eq!(ended("connection").status.code(), Some(0));
    }
}
