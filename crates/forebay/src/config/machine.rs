//! What the machine gives: the defaults that depend on where the program runs.

use std::path::{Path, PathBuf};

/// Memory assumed where the system does not say how much there is.
const MEMORY_UNKNOWN: u64 = 2 << 30;
/// Descriptors assumed where there is no limit at all.
const DESCRIPTORS_UNLIMITED: u64 = 1 << 20;

/// The machine, or the part of it that a container is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Cores that the process may use.
    pub cores: u32,
    /// Bytes of memory that the process may use.
    pub memory: u64,
    /// File descriptors that the process may have open.
    pub descriptors: u64,
    /// Host name.
    pub host_name: String,
    /// True when standard error is a terminal.
    pub terminal: bool,
}

impl Machine {
    /// Asks the operating system.
    pub fn detect() -> Self {
        Self {
            cores: std::thread::available_parallelism()
                .ok()
                .and_then(|cores| u32::try_from(cores.get()).ok())
                .unwrap_or(1),
            memory: container_memory()
                .into_iter()
                .chain(machine_memory())
                .min()
                .unwrap_or(MEMORY_UNKNOWN),
            descriptors: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .maximum
                .unwrap_or(DESCRIPTORS_UNLIMITED),
            host_name: host_name(),
            terminal: std::io::IsTerminal::is_terminal(&std::io::stderr()),
        }
    }
}

/// Raises the soft limit of open descriptors to the hard one and returns what is in force.
///
/// # Errors
/// When the system refuses; the limit is then unchanged.
pub fn raise_descriptor_limit() -> std::io::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        )?;
    }
    Ok(limit.maximum.unwrap_or(DESCRIPTORS_UNLIMITED))
}

/// The host name, with characters that `server.name` does not allow replaced.
fn host_name() -> String {
    let uname = rustix::system::uname();
    let name: String = uname
        .nodename()
        .to_string_lossy()
        .chars()
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '.' | '-' => c,
            _ => '-',
        })
        .take(64)
        .collect();
    if name.is_empty() {
        "forebay".to_owned()
    } else {
        name
    }
}

#[cfg(target_os = "linux")]
fn machine_memory() -> Option<u64> {
    let info = rustix::system::sysinfo();
    #[expect(
        clippy::useless_conversion,
        reason = "the field's width differs between platforms"
    )]
    let total = u64::try_from(info.totalram).ok()?;
    total.checked_mul(u64::from(info.mem_unit))
}

#[cfg(not(target_os = "linux"))]
fn machine_memory() -> Option<u64> {
    None
}

/// The smallest memory limit of the control groups this process is in, version 2 and 1.
fn container_memory() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let root = Path::new("/sys/fs/cgroup");
    groups
        .lines()
        .filter_map(|line| limit_files(root, line))
        .flatten()
        .filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
        .min()
}

/// The limit files of one line of `/proc/self/cgroup` and of all groups above it: a parent's limit counts as well.
/// Version 2 lines begin with `0::`; `max` in the file is no number and therefore no limit.
fn limit_files(root: &Path, line: &str) -> Option<Vec<PathBuf>> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (root, file) = if controllers.is_empty() {
        (root.to_owned(), "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        (root.join("memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    let own = root.join(path.trim_start_matches('/'));
    Some(
        own.ancestors()
            .take_while(|group| group.starts_with(&root))
            .map(|group| group.join(file))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_groups_above_are_read() {
        let root = Path::new("/sys/fs/cgroup");
        let of = |line| limit_files(root, line);
        assert_eq!(
            of("0::/a/b").unwrap(),
            [
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            of("5:memory:/x").unwrap()[0],
            Path::new("/sys/fs/cgroup/memory/x/memory.limit_in_bytes")
        );
        assert_eq!(of("4:cpu,cpuacct:/x"), None);
        assert_eq!(of("rubbish"), None);
    }

    #[test]
    fn the_machine_has_something() {
        let machine = Machine::detect();
        assert!(machine.cores >= 1 && machine.memory > 0 && machine.descriptors > 0);
        assert!(!machine.host_name.is_empty());
    }
}
