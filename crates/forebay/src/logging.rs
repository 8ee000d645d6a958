//! Log lines to standard error, as text or JSON.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, registry, reload};

use crate::config::{Log, LogFormat};
use crate::diagnostics::Style;

/// Installs the subscriber of the process. Events go through it from here on, those of the libraries too.
///
/// # Errors
/// When there is a subscriber already, or the filter cannot be read.
pub(crate) fn install(log: &Log, style: Style) -> Result<(), String> {
    let filter = EnvFilter::builder()
        .parse(&log.level)
        .map_err(|error| error.to_string())?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = registry().with(filter);
    let installed = match log.format {
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(style == Style::Coloured),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    installed.map_err(|error| error.to_string())?;
    LEVEL.get_or_init(|| handle);
    Ok(())
}

/// The filter of the process's subscriber, which can be replaced.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Replaces the filter: a level or directives.
///
/// # Errors
/// When it cannot be read, or the process has no subscriber of ours.
pub(crate) fn set_level(level: &str) -> Result<(), String> {
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|error| error.to_string())?;
    let handle = LEVEL.get().ok_or("the log has no level to change")?;
    handle.reload(filter).map_err(|error| error.to_string())
}

/// The log of commands that serve something without a configuration: warnings and life cycle, text on a terminal.
pub(crate) fn default_log(level: &str) -> Log {
    Log {
        level: level.to_owned(),
        format: if std::io::stderr().is_terminal() {
            LogFormat::Text
        } else {
            LogFormat::Json
        },
    }
}
