//! How long this device takes to flush, measured once.

use std::path::Path;
use std::time::Duration;

use forebay_core::{Clock, Fs, FsError, OpenMode};

use crate::wire::write_all;

/// The file that is written for it, and removed again.
pub(crate) const NAME: &str = "flush-timing";
/// Flushes that are timed.
const SAMPLES: usize = 50;
/// Bytes that each makes durable.
const BYTES: usize = 4096;
/// No device stores anything durably in less: a median below it means that flushes are not done.
const PLAUSIBLE_MIN: Duration = Duration::from_micros(20);

/// Durations of flushes of 4 KiB each, into blocks that the file had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushTiming {
    /// Shortest first; never empty.
    durations: Vec<Duration>,
}

impl FlushTiming {
    /// All durations, shortest first.
    pub fn durations(&self) -> &[Duration] {
        &self.durations
    }

    /// The median.
    pub fn median(&self) -> Duration {
        self.durations[self.durations.len() / 2]
    }

    /// True when the device is so fast that it may not flush at all.
    pub fn is_implausible(&self) -> bool {
        self.median() < PLAUSIBLE_MIN
    }

    /// Times flushes in a directory. What it writes is removed again.
    pub(crate) fn measure<F: Fs>(fs: &F, dir: &Path, clock: &dyn Clock) -> Result<Self, FsError> {
        let path = dir.join(NAME);
        let measured = Self::measure_file(&fs.open(&path, OpenMode::CreateMissing)?, clock);
        let removed = fs.remove(&path);
        let measured = measured?;
        removed.map(|()| measured)
    }

    fn measure_file<T: forebay_core::FsFile>(file: &T, clock: &dyn Clock) -> Result<Self, FsError> {
        write_all(file, &[0; BYTES], 0)?;
        file.sync_data()?;
        let mut durations = Vec::with_capacity(SAMPLES);
        for sample in 0..SAMPLES {
            let fill = u8::try_from(sample).unwrap_or(u8::MAX);
            write_all(file, &[fill; BYTES], 0)?;
            let start = clock.now();
            file.sync_data()?;
            durations.push(clock.now().since(start));
        }
        durations.sort_unstable();
        Ok(Self { durations })
    }
}
