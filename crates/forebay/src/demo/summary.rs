//! The end of a demo, in figures.

use std::fmt;
use std::time::Duration;

use forebay_bench::devices::DevicesSnapshot;
use forebay_bench::verify::StreamReport;
use serde_json::{Value, json};

use super::DemoOptions;

/// What was published, what was acknowledged, and what of it is in the stream.
#[derive(Debug, Clone)]
pub struct Summary {
    /// How long the devices published.
    pub elapsed: Duration,
    /// What was asked for.
    pub options: DemoOptions,
    /// The devices' side.
    pub devices: DevicesSnapshot,
    /// Messages that were not answered in the end.
    pub unanswered: u64,
    /// The stream's side.
    pub stream: StreamReport,
    /// Records outside the spool that the server still held when it stopped.
    pub unsent: u64,
    /// Records that were still in its spool.
    pub in_spool: u64,
}

impl Summary {
    /// Nothing lost and nothing reordered.
    pub fn is_clean(&self) -> bool {
        self.stream.is_clean()
    }

    /// As JSON.
    pub fn as_json(&self) -> Value {
        json!({
            "seconds": self.elapsed.as_secs_f64(),
            "clean": self.is_clean(),
            "published": self.devices.published,
            "acknowledged": self.devices.acknowledged,
            "unanswered": self.unanswered,
            "stored": self.stream.stored,
            "lost": self.stream.lost,
            "duplicated": self.stream.duplicated,
            "reordered": self.stream.reordered,
            "inject_loss": self.options.inject_loss,
            "unsent": self.unsent,
            "in_spool": self.in_spool,
            "devices": self.devices,
            "stream": self.stream,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (devices, stream) = (&self.devices, &self.stream);
        writeln!(
            f,
            "{:.1} s, {} devices, {} shards, {} messages/s per device",
            self.elapsed.as_secs_f64(),
            self.options.devices,
            self.options.shards,
            self.options.rate
        )?;
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<14} {value}");
        row("published", &devices.published)?;
        row("acknowledged", &devices.acknowledged)?;
        if self.unanswered > 0 {
            row("unanswered", &self.unanswered)?;
        }
        if devices.refused > 0 {
            row("refused", &devices.refused)?;
        }
        row("stored", &stream.stored)?;
        row("lost", &stream.lost)?;
        row("duplicated", &stream.duplicated)?;
        row("reordered", &stream.reordered)?;
        for (index, shard) in stream.shards.iter().enumerate() {
            let name = if index == 0 { "per shard" } else { "" };
            row(name, &format!("{} {}", shard.shard, shard.records))?;
        }
        if let Some(misplaced) = stream.misplaced.filter(|count| *count > 0) {
            row("wrong shard", &misplaced)?;
        }
        if let Some(latency) = &devices.latency {
            row("to PUBACK", latency)?;
        }
        if let Some(latency) = &stream.publish_to_stored {
            row("to stored", latency)?;
        }
        for missing in &stream.lost_examples {
            row(
                "lost",
                &format!("{} number {}", missing.device, missing.seq),
            )?;
        }
        if self.options.inject_loss > 0 {
            row("injected loss", &self.options.inject_loss)?;
        }
        if self.unsent > 0 {
            row("unsent", &self.unsent)?;
        }
        writeln!(
            f,
            "kept: {} acknowledged, {} in Kinesis, {} in the spool",
            devices.acknowledged, stream.stored, self.in_spool
        )?;
        write!(
            f,
            "{}",
            if self.is_clean() {
                "everything that was acknowledged is in the stream, in order"
            } else {
                "FAILED: something that was acknowledged is lost or out of order"
            }
        )
    }
}
