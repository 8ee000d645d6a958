//! The standard `process_*` metrics, read from the kernel at scrape.

use std::fmt::Write;
use std::fs;

/// Kernel ticks per second in `/proc`: fixed at 100 for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// Page size of the platforms that this runs on.
const PAGE_BYTES: u64 = 4096;

/// Appends what the kernel tells; a value that cannot be read is left out.
pub(crate) fn render(out: &mut String) {
    if let Some((cpu_seconds, threads)) = stat() {
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
}

fn line(out: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    writeln!(
        out,
        "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
    )
    .expect("writing to a string cannot fail");
}

fn stat() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses and may contain blanks: fields are counted behind it.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(((number(11)? + number(12)?) / TICKS_PER_SECOND, number(17)?))
}

fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text
        .split_whitespace()
        .map_while(|field| field.parse::<u64>().ok());
    Some((pages.next()? * PAGE_BYTES, pages.next()? * PAGE_BYTES))
}
