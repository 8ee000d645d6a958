//! The spool of the process: opened before anything that could acknowledge, and what can be seen of it meanwhile.

mod gauges;
mod verifier;
mod view;

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Fs, SeededEntropy};
use forebay_metrics::{Registry, buckets};
use forebay_spool::{LossyFs, OpenError, Progress, Recovered, Spool};

use super::failed_starts::FailedStarts;
use crate::cli::{Exit, Failure, chain};
use crate::config::{Config, NEEDS_A_DIRECTORY};
pub(super) use gauges::register;
pub(super) use verifier::Verifier;
pub(super) use view::{recovery_of, status_of, writer_of};
pub(crate) use view::{report_of, status_of_directory};

/// Makes killing the process a power cut: what was not flushed is gone. Its value is the seed of the disk's moods.
const LOSSY_DISK: &str = "FOREBAY_TEST_LOSSY_DISK";
/// With this, writing to the spool's disk fails while the file that it names exists.
const FAILING_DISK: &str = "FOREBAY_TEST_FAILING_DISK";
/// The description of a spool directory: where there is one, records may be owed.
const META: &str = "META";

/// A spool that is open, and what opening it found.
#[derive(Debug)]
pub(super) struct Opened<F: Fs> {
    pub spool: Spool<F>,
    pub recovered: Recovered,
    pub took: Duration,
}

/// A disk that loses at a kill what was not flushed, when a test asked for one, and can be told to fail.
pub(super) fn test_disk() -> Result<Option<LossyFs>, Failure> {
    let control = std::env::var_os(FAILING_DISK).map(PathBuf::from);
    let seed = match std::env::var(LOSSY_DISK) {
        Ok(seed) => seed,
        // What a disk does by itself is up to it, too, when only its failures are asked for.
        Err(_) if control.is_some() => "0".to_owned(),
        Err(_) => return Ok(None),
    };
    let seed = seed.parse().map_err(|_| {
        Failure::new(
            Exit::Configuration,
            format!("{LOSSY_DISK} is {seed:?}: it takes a number, the seed"),
        )
    })?;
    tracing::warn!(
        seed,
        "{LOSSY_DISK} is set: this process LOSES what it has not flushed when it is killed; for tests only"
    );
    let Some(control) = control else {
        return Ok(Some(LossyFs::new(seed)));
    };
    tracing::warn!(
        control = %control.display(),
        "{FAILING_DISK} is set: this process cannot write to its spool while that file exists; for tests only"
    );
    Ok(Some(LossyFs::failing_while(seed, control)))
}

/// Opens the spool where something may be acknowledged because of it, or where an earlier run has left one: what is
/// owed there must be sent, whatever the acknowledgement mode is now.
///
/// # Errors
/// When the directory cannot be used. Nothing can be promised then, so nothing may be started.
pub(super) fn open<F: Fs>(
    fs: F,
    config: &Config,
    clock: &dyn Clock,
    registry: &Registry,
    starts: &FailedStarts,
) -> Result<Option<Opened<F>>, Failure> {
    let dir = &config.spool.dir;
    if !config.needs_spool() && !was_used(dir) {
        return Ok(None);
    }
    let began = clock.now();
    // Not with the spool's own directory: its parent, too, is for this user alone when it is made here.
    let made = fs.create_dir(&config.server.data_dir);
    let opened = made.map_err(OpenError::from).and_then(|()| {
        Spool::open(
            Arc::new(fs),
            settings(config, starts.progress()),
            SeededEntropy::from_os(),
            began,
            clock.wall_millis(),
        )
    });
    let (mut spool, recovered) = opened.map_err(|error| refused(config, &error, starts))?;
    spool.measure_flushes();
    let took = clock.now().since(began);
    let help = "Time to open the spool at the start.";
    registry
        .histogram("forebay_recovery_seconds", help, &[], buckets::LATENCY)
        .shard()
        .record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    let opened = Opened {
        spool,
        recovered,
        took,
    };
    say(dir, &opened);
    Ok(Some(opened))
}

fn was_used(dir: &Path) -> bool {
    match std::fs::metadata(dir.join(META)) {
        Ok(_) => true,
        // Whoever cannot look must not believe that nothing is owed.
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

fn settings(config: &Config, progress: &Arc<Progress>) -> forebay_spool::Config {
    let spool = &config.spool;
    forebay_spool::Config {
        segment_bytes: spool.segment,
        max_bytes: spool.max_bytes,
        reserve_bytes: spool.reserve,
        // A directory in memory that nobody needs any more is still drained.
        allow_volatile: spool.allow_volatile || !config.needs_spool(),
        progress: Arc::clone(progress),
        ..forebay_spool::Config::on_disk(&spool.dir)
    }
}

/// The words and the exit code for a spool that cannot be opened.
fn refused(config: &Config, error: &OpenError, starts: &FailedStarts) -> Failure {
    let dir = config.spool.dir.display();
    let failed = |exit, text: String| Failure::new(exit, text);
    let text = chain(error);
    match error {
        OpenError::Locked(_) => {
            starts.is_guest();
            failed(
                Exit::InputOutput,
                format!("{text}: stop that process, or give this one another `server.data_dir`"),
            )
        }
        OpenError::Volatile(_) => failed(Exit::Configuration, text),
        OpenError::TooSmall { .. } => failed(
            Exit::Configuration,
            format!(
                "{text}: raise `spool.max_bytes`, make `spool.segment` smaller, or free space on the disk of {dir}"
            ),
        ),
        OpenError::Fs(_) if config.needs_spool() => failed(
            Exit::InputOutput,
            format!("the spool cannot be kept in {dir}: {text}; {NEEDS_A_DIRECTORY}"),
        ),
        _ => failed(
            Exit::InputOutput,
            format!(
                "the spool in {dir} cannot be opened, and records that an earlier run acknowledged may be in it: {text}"
            ),
        ),
    }
}

/// What opening found.
fn say<F: Fs>(dir: &Path, opened: &Opened<F>) {
    let Opened {
        spool,
        recovered,
        took,
    } = opened;
    let stat = spool.stat();
    let dir = dir.display();
    if recovered.created {
        tracing::info!(%dir, limit_bytes = stat.limit_bytes, "spool created");
    } else {
        tracing::info!(
            %dir,
            limit_bytes = stat.limit_bytes,
            segments = recovered.segments,
            scanned = recovered.scanned,
            records = recovered.records,
            torn = recovered.torn,
            damaged = recovered.damaged.len(),
            lost = recovered.lost,
            checkpoints_unusable = recovered.checkpoints_unusable,
            duration_ms = took.as_millis() as u64,
            "spool recovered"
        );
    }
    if !recovered.damaged.is_empty() {
        tracing::error!(
            %dir,
            places = recovered.damaged.len(),
            lost = recovered.lost,
            "the spool is damaged; what lay there is kept in its quarantine files"
        );
    }
    if !spool.is_writable() {
        tracing::error!(%dir, "the spool cannot be written; what is owed in it is sent");
    }
    let mode = std::fs::metadata(&stat.dir).map(|meta| meta.permissions().mode());
    if let Ok(mode) = mode
        && mode & 0o077 != 0
    {
        let mode = format!("{:o}", mode & 0o7777);
        tracing::warn!(%dir, mode, "others may look into the spool directory: chmod 700");
    }
}
