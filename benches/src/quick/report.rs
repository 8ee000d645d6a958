//! The figures of a run.

use std::fmt;

use serde::Serialize;

use crate::environment::Environment;
use crate::latency::Percentiles;
use crate::usage::Usage;
use crate::verify::StreamReport;

/// What a run found. Serialises to the JSON that `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct QuickReport {
    /// The mark in every payload of this run.
    pub run: String,
    /// The broker.
    pub broker: String,
    /// MQTT version.
    pub version: String,
    /// Quality of service.
    pub qos: u8,
    /// Connections that were opened.
    pub connections: usize,
    /// Messages in flight per connection.
    pub window: u16,
    /// Keys.
    pub keys: usize,
    /// Bytes of a payload.
    pub size: usize,
    /// The machine.
    pub environment: Environment,
    /// Length of the measured window in seconds.
    pub measured_seconds: f64,
    /// Messages that came to their end in the measured window: PUBACK, PUBCOMP, or with QoS 0 the PINGRESP behind
    /// them.
    pub messages: u64,
    /// The same per second.
    pub messages_per_second: f64,
    /// From writing to PUBACK or PUBCOMP; with QoS 0 to the PINGRESP. Absent when nothing came to its end.
    pub latency: Option<Percentiles>,
    /// Messages published in the whole run, warm-up and drain included.
    pub published: u64,
    /// Those acknowledged as kept, in the whole run. Always 0 with QoS 0.
    pub acknowledged: u64,
    /// Those that a 5.0 broker refused with a reason code.
    pub refused: u64,
    /// Those that were not answered when the drain ended.
    pub unanswered: u64,
    /// Connections lost, and the first reasons.
    pub connections_lost: usize,
    /// Up to five reasons for lost connections.
    pub lost_reasons: Vec<String>,
    /// The broker's process, when its id was given.
    pub broker_process: Option<BrokerReport>,
    /// CPU time of the generator's threads per message, in microseconds; reading a stream back is not in it.
    pub generator_micros_per_message: Option<f64>,
    /// What was read back, when a stream was given.
    pub stream: Option<StreamReport>,
}

/// The broker's process in the measured window.
#[derive(Debug, Clone, Serialize)]
pub struct BrokerReport {
    /// Its id.
    pub pid: u32,
    /// CPU time per message in microseconds, user and system.
    pub micros_per_message: f64,
    /// What it used.
    #[serde(flatten)]
    pub usage: Usage,
}

impl QuickReport {
    /// Whether every acknowledged message was found, in order. True when no stream was read.
    pub fn is_clean(&self) -> bool {
        self.stream.as_ref().is_none_or(StreamReport::is_clean)
    }
}

impl fmt::Display for QuickReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, MQTT {}, QoS {}, {} connections, window {}, {} keys, {} bytes, {:.1} s",
            self.broker,
            self.version,
            self.qos,
            self.connections,
            self.window,
            self.keys,
            self.size,
            self.measured_seconds
        )?;
        writeln!(f, "  machine      {}", self.environment)?;
        writeln!(
            f,
            "  throughput   {:.0} messages/s ({} messages)",
            self.messages_per_second, self.messages
        )?;
        if let Some(latency) = &self.latency {
            writeln!(f, "  latency      {latency}")?;
        }
        if let Some(BrokerReport {
            pid,
            micros_per_message,
            usage,
        }) = &self.broker_process
        {
            writeln!(
                f,
                "  broker       {micros_per_message:.3} us CPU per message (user {:.0} %, system {:.0} %), {:.2} cores, {:.1} MiB resident, {} threads, pid {pid}",
                100.0 * usage.user_seconds / (usage.user_seconds + usage.system_seconds).max(1e-9),
                100.0 * usage.system_seconds
                    / (usage.user_seconds + usage.system_seconds).max(1e-9),
                usage.cpu_seconds / self.measured_seconds,
                usage.resident_bytes as f64 / f64::from(1 << 20),
                usage.threads,
            )?;
        }
        if let Some(micros) = self.generator_micros_per_message {
            writeln!(f, "  generator    {micros:.3} us CPU per message")?;
        }
        write!(
            f,
            "  whole run    {} published, {} acknowledged, {} refused, {} unanswered, {} connections lost",
            self.published, self.acknowledged, self.refused, self.unanswered, self.connections_lost
        )?;
        for reason in &self.lost_reasons {
            write!(f, "\n               lost: {reason}")?;
        }
        if let Some(stream) = &self.stream {
            write!(f, "\n{stream}")?;
        }
        Ok(())
    }
}
