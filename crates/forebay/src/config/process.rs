//! `[server]`, `[log]`, `[metrics]` and `[shutdown]`: the process itself.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use forebay_core::AckMode;
use tracing_subscriber::EnvFilter;

use super::machine::Machine;
use super::raw::RawTable;
use super::section::{Section, Written};
use crate::diagnostics::{Code, Diagnostic, Report};

const HOUR: Duration = Duration::from_secs(3600);

/// The names of the acknowledgement modes.
pub(super) const ACK_MODES: [&str; 3] = ["accept", "stored", "spool"];

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `name`: in logs and `/statusz`; 1 to 64 of `A-Z a-z 0-9 _ . -`. Default: the host name.
    pub name: String,
    /// `data_dir`: what has to survive a restart. Default `data`.
    pub data_dir: PathBuf,
    /// `workers`: ingest workers, 1 to 1 024. Default: the cores that the process may use.
    pub workers: u16,
    /// `ack`: when a publish is acknowledged where neither rule nor listener says it. Default `spool`.
    pub ack: AckMode,
}

impl Server {
    pub(super) fn read(table: RawTable, machine: &Machine, report: &mut Report) -> Self {
        let mut section = Section::new("server", table, report);
        let name = section.string("name").and_then(|written| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
            let valid =
                (1..=64).contains(&written.value.len()) && written.value.bytes().all(allowed);
            if !valid {
                section.out_of_range("name", &written.origin, "1 to 64 of A-Z a-z 0-9 _ . -");
            }
            valid.then_some(written.value)
        });
        let server = Self {
            name: name.unwrap_or_else(|| machine.host_name.clone()),
            data_dir: section
                .path("data_dir")
                .map_or_else(|| PathBuf::from("data"), |written| written.value),
            workers: section
                .integer("workers", 1..=1024)
                .map_or(u64::from(machine.cores.clamp(1, 1024)), |written| {
                    written.value
                })
                .try_into()
                .unwrap_or(1024),
            ack: read_ack(&mut section).map_or(AckMode::Spool, |written| written.value),
        };
        section.finish();
        server
    }
}

/// `ack` of a section.
pub(super) fn read_ack(section: &mut Section<'_>) -> Option<Written<AckMode>> {
    section.choice("ack", &ACK_MODES)
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[log]`: to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `level`: a level, or filter directives such as `info,forebay_broker=debug`. Default `info`.
    pub level: String,
    /// `format`. Default `text` on a terminal, else `json`.
    pub format: LogFormat,
}

impl Log {
    pub(super) fn read(table: RawTable, machine: &Machine, report: &mut Report) -> Self {
        let mut section = Section::new("log", table, report);
        let level = section.string("level").and_then(|written| {
            match EnvFilter::builder().parse(&written.value) {
                Ok(_) => Some(written.value),
                Err(error) => {
                    section.report().push(
                        Diagnostic::error(Code::OutOfRange, format!("`log.level`: {error}"))
                            .at(&written.origin)
                            .label("write a level (error, warn, info, debug, trace) or directives as in \"info,forebay_broker=debug\""),
                    );
                    None
                }
            }
        });
        let default_format = if machine.terminal {
            LogFormat::Text
        } else {
            LogFormat::Json
        };
        let log = Self {
            level: level.unwrap_or_else(|| "info".to_owned()),
            format: section
                .choice("format", &["text", "json"])
                .map_or(default_format, |written| written.value),
        };
        section.finish();
        log
    }
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// `[metrics]`: how many values a label may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// `rule_label_limit`: rules with a label of their own, 1 to 10 000; the rest is `other`. Default 500.
    pub rule_label_limit: u32,
    /// `shard_label_limit`: the same for shards. Default 256.
    pub shard_label_limit: u32,
}

impl Metrics {
    pub(super) fn read(table: RawTable, report: &mut Report) -> Self {
        let mut section = Section::new("metrics", table, report);
        let metrics = Self {
            rule_label_limit: section
                .integer_u32("rule_label_limit", 1..=10_000)
                .unwrap_or(500),
            shard_label_limit: section
                .integer_u32("shard_label_limit", 1..=10_000)
                .unwrap_or(256),
        };
        section.finish();
        metrics
    }
}

/// `[shutdown]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// `deadline`: cuts every step of the stop, 1 s to 1 h; it begins when `predrain` is over. Default 25 s, below the
    /// 30 s after which a service manager usually kills.
    pub deadline: Duration,
    /// `predrain`: how long the listeners stay open after readiness went false, 0 s to 1 h. Default 0 s.
    pub predrain: Duration,
}

impl Shutdown {
    pub(super) fn read(table: RawTable, report: &mut Report) -> Self {
        let mut section = Section::new("shutdown", table, report);
        let shutdown = Self {
            deadline: section
                .duration("deadline", Duration::from_secs(1)..=HOUR)
                .map_or(Duration::from_secs(25), |written| written.value),
            predrain: section
                .duration("predrain", Duration::ZERO..=HOUR)
                .map_or(Duration::ZERO, |written| written.value),
        };
        section.finish();
        shutdown
    }
}
