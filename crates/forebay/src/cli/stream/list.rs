//! `stream list`.

use serde_json::json;

use super::service::{Service, failure};
use crate::cli::args::ListArguments;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output;

/// Pages of names that are asked for: far more than an account may have streams.
const PAGES_MAX: usize = 10_000;

/// Runs the command.
pub(crate) async fn run(arguments: &ListArguments) -> Outcome {
    let client = Service::from(&arguments.service).client().await?;
    let mut names: Vec<String> = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = client
            .list_streams()
            .set_exclusive_start_stream_name(names.last().cloned())
            .send()
            .await
            .map_err(|error| failure("ListStreams", error))?;
        let more = page.has_more_streams() && !page.stream_names().is_empty();
        names.extend(page.stream_names().iter().cloned());
        if !more {
            break;
        }
    }
    if arguments.json {
        output::json(&json!(names))?;
    } else {
        for name in &names {
            output::line(name)?;
        }
    }
    Ok(Exit::Done)
}
