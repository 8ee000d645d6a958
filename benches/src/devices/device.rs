//! One device: what it measures, what it has in flight, and when it acts next.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_core::{Entropy, QoS, Time};

use crate::ledger::KeyLedger;
use crate::mqtt::{Connection, Version, push_publish};
use crate::run_id::RunId;
use crate::telemetry::{Telemetry, pad};

/// Messages that a device has in flight; it skips a measurement rather than having more.
const IN_FLIGHT_MAX: usize = 64;
/// Least reading, in tenths: payloads have two digits before the point, and a JSON number cannot begin with a zero.
const READING_MIN: u16 = 100;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A message that is not acknowledged.
#[derive(Debug)]
struct InFlight {
    id: u16,
    seq: u64,
    sent: Time,
    payload: Vec<u8>,
}

/// Where a device's connection is.
#[derive(Debug)]
pub(super) enum Link {
    /// None; the next attempt is at the device's next turn.
    Down,
    /// CONNECT is on its way.
    Connecting(Connection),
    /// The broker accepted it.
    Up(Connection),
}

impl Link {
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Down => None,
            Self::Connecting(connection) | Self::Up(connection) => Some(connection),
        }
    }
}

/// What a device publishes with.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) run: RunId,
    pub(super) version: Version,
    pub(super) topic: String,
    pub(super) size: usize,
    pub(super) interval: Duration,
}

/// A simulated device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) link: Link,
    pub(super) ledger: KeyLedger,
    /// When it measures next.
    pub(super) due: Time,
    /// The turn that it is scheduled for; an earlier entry of the schedule is stale.
    pub(super) wake: Time,
    pub(super) last_sent: Time,
    topic: String,
    in_flight: VecDeque<InFlight>,
    window: usize,
    temperature: u16,
    humidity: u16,
    backoff: Duration,
}

/// What one turn did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) messages: u64,
    pub(super) skipped: u64,
}

impl Device {
    pub(super) fn new(name: String, style: &Style, due: Time, entropy: &mut dyn Entropy) -> Self {
        Self {
            topic: style.topic.replace("{key}", &name),
            name,
            link: Link::Down,
            ledger: KeyLedger::default(),
            due,
            wake: Time::ZERO,
            last_sent: Time::ZERO,
            in_flight: VecDeque::new(),
            window: IN_FLIGHT_MAX,
            temperature: 150 + entropy.below(150) as u16,
            humidity: 300 + entropy.below(400) as u16,
            backoff: BACKOFF_MIN,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.len() as u64
    }

    /// The connection is accepted: what was in flight before is published again, in its order.
    pub(super) fn opened(&mut self, style: &Style, receive_maximum: u16, now: Time) -> u64 {
        self.backoff = BACKOFF_MIN;
        self.window = usize::from(receive_maximum.max(1)).min(IN_FLIGHT_MAX);
        let Link::Connecting(connection) = std::mem::replace(&mut self.link, Link::Down) else {
            return 0;
        };
        self.link = Link::Up(connection);
        self.last_sent = now;
        let Some(connection) = self.link.connection() else {
            return 0;
        };
        for message in &self.in_flight {
            let InFlight { id, payload, .. } = message;
            let out = connection.out();
            push_publish(
                out,
                style.version,
                QoS::AtLeastOnce,
                &self.topic,
                *id,
                payload,
            );
        }
        self.in_flight.len() as u64
    }

    /// Publishes every measurement that is due by `now`.
    pub(super) fn publish_due(
        &mut self,
        style: &Style,
        now: Time,
        millis: i64,
        entropy: &mut dyn Entropy,
    ) -> Published {
        let mut published = Published::default();
        while self.due <= now {
            self.due += style.interval;
            let Link::Up(connection) = &mut self.link else {
                continue;
            };
            if self.in_flight.len() >= self.window {
                published.skipped += 1;
                continue;
            }
            self.ledger.published += 1;
            let seq = self.ledger.published;
            self.temperature = drift(self.temperature, READING_MIN, 450, entropy);
            self.humidity = drift(self.humidity, READING_MIN, 990, entropy);
            let telemetry = Telemetry {
                run: style.run,
                device: &self.name,
                seq,
                millis,
                temperature: self.temperature,
                humidity: self.humidity,
            };
            let mut payload = Vec::with_capacity(style.size);
            telemetry.write(&mut payload, 0);
            pad(&mut payload, 0, style.size);
            // At most 64 are in flight, so that 65 535 identifiers in turn are never in use twice.
            let id = ((seq - 1) % u64::from(u16::MAX)) as u16 + 1;
            let out = connection.out();
            push_publish(
                out,
                style.version,
                QoS::AtLeastOnce,
                &self.topic,
                id,
                &payload,
            );
            self.last_sent = now;
            self.in_flight.push_back(InFlight {
                id,
                seq,
                sent: now,
                payload,
            });
            published.messages += 1;
        }
        published
    }

    /// Takes a PUBACK. Returns how long the message was on its way; `None` for one that is not in flight.
    pub(super) fn answered(&mut self, id: u16, refused: bool, now: Time) -> Option<Duration> {
        let index = self.in_flight.iter().position(|message| message.id == id)?;
        let message = self.in_flight.remove(index)?;
        if !refused {
            self.ledger.acknowledged.insert(message.seq);
        }
        Some(now.since(message.sent))
    }

    /// The time to wait before the next attempt to connect: doubled each time, up to ten seconds, half of it random.
    pub(super) fn next_backoff(&mut self, entropy: &mut dyn Entropy) -> Duration {
        let half = self.backoff / 2;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(entropy.below(nanos))
    }
}

/// A reading that moves by up to half a unit.
fn drift(value: u16, min: u16, max: u16, entropy: &mut dyn Entropy) -> u16 {
    (value + entropy.below(11) as u16)
        .saturating_sub(5)
        .clamp(min, max)
}

#[cfg(test)]
mod tests {
    use forebay_core::SeededEntropy;

    use super::*;

    #[test]
    fn backoff_doubles_with_jitter_up_to_its_limit_and_starts_again() {
        let mut entropy = SeededEntropy::new(1);
        let style = Style {
            run: RunId::new(&mut entropy),
            version: Version::V5,
            topic: "dt/{key}".to_owned(),
            size: 256,
            interval: Duration::from_secs(1),
        };
        let mut device = Device::new("d-1".to_owned(), &style, Time::ZERO, &mut entropy);
        let mut expected = BACKOFF_MIN;
        for _ in 0..12 {
            let wait = device.next_backoff(&mut entropy);
            assert!(
                wait >= expected / 2 && wait <= expected,
                "{wait:?} of {expected:?}"
            );
            expected = (expected * 2).min(BACKOFF_MAX);
        }
        assert_eq!(expected, BACKOFF_MAX);
        device.opened(&style, 10, Time::ZERO);
        assert!(device.next_backoff(&mut entropy) <= BACKOFF_MIN);
    }

    #[test]
    fn readings_never_need_a_leading_zero() {
        let mut entropy = SeededEntropy::new(7);
        let mut reading = READING_MIN;
        for _ in 0..1000 {
            reading = drift(reading, READING_MIN, 990, &mut entropy);
            assert!((100..1000).contains(&reading), "{reading}");
        }
    }

    #[test]
    fn measurements_that_come_due_while_the_link_is_down_are_not_made_up_for() {
        let mut entropy = SeededEntropy::new(1);
        let style = Style {
            run: RunId::new(&mut entropy),
            version: Version::V5,
            topic: "dt/{key}".to_owned(),
            size: 256,
            interval: Duration::from_secs(1),
        };
        let mut device = Device::new("d-1".to_owned(), &style, Time::ZERO, &mut entropy);
        let published = device.publish_due(&style, Time::from_millis(2500), 0, &mut entropy);
        assert_eq!(published, Published::default());
        assert_eq!(device.due, Time::from_millis(3000));
    }
}
