//! `bench quick`: measures a broker from outside.

use forebay_bench::quick::{self, Progress, QuickConfig, QuickError};
use forebay_bench::verify::StreamTarget;
use forebay_core::QoS;

use super::args::QuickArguments;
use super::exit::{Exit, Failure, Outcome};
use super::output;

/// Runs the command. Exit code 1 when an acknowledged message was not found in the stream, or not in order.
pub(super) fn run(arguments: &QuickArguments) -> Outcome {
    let mut config = QuickConfig::new(arguments.broker.clone());
    config.connections = arguments.connections;
    config.window = arguments.window;
    config.size = usize::try_from(arguments.size).map_err(|_| {
        Failure::new(
            Exit::Usage,
            format!("--size {} is too large", arguments.size),
        )
    })?;
    config.keys = arguments.keys;
    config.qos = QoS::from_level(arguments.qos).unwrap_or_default();
    config.version = arguments.version;
    config.duration = arguments.duration;
    config.pid = arguments.pid;
    config.stream = arguments
        .stream
        .as_ref()
        .map(|stream| target(stream, arguments.endpoint.as_deref()));
    let report = quick::run(&config, &mut show).map_err(refused)?;
    if arguments.json {
        let value = serde_json::to_value(&report)
            .map_err(|error| Failure::new(Exit::Failed, format!("report: {error}")))?;
        output::json(&value)?;
    } else {
        output::line(&report.to_string())?;
    }
    Ok(if report.is_clean() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// An endpoint on this machine takes any signature, so that nothing has to be set up to read from it.
fn target(stream: &str, endpoint: Option<&str>) -> StreamTarget {
    match endpoint {
        Some(endpoint) if super::stream::needs_no_credentials(endpoint) => {
            StreamTarget::local(stream, endpoint)
        }
        endpoint => StreamTarget::new(stream, endpoint.map(str::to_owned)),
    }
}

fn show(progress: Progress) {
    output::remark(&format!(
        "{:>4.0} s  {:>10} messages  {:>9.0}/s",
        progress.elapsed.as_secs_f64(),
        progress.messages,
        progress.messages_per_second
    ));
}

fn refused(error: QuickError) -> Failure {
    let exit = match &error {
        QuickError::Range { .. } | QuickError::NoDuration | QuickError::Template(_) => Exit::Usage,
        QuickError::Resolve { .. }
        | QuickError::Connect { .. }
        | QuickError::Lost { .. }
        | QuickError::Verify(_) => Exit::Unreachable,
        QuickError::Usage(_) | QuickError::Thread(_) => Exit::InputOutput,
    };
    Failure::new(exit, error.to_string())
}
