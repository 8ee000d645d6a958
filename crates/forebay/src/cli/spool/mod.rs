//! `spool`: a look into what is kept until Kinesis has it.

mod args;
mod place;
mod text;

use std::time::Duration;

use forebay_admin::{SpoolStatus, VerifyReport, VerifyState, VerifyStatus};
use forebay_core::{Clock as _, SystemClock};
use forebay_spool::{OpenError, ReadOnlyDisk};
use serde::Serialize;

use args::SpoolArguments;
pub(super) use args::SpoolCommand;
use place::{Place, STAT, unreadable};

use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::server::{report_of, status_of_directory};

/// The path at which a running process reads its spool.
const VERIFY: &str = "/api/v1/spool/verify";
/// Between two looks whether it is done.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Runs the command.
pub(super) async fn run(command: &SpoolCommand) -> Outcome {
    match command {
        SpoolCommand::Stat(arguments) => stat(arguments).await,
        SpoolCommand::Verify(arguments) => verify(arguments).await,
    }
}

async fn stat(arguments: &SpoolArguments) -> Outcome {
    let place = Place::of(arguments)?;
    let here = match &place.dir {
        Some(dir) => unless_in_use(forebay_spool::stat(&ReadOnlyDisk, dir))?,
        None => None,
    };
    let (status, through) = match here {
        Some(seen) => {
            let now = SystemClock::new().wall_millis();
            (status_of_directory(&seen, place.dir(), now), None)
        }
        None => {
            let admin = place.admin()?;
            place.expect_same(&admin).await?;
            let status: SpoolStatus = admin.get(STAT).await?;
            (status, Some(admin.to_string()))
        }
    };
    show(arguments, &status, || {
        text::stat(&status, through.as_deref())
    })?;
    Ok(Exit::Done)
}

async fn verify(arguments: &SpoolArguments) -> Outcome {
    let place = Place::of(arguments)?;
    let clock = SystemClock::new();
    let began = clock.now();
    let here = match &place.dir {
        Some(dir) => unless_in_use(forebay_spool::verify(&ReadOnlyDisk, dir))?
            .map(|found| report_of(&found, dir, clock.now().since(began))),
        None => None,
    };
    let report = match here {
        Some(report) => report,
        None => ask_to_verify(&place).await?,
    };
    show(arguments, &report, || text::verify(&report))?;
    Ok(match (report.damaged, report.unreadable) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::InputOutput,
        _ => Exit::Failed,
    })
}

/// Has the process that uses the spool read it. That has no time limit of its own: a spool may be large. A process that
/// ends meanwhile does not answer the next question.
async fn ask_to_verify(place: &Place) -> Result<VerifyReport, Failure> {
    let admin = place.admin()?;
    place.expect_same(&admin).await?;
    let mut status: VerifyStatus = admin.post(VERIFY).await?;
    while status.state == VerifyState::Running {
        tokio::time::sleep(ASK_EVERY).await;
        status = admin.get(VERIFY).await?;
    }
    status.report.ok_or_else(|| {
        let reason = status
            .error
            .unwrap_or_else(|| "it gave no report".to_owned());
        Failure::new(
            Exit::InputOutput,
            format!("{admin} could not read its spool: {reason}"),
        )
    })
}

/// What was found in the directory; `None` when a process has it open.
fn unless_in_use<T>(found: Result<T, OpenError>) -> Result<Option<T>, Failure> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(OpenError::Locked(_)) => Ok(None),
        Err(error) => Err(unreadable(&error)),
    }
}

fn show<T: Serialize>(
    arguments: &SpoolArguments,
    value: &T,
    text: impl FnOnce() -> Vec<String>,
) -> Result<(), Failure> {
    if arguments.json {
        let value = serde_json::to_value(value)
            .map_err(|error| Failure::new(Exit::InputOutput, error.to_string()))?;
        output::json(&value)?;
    } else {
        for line in text() {
            output::line(&line)?;
        }
    }
    Ok(())
}
