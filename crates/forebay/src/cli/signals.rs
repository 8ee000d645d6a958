//! SIGINT and SIGTERM, which ask for a stop, and SIGHUP, which asks to read the configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{Exit, Failure};

/// Both signals that ask for a stop.
#[derive(Debug)]
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Begins to listen: from here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next wish to stop and says which signal it was.
    ///
    /// # Cancel safety
    /// A signal that arrives after this is dropped is seen by the next call.
    pub(crate) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The signal that asks to read the configuration again.
#[derive(Debug)]
pub(crate) struct Hangup(Signal);

impl Hangup {
    /// Begins to listen: from here on the signal no longer ends the process.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn listen() -> Result<Self, Failure> {
        open(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one; several that come meanwhile are one.
    ///
    /// # Cancel safety
    /// As [`Stop::wait`].
    pub(crate) async fn wait(&mut self) {
        self.0.recv().await;
    }
}

fn open(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::new(
            Exit::InputOutput,
            format!("cannot listen to signals: {error}"),
        )
    })
}
