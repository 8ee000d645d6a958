//! CPU time and memory of a process, read from the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use serde::Serialize;

/// Kernel ticks per second in `/proc`: 100 for user space on every Linux platform that Rust runs on.
const TICKS_PER_SECOND: u32 = 100;

/// Why a process cannot be measured.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the usage of process {pid}: {source}")]
pub struct UsageError {
    pid: u32,
    source: io::Error,
}

/// A process at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    user: Duration,
    system: Duration,
    threads: BTreeMap<u32, Duration>,
    resident_bytes: u64,
}

impl Sample {
    /// Reads process `pid`.
    pub(crate) fn take(pid: u32) -> Result<Self, UsageError> {
        read(pid).map_err(|source| UsageError { pid, source })
    }
}

/// Resident memory of process `pid`.
///
/// # Errors
/// When there is no such process, or the kernel is not Linux.
pub fn resident_bytes(pid: u32) -> Result<u64, UsageError> {
    Sample::take(pid).map(|sample| sample.resident_bytes)
}

/// What a process used between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usage {
    /// CPU time, user and system together, in seconds.
    pub cpu_seconds: f64,
    /// The part in user mode; the kernel samples the split, it does not measure it.
    pub user_seconds: f64,
    /// The part in the kernel; sampled as well.
    pub system_seconds: f64,
    /// Resident memory at the end.
    pub resident_bytes: u64,
    /// Threads at the end.
    pub threads: usize,
}

impl Usage {
    /// CPU time per message in microseconds.
    pub fn micros_per_message(&self, messages: u64) -> f64 {
        self.cpu_seconds * 1e6 / messages as f64
    }

    pub(crate) fn between(from: &Sample, to: &Sample) -> Self {
        let user = to.user.saturating_sub(from.user);
        let system = to.system.saturating_sub(from.system);
        Self {
            // The scheduler counts in nanoseconds but forgets a thread that ended; the ticks count all of them.
            cpu_seconds: scheduled(from, to).unwrap_or(user + system).as_secs_f64(),
            user_seconds: user.as_secs_f64(),
            system_seconds: system.as_secs_f64(),
            resident_bytes: to.resident_bytes,
            threads: to.threads.len(),
        }
    }
}

/// Time on a CPU by the scheduler's count; `None` when a thread ended in between or the kernel keeps no such count.
fn scheduled(from: &Sample, to: &Sample) -> Option<Duration> {
    let ended = from.threads.keys().any(|id| !to.threads.contains_key(id));
    if ended || to.threads.is_empty() {
        return None;
    }
    let sum = to.threads.iter().map(|(id, now)| {
        let before = from.threads.get(id).copied().unwrap_or_default();
        now.saturating_sub(before)
    });
    Some(sum.sum())
}

/// CPU time of the calling thread so far; `None` where the kernel does not tell.
pub(crate) fn thread_cpu() -> Option<Duration> {
    run_time(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

fn run_time(schedstat: &str) -> Option<Duration> {
    let nanos = schedstat.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

fn read(pid: u32) -> io::Result<Sample> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's text is malformed");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the command in parentheses and may contain blanks: fields are counted behind it.
    let (_, fields) = stat.rsplit_once(')').ok_or_else(malformed)?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> io::Result<Duration> {
        let ticks: u32 = fields
            .get(index)
            .and_then(|field| field.parse().ok())
            .ok_or_else(malformed)?;
        Ok(Duration::from_secs(1) * ticks / TICKS_PER_SECOND)
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .ok_or_else(malformed)?;
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A thread may end between the listing and the reading.
        let text = fs::read_to_string(format!("/proc/{pid}/task/{id}/schedstat"));
        if let Some(time) = text.ok().as_deref().and_then(run_time) {
            threads.insert(id, time);
        }
    }
    Ok(Sample {
        user: ticks(11)?,
        system: ticks(12)?,
        threads,
        resident_bytes: resident * 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burnt_cpu_time_shows_and_idle_time_does_not() {
        let pid = std::process::id();
        let before = Sample::take(pid).unwrap();
        let start = thread_cpu().unwrap();
        let mut value = 1_u64;
        while thread_cpu().unwrap() - start < Duration::from_millis(60) {
            value = std::hint::black_box(value.wrapping_mul(3));
        }
        let usage = Usage::between(&before, &Sample::take(pid).unwrap());
        assert!(usage.cpu_seconds >= 0.05, "{usage:?}");
        assert!(usage.resident_bytes > 100_000);
        assert!(usage.micros_per_message(1000) >= 50.0);
        assert!(Sample::take(u32::MAX).is_err());
    }

    #[test]
    fn a_thread_that_ended_makes_the_ticks_count() {
        let sample = |user, threads: &[(u32, u64)]| Sample {
            user: Duration::from_millis(user),
            system: Duration::ZERO,
            threads: threads
                .iter()
                .map(|(id, millis)| (*id, Duration::from_millis(*millis)))
                .collect(),
            resident_bytes: 0,
        };
        let from = sample(100, &[(1, 60), (2, 40)]);
        let grown = sample(310, &[(1, 160), (2, 41), (3, 100)]);
        assert_eq!(Usage::between(&from, &grown).cpu_seconds, 0.201);
        let ended = sample(310, &[(1, 160)]);
        assert_eq!(Usage::between(&from, &ended).cpu_seconds, 0.21);
    }
}
