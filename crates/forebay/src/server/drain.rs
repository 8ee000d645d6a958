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
    /// Records outside the spool that were admitted and have not reached their end.
    pub unsent: u64,
    /// True when some of these may have been acknowledged: a rule with `ack = "accept"` is in force.
    pub acknowledged: bool,
    /// Records that stay in the spool for the next start. That is no failure: they are kept.
    pub in_spool: u64,
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
            in_spool = in_spool(&self.control),
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
        let mut stopped = Stopped {
            unsent: unsent(&self.control, drained),
            acknowledged: self.accepts(),
            in_spool: 0,
        };
        self.tell(&stopped, drained);
        stopped.in_spool = self.close(deadline, drained, hurry);
        if stopped.in_spool > 0 {
            tracing::info!(
                records = stopped.in_spool,
                "records stay in the spool and are sent after the next start"
            );
        }
        stopped
    }

    /// How the drain ended.
    fn tell(&self, stopped: &Stopped, drained: bool) {
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
    }

    /// Tells the clients and closes their connections, lets requests with records of the spool come back, ends the
    /// threads. Returns how many records stay in the spool.
    fn close(self, deadline: Time, drained: bool, hurry: &dyn Fn() -> bool) -> u64 {
        let Self {
            clock,
            config,
            control,
            broker,
            admin,
            sender,
            sequencer,
            ..
        } = self;
        let grace = clock.now() + CLOSE_GRACE;
        let close_by = if drained { deadline.max(grace) } else { grace };
        end(&*clock, "closing", close_by, move || broker.join());

        // What comes back now is not sent a second time after the next start.
        let viewer = sender.viewer();
        let back_by = clock.now() + config.kinesis.attempt_timeout;
        wait_until(&*clock, back_by.min(deadline), hurry, || {
            let in_memory = control.log().map_or(0, |log| log.in_memory);
            in_memory == 0 || viewer.status().iter().all(|stream| stream.in_flight == 0)
        });

        let end_by = deadline.max(clock.now() + CLOSE_GRACE);
        end(&*clock, "ending", end_by, move || {
            drop(sender);
            // This writes the last checkpoint and lets go of the spool.
            drop(sequencer);
            if let Some(admin) = admin {
                admin.shutdown();
            }
        });
        in_spool(&control)
    }

    /// Whether any rule that can run is acknowledged before its records are stored.
    fn accepts(&self) -> bool {
        let in_force = self.control.rules();
        let rules = in_force.rules().iter();
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

/// Records that are owed from the spool.
fn in_spool(control: &PipelineControl) -> u64 {
    control.log().map_or(0, |log| log.stat.unsettled_records)
}

/// Records outside the spool that have not reached their end.
fn unsent(control: &PipelineControl, drained: bool) -> u64 {
    if drained { 0 } else { control.unsent() }
}

/// Runs the last work of a stop on a thread of its own, because joining one that hangs in the operating system must not
/// outlive the deadline.
fn end(clock: &dyn Clock, name: &str, deadline: Time, work: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        work();
        // Nobody waits any more when the deadline has passed.
        done.send(()).unwrap_or_default();
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread to stop in order: connections and threads end with the process");
        return;
    }
    if !wait_until(clock, deadline, &|| false, || ended.try_recv().is_ok()) {
        tracing::warn!("connections or threads did not end in time; they end with the process");
    }
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
                in_spool: 7,
            }
            .lost()
        };
        assert!(stopped(1, true));
        assert!(!stopped(1, false) && !stopped(0, true));
    }
}
