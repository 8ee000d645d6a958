//! The standard `process_*` metrics, read from the kernel at scrape.

use std::fmt::Write;
use std::fs;

/// Kernel ticks per second in `/proc`: fixed at 100 for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// Page size of the platforms that this runs on.
const PAGE_BYTES: u64 = 4096;

/// Appends what the kernel tells; a value that cannot be read is left out.
pub(crate) fn render(out: &mut String) {
    if let Some((cpu_seconds, threads, started)) = stat() {
        line(
            out,
            "process_cpu_seconds_total",
            "counter",
            "CPU time of the process.",
            cpu_seconds,
        );
        line(
            out,
            "process_threads",
            "gauge",
            "Threads of the process.",
            threads,
        );
        if let Some(booted) = boot_time() {
            let help = "Start of the process, in seconds since 1970.";
            line(
                out,
                "process_start_time_seconds",
                "gauge",
                help,
                booted + started,
            );
        }
    }
    if let Some((virtual_bytes, resident_bytes)) = memory() {
        let help = "Virtual memory of the process.";
        line(
            out,
            "process_virtual_memory_bytes",
            "gauge",
            help,
            virtual_bytes as f64,
        );
        let help = "Resident memory of the process.";
        line(
            out,
            "process_resident_memory_bytes",
            "gauge",
            help,
            resident_bytes as f64,
        );
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        let help = "Open file descriptors of the process.";
        line(
            out,
            "process_open_fds",
            "gauge",
            help,
            entries.count() as f64,
        );
    }
    if let Some(descriptors) = descriptors_max() {
        let help = "Most file descriptors that the process may open.";
        line(out, "process_max_fds", "gauge", help, descriptors);
    }
}

fn line(out: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    writeln!(
        out,
        "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
    )
    .expect("writing to a string cannot fail");
}

/// CPU time in seconds, threads, and the start in seconds after the system's own.
fn stat() -> Option<(f64, f64, f64)> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses and may contain blanks: fields are counted behind it.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let seconds = (number(11)? + number(12)?) / TICKS_PER_SECOND;
    Some((seconds, number(17)?, number(19)? / TICKS_PER_SECOND))
}

/// When the system started, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// The soft limit of open files; `None` too when there is none.
fn descriptors_max() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text
        .split_whitespace()
        .map_while(|field| field.parse::<u64>().ok());
    Some((pages.next()? * PAGE_BYTES, pages.next()? * PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_set_is_there_with_sensible_values() {
        let mut out = String::new();
        render(&mut out);
        let value = |name: &str| -> f64 {
            let line = out.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in:\n{out}"))
                .trim()
                .parse()
                .unwrap()
        };
        assert!(value("process_cpu_seconds_total ") >= 0.0);
        assert!(value("process_threads ") >= 1.0);
        let resident = value("process_resident_memory_bytes ");
        assert!(value("process_virtual_memory_bytes ") >= resident);
        let open = value("process_open_fds ");
        assert!(open >= 3.0 && open <= value("process_max_fds "));
        let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
            - value("process_start_time_seconds ");
        // The system's start is told in whole seconds.
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
