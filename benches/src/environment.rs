//! The machine that a figure was measured on.

use std::fmt;
use std::fs;

use serde::Serialize;

/// What a reader of a figure must know about the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Model of the processor, as the kernel names it.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
}

impl Environment {
    /// This machine; what the kernel does not tell is `unknown`.
    pub fn here() -> Self {
        let unknown = || "unknown".to_owned();
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(": "));
        Self {
            cpu: model.map_or_else(unknown, |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel } = self;
        write!(f, "{cpu}, {cores} cores, kernel {kernel}")
    }
}
