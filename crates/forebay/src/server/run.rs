//! `run`: from the configuration to the exit code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use forebay_admin::RuleControl as _;
use forebay_core::SystemClock;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::failed_starts::FailedStarts;
use super::{ReadAgain, Server, Stopped, fatal, lines};
use crate::cli::{Exit, Failure, Hangup, Outcome, Stop, show_report, style};
use crate::config::{self, CommandLineRule, Inputs, Loaded, Machine, raise_descriptor_limit};
use crate::logging;

/// How often the vital threads are looked at. A panic ends the process by itself; this is for a thread that ends
/// without one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the server until a signal.
pub(crate) fn run(inputs: &Inputs, rule: Option<&CommandLineRule>) -> Outcome {
    // Before anything that could be interrupted: a signal during the start is a wish to stop, not a crash.
    let runtime = runtime()?;
    let (mut stop, mut hangup) = {
        let _entered = runtime.enter();
        (Stop::listen()?, Hangup::listen()?)
    };
    let descriptors = raise_descriptor_limit();
    let Loaded { config, report } = config::load(inputs, rule, &Machine::detect());
    let Some(config) = config else {
        show_report(&report);
        return Ok(Exit::Configuration);
    };
    logging::install(&config.log, style())
        .map_err(|error| Failure::new(Exit::InputOutput, format!("cannot log: {error}")))?;
    lines::banner(&config);
    lines::warnings(&report);
    if let Err(error) = descriptors {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    lines::rules(&config);
    let clock = Arc::new(SystemClock::new());
    let starts = Arc::new(FailedStarts::read(&config.server.data_dir, clock));
    let panicking = Arc::clone(&starts);
    fatal::end_process_when_vital_threads_panic(move |said| panicking.thread_panicked(said));
    let read_again: ReadAgain = {
        let (inputs, rule) = (inputs.clone(), rule.cloned());
        Box::new(move || config::load(&inputs, rule.as_ref(), &Machine::detect()))
    };
    let server = starts.watch(|| Server::start_after(config, &starts, Some(read_again)))?;
    tracing::info!("ready");

    let signal = runtime.block_on(serve(&server, &mut stop, &mut hangup));
    tracing::info!(signal, "stop asked for");
    let stopped = runtime.block_on(end(server, &mut stop))?;
    tracing::info!(
        unsent = stopped.unsent,
        in_spool = stopped.in_spool,
        "stopped"
    );
    Ok(if stopped.lost() {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::InputOutput, format!("cannot start: {error}")))
}

/// Waits for a signal while the server serves.
async fn serve(server: &Server, stop: &mut Stop, hangup: &mut Hangup) -> &'static str {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut flushes = false;
    loop {
        tokio::select! {
            signal = stop.wait() => return signal,
            () = hangup.wait() => {
                let rules = server.rules();
                // What comes of it is in the log. A second one waits for the first.
                if let Err(error) = tokio::task::spawn_blocking(move || rules.reload()).await {
                    tracing::error!(%error, "the reload panicked");
                }
            }
            _ = look.tick() => {
                if let Some(thread) = server.broken() {
                    fatal::end(thread);
                }
                flushes = flushes || server.has_measured_flushes();
            }
        }
    }
}

/// Stops the server on a thread of its own, so that a second signal is heard meanwhile: it shortens the wait.
async fn end(server: Server, stop: &mut Stop) -> Result<Stopped, Failure> {
    let hurried = Arc::new(AtomicBool::new(false));
    let hurry = Arc::clone(&hurried);
    let (done, mut stopped) = oneshot::channel();
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::InputOutput, format!("cannot stop in order: {error}"))
    };
    thread::Builder::new()
        .name("stopping".into())
        .spawn(move || {
            let stopped = server.stop(&|| hurry.load(Ordering::SeqCst));
            // The main thread waits for this, unless it ended by a panic.
            done.send(stopped).unwrap_or_default();
        })
        .map_err(|error| failed(&error))?;
    loop {
        tokio::select! {
            stopped = &mut stopped => return stopped.map_err(|error| failed(&error)),
            signal = stop.wait() => {
                tracing::warn!(signal, "asked again: nothing is waited for any more");
                hurried.store(true, Ordering::SeqCst);
            }
        }
    }
}
