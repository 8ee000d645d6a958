//! The stop: accept, read, drain, answer, close; every step cut by one deadline.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use forebay_core::{AckMode, Clock, Time};
use forebay_pipeline::PipelineControl;

use super::{Phase, Server};

/// How often a step looks whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What closing gets at least, also when the deadline has passed or somebody is in a hurry: the clients are told, so that
/// they connect elsewhere at once.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Records that were admitted and have not reached their end.
    pub unsent: u64,
    /// True when some of them may have been acknowledged: a rule with `ack = "accept"` is in force.
    pub acknowledged: bool,
}

impl Stopped {
    /// True when something that was acknowledged may be lost.
    pub fn lost(&self) -> bool {
        self.unsent > 0 && self.acknowledged
    }
}

impl Server {
    /// Stops within `shutdown.deadline`, which begins when `shutdown.predrain` is over. As soon as `hurry` says so
    /// nothing is waited for any more. Blocks: not from within an async task.
    pub fn stop(self, hurry: &dyn Fn() -> bool) -> Stopped {
        self.phase.enter(Phase::DRAINING);
        tracing::info!(
            pending = self.control.pending(),
            deadline = ?self.config.shutdown.deadline,
            "draining"
        );
        let clock = self.clock.clone();
        let predrained = clock.now() + self.config.shutdown.predrain;
        wait_until(&*clock, predrained, hurry, || false);
        self.broker.stop_accepting();

        let deadline = clock.now() + self.config.shutdown.deadline;
        self.broker.stop_reading();
        self.control.begin_drain();
        let drained = wait_until(&*clock, deadline, hurry, || {
            self.control.is_empty() && self.broker.unanswered() == 0
        });
        let stopped = Stopped {
            unsent: unsent(&self.control, drained),
            acknowledged: self.accepts(),
        };
        if drained {
            tracing::info!("drained");
        } else {
            tracing::warn!(
                unsent = stopped.unsent,
                unanswered = self.broker.unanswered(),
                parked = self.control.parked(),
                "stopping before everything was sent; what was not acknowledged will come again"
            );
        }
        if stopped.lost() {
            tracing::error!(
                records = stopped.unsent,
                "acknowledged records of rules with ack = \"accept\" are lost"
            );
        }
        let grace = clock.now() + CLOSE_GRACE;
        self.close(if drained { deadline.max(grace) } else { grace });
        stopped
    }

    /// Tells the clients, closes their connections and ends the threads. On a thread of its own, because joining one
    /// that hangs in the operating system must not outlive the deadline.
    fn close(self, deadline: Time) {
        let Self {
            clock,
            broker,
            admin,
            sender,
            sequencer,
            ..
        } = self;
        let (done, ended) = mpsc::sync_channel(1);
        let closing = thread::Builder::new()
            .name("closing".into())
            .spawn(move || {
                broker.join();
                drop(sender);
                drop(sequencer);
                if let Some(admin) = admin {
                    admin.shutdown();
                }
                // Nobody waits any more when the deadline has passed.
                done.send(()).unwrap_or_default();
            });
        if let Err(error) = closing {
            tracing::warn!(%error, "no thread to close the connections: they end with the process");
            return;
        }
        if !wait_until(&*clock, deadline, &|| false, || ended.try_recv().is_ok()) {
            tracing::warn!("connections or threads did not end in time; they end with the process");
        }
    }

    /// Whether any rule that can run is acknowledged before its records are stored.
    fn accepts(&self) -> bool {
        let rules = self.config.rule_set.rules().iter();
        let inherited = || {
            let mut listeners = self.config.listeners.iter();
            listeners.any(|listener| listener.ack == AckMode::Accept)
        };
        rules
            .filter(|rule| rule.is_enabled())
            .any(|rule| match rule.settings().ack {
                Some(ack) => ack == AckMode::Accept,
                None => inherited(),
            })
    }
}

fn unsent(control: &PipelineControl, drained: bool) -> u64 {
    if drained { 0 } else { control.pending() }
}

/// Waits until `done`, the deadline, or the wish to hurry. True when it is done.
fn wait_until(
    clock: &dyn Clock,
    deadline: Time,
    hurry: &dyn Fn() -> bool,
    mut done: impl FnMut() -> bool,
) -> bool {
    loop {
        if done() {
            return true;
        }
        let now = clock.now();
        if now >= deadline || hurry() {
            return false;
        }
        thread::park_timeout(LOOK_EVERY.min(deadline - now));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use forebay_core::SystemClock;

    use super::*;

    #[test]
    fn a_wait_ends_when_done_when_hurried_and_at_the_deadline() {
        let clock = SystemClock::new();
        let far = clock.now() + Duration::from_secs(60);
        let looks = Cell::new(0);
        assert!(wait_until(&clock, far, &|| false, || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        }));
        assert!(!wait_until(&clock, far, &|| true, || false));
        let near = clock.now() + Duration::from_millis(5);
        assert!(!wait_until(&clock, near, &|| false, || false));
        assert!(clock.now() >= near);
    }

    #[test]
    fn only_accept_makes_unsent_records_a_loss() {
        let stopped = |unsent, acknowledged| {
            Stopped {
                unsent,
                acknowledged,
            }
            .lost()
        };
        assert!(stopped(1, true));
        assert!(!stopped(1, false) && !stopped(0, true));
    }
}
