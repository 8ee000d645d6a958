//! `[memory]`: the budgets in bytes, and that they fit what the process may use.

use forebay_core::OnFull;

use super::machine::Machine;
use super::raw::RawTable;
use super::section::{Section, Written};
use super::units::DisplaySize;
use crate::diagnostics::{Code, Diagnostic, Origin, Report};

/// The names of the policies for a full budget.
pub(super) const ON_FULL: [&str; 4] = ["block", "reject", "drop_newest", "drop_oldest"];

/// Bytes that the process needs besides its budgets: code, threads, runtimes, metrics.
pub const BASE_BYTES: u64 = 48 << 20;
const MIB: u64 = 1 << 20;

/// `[memory]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// `limit`: what the process may use, 64 MiB or more. Default: 75 % of the container's limit or of the machine.
    pub limit: u64,
    /// `ingest`: records from admission until they are settled, 1 MiB or more. Default 64 MiB.
    pub ingest: u64,
    /// `per_stream_share` of `ingest` and `lanes` for one stream, 0.01 to 1. Default 0.25.
    pub per_stream_share: f64,
    /// `lanes`: lanes, side queues, retries and request bodies, 1 MiB or more. Default 64 MiB.
    pub lanes: u64,
    /// `refill`: what is read back from the spool and waits for its lane, 1 MiB or more. Default 32 MiB.
    pub refill: u64,
    /// `per_connection`: an idle connection, 4 KiB to 1 MiB. Default 16 KiB.
    pub per_connection: u64,
    /// `partial_packets`: pool for packets larger than a read buffer, 1 MiB or more. Default 64 MiB.
    pub partial_packets: u64,
    /// `on_full`: what happens to a message that finds no room. Default `block`.
    pub on_full: OnFull,
}

/// The section with the places that later checks point to.
pub(super) struct ReadMemory {
    pub memory: Memory,
    pub limit_origin: Option<Origin>,
    pub on_full_origin: Option<Origin>,
}

impl Memory {
    pub(super) fn read(table: RawTable, machine: &Machine, report: &mut Report) -> ReadMemory {
        let mut section = Section::new("memory", table, report);
        let limit = section.size("limit", 64 * MIB..=u64::MAX);
        let on_full: Option<Written<OnFull>> = section.choice("on_full", &ON_FULL);
        let mut budget = |key, default: u64| {
            section
                .size(key, MIB..=u64::MAX)
                .map_or(default, |written| written.value)
        };
        let (ingest, lanes) = (budget("ingest", 64 * MIB), budget("lanes", 64 * MIB));
        let (refill, partial_packets) = (
            budget("refill", 32 * MIB),
            budget("partial_packets", 64 * MIB),
        );
        let memory = Self {
            limit: limit
                .as_ref()
                .map_or(machine.memory / 4 * 3, |written| written.value),
            ingest,
            per_stream_share: section
                .number("per_stream_share", 0.01..=1.0)
                .map_or(0.25, |written| written.value),
            lanes,
            refill,
            per_connection: section
                .size("per_connection", 4 << 10..=MIB)
                .map_or(16 << 10, |written| written.value),
            partial_packets,
            on_full: on_full
                .as_ref()
                .map_or(OnFull::Block, |written| written.value),
        };
        section.finish();
        ReadMemory {
            memory,
            limit_origin: limit.map(|written| written.origin),
            on_full_origin: on_full.map(|written| written.origin),
        }
    }

    /// Bytes of the budgets that do not depend on the number of connections.
    pub fn fixed_bytes(&self) -> u64 {
        BASE_BYTES
            .saturating_add(self.ingest)
            .saturating_add(self.lanes)
            .saturating_add(self.refill)
            .saturating_add(self.partial_packets)
    }

    /// Connections for which `limit` has room beside the other budgets.
    pub fn connections_that_fit(&self) -> u64 {
        self.limit.saturating_sub(self.fixed_bytes()) / self.per_connection
    }
}

impl ReadMemory {
    /// Reports budgets that together exceed the limit. `connections` is the configured number, if there is one.
    pub(super) fn check_fit(&self, connections: Option<u64>, report: &mut Report) {
        let memory = &self.memory;
        let wanted = connections.unwrap_or(1);
        let needed = memory
            .fixed_bytes()
            .saturating_add(wanted.saturating_mul(memory.per_connection));
        if needed <= memory.limit {
            return;
        }
        let size = DisplaySize;
        let mut diagnostic = Diagnostic::error(
            Code::Budget,
            format!(
                "the memory budgets do not fit: {} MiB needed, `memory.limit` is {} MiB",
                needed.div_ceil(MIB),
                memory.limit / MIB
            ),
        )
        .help(format!(
            "needed: {} for the program, `ingest` {}, `lanes` {}, `refill` {}, `partial_packets` {}, and {wanted} connections of {} (`per_connection`)",
            size(BASE_BYTES),
            size(memory.ingest),
            size(memory.lanes),
            size(memory.refill),
            size(memory.partial_packets),
            size(memory.per_connection),
        ));
        diagnostic = match &self.limit_origin {
            Some(origin) => diagnostic.at(origin),
            None => diagnostic
                .help("`memory.limit` is not set: 75 % of the container's limit or of the machine"),
        };
        report.push(diagnostic);
    }
}
