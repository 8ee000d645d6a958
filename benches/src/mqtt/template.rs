//! A ready-made PUBLISH of which only digits change.

use forebay_core::QoS;

use super::{Version, push_publish};
use crate::run_id::RunId;
use crate::telemetry::{PAYLOAD_BYTES_MAX, Telemetry, pad};

/// Digits of a sequence number in a template, blanks included: enough for every number that a check remembers.
const SEQ_DIGITS: usize = 10;
/// Digits of wall-clock milliseconds until the year 2286.
const MILLIS_DIGITS: usize = 13;
const READING_DIGITS: usize = 2;
const TOPIC_BYTES_MAX: usize = 1024;

/// Why no message can be made as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The payload has no room for its own members, or is more than a record takes.
    #[error("size is {size}; it must be {min} to {PAYLOAD_BYTES_MAX} bytes")]
    Size {
        /// The size that was asked for.
        size: usize,
        /// The smallest that holds run, device, sequence number and readings.
        min: usize,
    },
    /// The topic does not say where the key goes.
    #[error(
        "topic is {topic:?}; it must have {{key}} in it once and at most {TOPIC_BYTES_MAX} bytes"
    )]
    Topic {
        /// The topic that was asked for.
        topic: String,
    },
}

/// The packet of all messages of one thread: key, packet identifier, sequence number, time and one reading have fixed
/// places and widths.
#[derive(Debug, Clone)]
pub(crate) struct PublishTemplate {
    packet: Vec<u8>,
    key_digits: usize,
    topic_key_at: usize,
    id_at: Option<usize>,
    device_key_at: usize,
    seq_at: usize,
    millis_at: usize,
    reading_at: usize,
}

impl PublishTemplate {
    /// A template for keys of `key_digits` digits, named `d-` and the digits.
    pub(crate) fn new(
        run: RunId,
        version: Version,
        qos: QoS,
        topic: &str,
        key_digits: usize,
        size: usize,
    ) -> Result<Self, TemplateError> {
        let bad_topic = || TemplateError::Topic {
            topic: topic.to_owned(),
        };
        let (before, after) = topic.split_once("{key}").ok_or_else(bad_topic)?;
        if topic.len() + key_digits > TOPIC_BYTES_MAX || after.contains("{key}") {
            return Err(bad_topic());
        }
        let device = format!("d-{:0key_digits$}", 0);
        let mut payload = Vec::new();
        let telemetry = Telemetry {
            run,
            device: &device,
            seq: 0,
            millis: 10_i64.pow(MILLIS_DIGITS as u32 - 1),
            temperature: 215,
            humidity: 480,
        };
        telemetry.write(&mut payload, SEQ_DIGITS);
        let min = payload.len();
        if size < min || size > PAYLOAD_BYTES_MAX {
            return Err(TemplateError::Size { size, min });
        }
        pad(&mut payload, 0, size);
        let value_at = |key: &str| {
            let text = std::str::from_utf8(&payload).expect("the payload is text");
            text.find(key).expect("the payload has this member") + key.len()
        };
        let (device_at, seq_at) = (value_at(r#""device":"d-"#), value_at(r#""seq":"#));
        let (millis_at, reading_at) = (value_at(r#""t":"#), value_at(r#""temperature":"#));
        let mut packet = Vec::new();
        let topic = format!("{before}{device}{after}");
        let (id_at, payload_at) = push_publish(&mut packet, version, qos, &topic, 0, &payload);
        Ok(Self {
            topic_key_at: id_at - topic.len() + before.len() + 2,
            id_at: (qos != QoS::AtMostOnce).then_some(id_at),
            device_key_at: payload_at + device_at,
            seq_at: payload_at + seq_at,
            millis_at: payload_at + millis_at,
            reading_at: payload_at + reading_at,
            packet,
            key_digits,
        })
    }

    /// Sets the time that the packets written from now on carry.
    pub(crate) fn set_millis(&mut self, millis: i64) {
        let field = &mut self.packet[self.millis_at..][..MILLIS_DIGITS];
        put_digits(field, millis.unsigned_abs(), b'0');
    }

    /// Appends the packet of message `seq` of `key`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, key: u32, packet_id: u16, seq: u64) {
        let start = out.len();
        out.extend_from_slice(&self.packet);
        let packet = &mut out[start..];
        let digits = self.key_digits;
        put_digits(
            &mut packet[self.topic_key_at..][..digits],
            u64::from(key),
            b'0',
        );
        put_digits(
            &mut packet[self.device_key_at..][..digits],
            u64::from(key),
            b'0',
        );
        if let Some(at) = self.id_at {
            packet[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        put_digits(&mut packet[self.seq_at..][..SEQ_DIGITS], seq, b' ');
        let reading = 10 + (seq.wrapping_mul(7) + u64::from(key)) % 30;
        put_digits(
            &mut packet[self.reading_at..][..READING_DIGITS],
            reading,
            b'0',
        );
    }

    /// Bytes of a packet.
    pub(crate) fn packet_bytes(&self) -> usize {
        self.packet.len()
    }

    /// The device name of `key`, as topic and payload have it.
    pub(crate) fn device(&self, key: u32) -> String {
        let digits = self.key_digits;
        format!("d-{key:0digits$}")
    }
}

/// Writes `value` right-aligned; what does not fit is cut on the left, which the callers' ranges exclude.
fn put_digits(field: &mut [u8], mut value: u64, blank: u8) {
    for (index, place) in field.iter_mut().rev().enumerate() {
        *place = if value == 0 && index > 0 {
            blank
        } else {
            b'0' + (value % 10) as u8
        };
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::SeededEntropy;

    use super::*;
    use crate::telemetry::Stamp;

    fn template(version: Version, qos: QoS, size: usize) -> Result<PublishTemplate, TemplateError> {
        let run = RunId::new(&mut SeededEntropy::new(1));
        PublishTemplate::new(run, version, qos, "dt/{key}/telemetry", 4, size)
    }

    #[test]
    fn patched_packets_carry_their_own_key_number_and_time() {
        let mut template = template(Version::V5, QoS::AtLeastOnce, 256).unwrap();
        template.set_millis(1_764_000_000_123);
        let mut out = Vec::new();
        for (key, seq) in [(17, 1), (9999, 9_999_999_999), (0, 120)] {
            out.clear();
            template.write(&mut out, key, 0x0203, seq);
            let device = template.device(key);
            let mut expected = Vec::new();
            let topic = format!("dt/{device}/telemetry");
            let payload = &out[out.len() - 256..];
            push_publish(
                &mut expected,
                Version::V5,
                QoS::AtLeastOnce,
                &topic,
                0x0203,
                payload,
            );
            assert_eq!(out, expected);
            serde_json::from_slice::<serde_json::Value>(payload).unwrap();
            let stamp = Stamp::read(payload).unwrap();
            assert_eq!((&*stamp.device, stamp.seq), (device.as_str(), seq));
            assert_eq!(stamp.t, Some(1_764_000_000_123));
        }
    }

    #[test]
    fn sizes_and_topics_out_of_range_are_refused_with_the_range() {
        for version in [Version::V311, Version::V5] {
            let error = template(version, QoS::AtMostOnce, 10).unwrap_err();
            let TemplateError::Size { size: 10, min } = error else {
                panic!("{error}");
            };
            assert!(template(version, QoS::AtMostOnce, min).is_ok());
            assert!(template(version, QoS::AtMostOnce, min - 1).is_err());
            assert!(template(version, QoS::AtMostOnce, PAYLOAD_BYTES_MAX + 1).is_err());
        }
        let run = RunId::new(&mut SeededEntropy::new(1));
        for topic in ["dt/telemetry", "{key}/{key}"] {
            assert!(
                PublishTemplate::new(run, Version::V5, QoS::AtLeastOnce, topic, 1, 256).is_err()
            );
        }
    }
}
