//! The payload of generated messages, and how it is recognised again in a stream.

use std::borrow::Cow;
use std::io::Write;

use serde::Deserialize;

use crate::run_id::RunId;

/// Largest payload that is generated: what Kinesis takes in one record by default.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

const PAD_KEY: &str = r#","pad":""#;

/// One message's content. `seq` counts per device from 1; with `run` and `device` it identifies the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Telemetry<'a> {
    pub(crate) run: RunId,
    pub(crate) device: &'a str,
    pub(crate) seq: u64,
    /// Wall-clock milliseconds at the moment of publishing.
    pub(crate) millis: i64,
    /// Tenths of a degree.
    pub(crate) temperature: u16,
    /// Tenths of a percent.
    pub(crate) humidity: u16,
}

impl Telemetry<'_> {
    /// Appends the payload as JSON. `width` pads the sequence number with blanks on its left.
    pub(crate) fn write(&self, out: &mut Vec<u8>, width: usize) {
        let Self {
            run,
            device,
            seq,
            millis,
            temperature,
            humidity,
        } = self;
        let (t, t_tenth) = (temperature / 10, temperature % 10);
        let (h, h_tenth) = (humidity / 10, humidity % 10);
        write!(
            out,
            r#"{{"run":"{run}","device":"{device}","seq":{seq:width$},"t":{millis},"temperature":{t:02}.{t_tenth},"humidity":{h:02}.{h_tenth},"battery":3.71,"status":"ok""#,
        )
        .expect("writing to a vector cannot fail");
        out.push(b'}');
    }
}

/// Lengthens a payload that begins at `start` of `out` to `size` bytes with a member `pad`. A payload that has no
/// room for that member stays as it is.
pub(crate) fn pad(out: &mut Vec<u8>, start: usize, size: usize) {
    let fixed = PAD_KEY.len() + 1;
    let length = out.len() - start;
    if length + fixed > size {
        return;
    }
    out.pop();
    out.extend(PAD_KEY.as_bytes());
    out.resize(start + size - 2, b'x');
    out.extend(b"\"}");
}

/// What identifies a message: read from a record's data.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stamp<'a> {
    /// The run it belongs to.
    #[serde(borrow)]
    pub run: Cow<'a, str>,
    /// The device that published it.
    #[serde(borrow)]
    pub device: Cow<'a, str>,
    /// Its number among the device's messages.
    pub seq: u64,
    /// Wall-clock milliseconds at the moment of publishing, if it says so.
    pub t: Option<i64>,
}

impl<'a> Stamp<'a> {
    /// Reads the stamp of a payload, whatever a rule added or moved; `None` when there is none.
    pub fn read(data: &'a [u8]) -> Option<Self> {
        Self::read_verbatim(data).or_else(|| serde_json::from_slice(data).ok())
    }

    /// The payload as it was generated: a reader that parses JSON would cost as much as what it checks.
    fn read_verbatim(data: &'a [u8]) -> Option<Self> {
        let (run, rest) = quoted(data.strip_prefix(br#"{"run":""#)?)?;
        let (device, rest) = quoted(rest.strip_prefix(br#","device":""#)?)?;
        let (seq, rest) = number(rest.strip_prefix(br#","seq":"#)?.trim_ascii_start())?;
        let (millis, _) = number(rest.strip_prefix(br#","t":"#)?)?;
        Some(Self {
            run: Cow::Borrowed(run),
            device: Cow::Borrowed(device),
            seq,
            t: i64::try_from(millis).ok(),
        })
    }
}

fn quoted(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'"')?;
    let text = &bytes[..end];
    if text.contains(&b'\\') {
        return None;
    }
    Some((std::str::from_utf8(text).ok()?, &bytes[end + 1..]))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    Some((text.parse().ok()?, &bytes[end..]))
}

#[cfg(test)]
mod tests {
    use forebay_core::SeededEntropy;

    use super::*;

    fn payload(size: usize) -> (RunId, Vec<u8>) {
        let run = RunId::new(&mut SeededEntropy::new(1));
        let mut out = b"before".to_vec();
        let telemetry = Telemetry {
            run,
            device: "d-0017",
            seq: 12,
            millis: 1_764_000_000_123,
            temperature: 215,
            humidity: 480,
        };
        telemetry.write(&mut out, 10);
        pad(&mut out, 6, size);
        (run, out.split_off(6))
    }

    #[test]
    fn payloads_are_json_of_the_size_asked_for() {
        for size in [200, 256, 1024] {
            let (run, bytes) = payload(size);
            assert_eq!(bytes.len(), size);
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(json["run"], run.as_str());
            assert_eq!(json["seq"], 12);
            assert_eq!(json["temperature"], 21.5);
        }
    }

    #[test]
    fn a_stamp_is_read_verbatim_and_after_a_rule_rewrote_the_payload() {
        let (run, bytes) = payload(256);
        let stamp = Stamp::read(&bytes).unwrap();
        assert_eq!((&*stamp.run, &*stamp.device), (run.as_str(), "d-0017"));
        assert_eq!((stamp.seq, stamp.t), (12, Some(1_764_000_000_123)));

        let rewritten =
            format!(r#"{{"added":1,"seq":12,"device":"d\u002d0017","run":"{run}","t":5}}"#);
        let stamp = Stamp::read(rewritten.as_bytes()).unwrap();
        assert_eq!(
            (&*stamp.device, stamp.seq, stamp.t),
            ("d-0017", 12, Some(5))
        );

        for foreign in [&b""[..], b"{}", b"not json", br#"{"run":"x","device":"y"}"#] {
            assert_eq!(Stamp::read(foreign), None);
        }
    }
}
