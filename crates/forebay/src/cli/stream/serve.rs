//! `stream serve`: the embedded stream server as a process of its own.

use std::path::PathBuf;

use forebay_stream::{ServerConfig, ServerError, StreamServer};

use crate::cli::args::ServeArguments;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::cli::signals;
use crate::logging;

/// Where the records are kept when nobody says it.
const DATA_DIR: &str = "data/stream";

/// Runs the command until SIGINT or SIGTERM.
pub(crate) async fn run(arguments: &ServeArguments) -> Outcome {
    let data_dir = arguments
        .data_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(DATA_DIR));
    logging::install(&logging::default_log("info"), output::style())
        .map_err(|error| Failure::new(Exit::InputOutput, format!("cannot log: {error}")))?;
    let mut stop = signals::Stop::listen()?;
    let server = StreamServer::start(ServerConfig {
        bind: arguments.bind,
        data_dir: Some(data_dir),
        limits: arguments.limits == "on",
        retention: arguments.retention,
        retention_bytes: arguments.retention_bytes,
        ..ServerConfig::default()
    })
    .await
    .map_err(refused)?;
    for (name, shards) in &arguments.stream {
        match server.create_stream(name, *shards) {
            Ok(()) => {}
            Err(error) if exists(&error) => {
                output::remark(&format!(
                    "stream {name} exists already and is kept as it is"
                ));
            }
            Err(error) => return Err(refused(error)),
        }
    }
    // The address is data: with port 0 nobody else knows it.
    output::line(&server.endpoint_url())?;
    stop.wait().await;
    server.shutdown().await;
    Ok(Exit::Done)
}

fn exists(error: &ServerError) -> bool {
    matches!(error, ServerError::Refused { code, .. } if *code == "ResourceInUseException")
}

fn refused(error: ServerError) -> Failure {
    let exit = match &error {
        ServerError::Bind { .. } => Exit::Unreachable,
        ServerError::Setting { .. } | ServerError::Refused { .. } => Exit::Usage,
        _ => Exit::InputOutput,
    };
    Failure::new(exit, super::service::chain(&error))
}
