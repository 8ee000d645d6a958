//! The figures of a spool in words.

use forebay_admin::{CheckStatus, SpoolStatus, VerifyReport, WriterStatus};

use crate::config::units::DisplaySize;

/// Units of sizes, largest first.
const UNITS: [(&str, f64); 4] = [
    ("TiB", (1_u64 << 40) as f64),
    ("GiB", (1 << 30) as f64),
    ("MiB", (1 << 20) as f64),
    ("KiB", 1024.0),
];

/// A size with one digit behind the point.
pub(super) fn size(bytes: u64) -> String {
    let bytes_f = bytes as f64;
    match UNITS.iter().find(|(_, unit)| bytes_f >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes_f / unit),
        None => format!("{bytes} bytes"),
    }
}

fn age(seconds: Option<f64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!(", oldest {seconds:.1} s"))
}

/// One line per subject.
pub(super) fn stat(spool: &SpoolStatus, through: Option<&str>) -> Vec<String> {
    let segments = &spool.segments;
    let mut lines = Vec::new();
    let mut row = |name: &str, text: String| lines.push(format!("{name:<11}{text}"));
    row(
        "spool",
        match through {
            Some(process) => format!("{}, in use by the process at {process}", spool.dir),
            None => format!("{}, not in use", spool.dir),
        },
    );
    row(
        "size",
        format!(
            "{} of {} in use: {} segments with records, {} ready, {} not made yet{}",
            size(spool.used_bytes),
            DisplaySize(spool.limit_bytes),
            segments.live,
            segments.ready,
            segments.unallocated,
            match segments.bad {
                0 => String::new(),
                bad => format!(", {bad} that cannot be written"),
            }
        ),
    );
    if let Some(free) = spool.disk_free_bytes {
        row("disk", format!("{} free", size(free)));
    }
    let bytes = spool
        .backlog_bytes
        .map_or_else(String::new, |bytes| format!(", {}", size(bytes)));
    let oldest = age(spool.oldest_age_seconds);
    row(
        "backlog",
        format!("{} records{bytes}{oldest}", spool.backlog_records),
    );
    for stream in &spool.streams {
        row(
            "",
            format!(
                "{}: {} records, {}{}",
                stream.stream,
                stream.records,
                size(stream.bytes),
                age(stream.oldest_age_seconds)
            ),
        );
    }
    row(
        "sequence",
        format!("owed from {}, next {}", spool.watermark, spool.next_seq),
    );
    row("qos 2", format!("{} open packet ids", spool.open_ids));
    let totals = &spool.totals;
    row(
        "ever",
        format!(
            "{} records kept, {} of them no longer owed, {} lost to damage",
            totals.appended, totals.settled, totals.lost
        ),
    );
    if let Some(writer) = &spool.writer {
        lines.extend(writing(writer));
    }
    lines
}

fn writing(writer: &WriterStatus) -> Vec<String> {
    let mut lines = Vec::new();
    let mut row = |name: &str, text: String| lines.push(format!("{name:<11}{text}"));
    row(
        "state",
        format!(
            "{}, overload stage {}, {} lagging lanes, {} records in memory, {} waiting",
            writer.condition,
            writer.overload_stage,
            writer.lagging_lanes,
            writer.in_memory_records,
            writer.waiting_records
        ),
    );
    for error in writer.last_error.iter().chain(&writer.last_read_error) {
        row("error", error.clone());
    }
    let millis = |seconds: Option<f64>| {
        seconds.map_or_else(
            || "unknown".to_owned(),
            |it| format!("{:.3} ms", it * 1000.0),
        )
    };
    row(
        "flush",
        format!(
            "last {}; median measured at the start {}",
            millis(writer.flush.last_seconds),
            millis(writer.flush.p50_seconds)
        ),
    );
    row("checked", checked(&writer.check));
    let recovery = &writer.recovery;
    row(
        "recovered",
        format!(
            "{} records from {} segments ({} read) in {:.3} s: {} torn, {} damaged, {} records lost",
            recovery.records,
            recovery.segments,
            recovery.scanned,
            recovery.seconds,
            recovery.torn,
            recovery.damaged,
            recovery.lost
        ),
    );
    lines
}

fn places(damaged: u64) -> String {
    match damaged {
        1 => "1 damaged place".to_owned(),
        count => format!("{count} damaged places"),
    }
}

/// The readings that look for damage.
fn checked(check: &CheckStatus) -> String {
    let last = check.last.as_ref().map(|last| {
        let unreadable = match last.unreadable {
            0 => String::new(),
            count => format!(", {count} segments that could not be read"),
        };
        format!(
            "{:.0} s ago: {} segments, {}, {}{unreadable}",
            last.ended_seconds_ago,
            last.segments,
            size(last.bytes),
            places(last.damaged)
        )
    });
    let under_way = check.under_way.as_ref().map(|now| {
        format!(
            "under way for {:.0} s: {} of {} segments, {}, {}",
            now.seconds,
            now.segments_read,
            now.segments,
            size(now.bytes),
            places(now.damaged)
        )
    });
    let parts: Vec<String> = last.into_iter().chain(under_way).collect();
    match parts.is_empty() {
        true => "not yet".to_owned(),
        false => parts.join("; "),
    }
}

/// What reading everything found.
pub(super) fn verify(report: &VerifyReport) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} segments, {} frames, {} records, {} read in {:.1} s",
        report.dir,
        report.segments,
        report.frames,
        report.records,
        size(report.bytes),
        report.seconds
    )];
    for damage in &report.damage {
        lines.push(format!(
            "damaged: segment {:08} at {}, {} bytes, sequence numbers {} to {}",
            damage.segment,
            damage.offset,
            damage.length,
            damage.first_seq,
            damage.end_seq.saturating_sub(1)
        ));
    }
    let shown = report.damage.len() as u64;
    if report.damaged > shown {
        lines.push(format!("and {} more", report.damaged - shown));
    }
    if report.unreadable > 0 {
        lines.push(format!(
            "{} segments could not be read to their end: {}",
            report.unreadable,
            report.error.as_deref().unwrap_or("no reason was given")
        ));
    }
    match (report.damaged, report.unreadable) {
        (0, 0) => lines.push("every frame is whole".to_owned()),
        (0, _) => {}
        (1, _) => lines.push("1 place is damaged".to_owned()),
        (count, _) => lines.push(format!("{count} places are damaged")),
    }
    if report.lost_records > 0 {
        lines.push(format!(
            "{} records that were owed are lost",
            report.lost_records
        ));
    }
    if report.undecided_records > 0 {
        lines.push(format!(
            "{} records that lie there are still owed, and delivered as far as the process has them in memory",
            report.undecided_records
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use forebay_admin::{BacklogStatus, CheckProgress, DamageStatus, EndedCheck};

    use super::*;

    #[test]
    fn sizes_have_the_largest_unit_that_fits() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (64 << 20, "64.0 MiB"),
            (16 << 30, "16.0 GiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_backlog_is_shown_by_stream() {
        let spool = SpoolStatus {
            dir: "data/spool".to_owned(),
            limit_bytes: 1 << 30,
            backlog_records: 3,
            backlog_bytes: Some(2048),
            oldest_age_seconds: Some(1.25),
            streams: vec![BacklogStatus {
                stream: "telemetry".to_owned(),
                records: 3,
                bytes: 2048,
                oldest_age_seconds: None,
            }],
            ..SpoolStatus::default()
        };
        let text = stat(&spool, None).join("\n");
        for part in [
            "spool      data/spool, not in use",
            "of 1GiB in use",
            "backlog    3 records, 2.0 KiB, oldest 1.2 s",
            "telemetry: 3 records, 2.0 KiB",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("state "));
    }

    #[test]
    fn damage_is_counted_beyond_what_is_listed() {
        let mut report = VerifyReport {
            damage: vec![DamageStatus {
                segment: 3,
                offset: 4096,
                length: 512,
                first_seq: 7,
                end_seq: 9,
            }],
            damaged: 2,
            ..VerifyReport::default()
        };
        let lines = verify(&report);
        assert_eq!(
            lines[1],
            "damaged: segment 00000003 at 4096, 512 bytes, sequence numbers 7 to 8"
        );
        assert_eq!(lines[2..], ["and 1 more", "2 places are damaged"]);
        report.lost_records = 2;
        report.undecided_records = 5;
        let lines = verify(&report);
        assert_eq!(lines[4], "2 records that were owed are lost");
        assert!(lines[5].starts_with("5 records that lie there are still owed"));
        assert_eq!(verify(&VerifyReport::default())[1], "every frame is whole");
    }

    #[test]
    fn what_could_not_be_read_is_not_called_whole() {
        let report = VerifyReport {
            unreadable: 1,
            error: Some("read 00000003.seg: broken".to_owned()),
            ..VerifyReport::default()
        };
        assert_eq!(
            verify(&report)[1..],
            ["1 segments could not be read to their end: read 00000003.seg: broken"]
        );
    }

    #[test]
    fn checks_are_shown_as_far_as_they_are() {
        let mut check = CheckStatus::default();
        assert_eq!(checked(&check), "not yet");
        check.under_way = Some(CheckProgress {
            seconds: 2.4,
            segments_read: 3,
            segments: 12,
            bytes: 3 << 20,
            ..CheckProgress::default()
        });
        let now = "under way for 2 s: 3 of 12 segments, 3.0 MiB, 0 damaged places";
        assert_eq!(checked(&check), now);
        check.last = Some(EndedCheck {
            ended_seconds_ago: 1800.0,
            segments: 12,
            bytes: 12 << 20,
            damaged: 1,
            ..EndedCheck::default()
        });
        let last = "1800 s ago: 12 segments, 12.0 MiB, 1 damaged place";
        assert_eq!(checked(&check), format!("{last}; {now}"));
    }
}
