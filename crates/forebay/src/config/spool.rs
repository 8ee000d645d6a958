//! `[spool]`: where acknowledged records are kept until Kinesis has them, and how much of the disk they may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_core::{Fs as _, FsMedium, OnSpoolFailure};
use forebay_spool::DiskFs;
use rustix::fs::Access;

use super::Config;
use super::raw::RawTable;
use super::section::Section;
use super::units::DisplaySize;
use crate::diagnostics::{Code, Diagnostic, Origin, Report};

/// The names of the policies for a disk that cannot be written.
const ON_FAILURE: [&str; 2] = ["stored", "stall"];
/// Segments without which the spool cannot work: two in reserve, one being written, one being drained.
const SEGMENTS_MIN: u64 = 4;
const MIB: u64 = 1 << 20;

/// `[spool]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// `dir`: a directory on a local disk. Default `spool` in `server.data_dir`.
    pub dir: PathBuf,
    /// `segment`: bytes of one file, 16 MiB to 1 GiB. Default 64 MiB.
    pub segment: u64,
    /// `max_bytes` of all segments, at least four of them. `None`: what the directory was created with; at its creation
    /// the smaller of 16 GiB and half of what is free.
    pub max_bytes: Option<u64>,
    /// `reserve`: free space of the disk that is never taken. `None`: the larger of 1 GiB and 2 % of the disk.
    pub reserve: Option<u64>,
    /// `commit_max_delay`: how long a small group may wait for more, 0 s to 100 ms. Default 1 ms.
    pub commit_max_delay: Duration,
    /// `on_failure`: what a publish gets while no segment can be written. Default `stored`.
    pub on_failure: OnSpoolFailure,
    /// `allow_volatile`: whether a directory in memory will do. Default false.
    pub allow_volatile: bool,
    /// `qos0`: whether QoS 0 goes to disk too. Default false.
    pub qos0: bool,
}

/// The section with the place that a later check points to.
pub(super) struct ReadSpool {
    pub spool: Spool,
    dir_origin: Option<Origin>,
}

impl Spool {
    pub(super) fn read(table: RawTable, data_dir: &Path, report: &mut Report) -> ReadSpool {
        let mut section = Section::new("spool", table, report);
        let dir = section.path("dir");
        let segment = section
            .size("segment", 16 * MIB..=1024 * MIB)
            .map_or(64 * MIB, |written| written.value);
        let max_bytes = section.size("max_bytes", 1..=u64::MAX).and_then(|written| {
            let least = SEGMENTS_MIN * segment;
            if written.value < least {
                let allowed = format!(
                    "{} or more, which is {SEGMENTS_MIN} segments of {} (`spool.segment`)",
                    DisplaySize(least),
                    DisplaySize(segment)
                );
                section.out_of_range("max_bytes", &written.origin, &allowed);
                return None;
            }
            Some(written.value)
        });
        let spool = Self {
            dir: dir
                .as_ref()
                .map_or_else(|| data_dir.join("spool"), |written| written.value.clone()),
            segment,
            max_bytes,
            reserve: section
                .size("reserve", 0..=u64::MAX)
                .map(|written| written.value),
            commit_max_delay: section
                .duration(
                    "commit_max_delay",
                    Duration::ZERO..=Duration::from_millis(100),
                )
                .map_or(Duration::from_millis(1), |written| written.value),
            on_failure: section
                .choice("on_failure", &ON_FAILURE)
                .map_or(OnSpoolFailure::Stored, |written| written.value),
            allow_volatile: section.boolean("allow_volatile").unwrap_or(false),
            qos0: section.boolean("qos0").unwrap_or(false),
        };
        section.finish();
        ReadSpool {
            spool,
            dir_origin: dir.map(|written| written.origin),
        }
    }

    /// The directory itself, or the nearest one above it that exists: where it would be created.
    fn nearest_existing(&self) -> &Path {
        let mut above = self.dir.ancestors();
        above
            .find(|path| path.exists())
            // A relative path has the empty one above it, which stands for the working directory.
            .unwrap_or(Path::new("."))
    }
}

impl ReadSpool {
    /// Reports a directory that does not outlive what the spool promises to survive.
    pub(super) fn check_medium(&self, report: &mut Report) {
        let Spool {
            dir,
            allow_volatile,
            ..
        } = &self.spool;
        let dir = dir.display();
        // What cannot be told here is told when the spool is opened.
        let diagnostic = match DiskFs.medium(self.spool.nearest_existing()) {
            Ok(FsMedium::Volatile) if !allow_volatile => Diagnostic::error(
                Code::Storage,
                format!("`spool.dir` is in memory (tmpfs or ramfs): {dir}"),
            )
            .help("what is acknowledged with ack = \"spool\" must survive a power cut")
            .help("set `spool.dir` or `server.data_dir` to a directory on a disk, or `spool.allow_volatile = true` to do without that"),
            Ok(FsMedium::ContainerLayer) => Diagnostic::warning(
                Code::ContainerLayer,
                format!("`spool.dir` is in the writable layer of a container: {dir}"),
            )
            .help("it goes with the container: mount a volume for `server.data_dir`"),
            Ok(FsMedium::Volatile | FsMedium::Disk) | Err(_) => return,
        };
        report.push(match &self.dir_origin {
            Some(origin) => diagnostic.at(origin),
            None => diagnostic,
        });
    }
}

/// Reports a directory in which the spool could not be opened, as far as that can be told without creating anything.
pub(crate) fn check_writable(config: &Config, report: &mut Report) {
    if !config.needs_spool() {
        return;
    }
    let nearest = config.spool.nearest_existing();
    let refused = if nearest.is_dir() {
        rustix::fs::access(
            nearest,
            Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
        )
        .err()
        .map(|error| std::io::Error::from(error).to_string())
    } else {
        Some("it is not a directory".to_owned())
    };
    if let Some(reason) = refused {
        report.push(
            Diagnostic::error(
                Code::Storage,
                format!(
                    "the spool cannot be kept in {}: {}: {reason}",
                    config.spool.dir.display(),
                    nearest.display()
                ),
            )
            .help(NEEDS_A_DIRECTORY),
        );
    }
}

/// What helps where the spool has no directory.
pub(crate) const NEEDS_A_DIRECTORY: &str = "with ack = \"spool\" Forebay refuses to start without a directory that it can write (`server.data_dir`, `spool.dir`), \
     unless ack = \"accept\" or ack = \"stored\" is set";
