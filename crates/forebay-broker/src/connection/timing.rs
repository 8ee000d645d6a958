//! What happens when nothing happens: deadlines of a connection, and what they end.

use std::time::Duration;

use forebay_core::Time;

use super::{Connection, Moment, Phase};
use crate::metrics::Limit;
use crate::outcome::Cause;
use crate::worker::Worker;

/// Bytes per second that an incomplete packet must bring after its time-out.
const PACKET_BYTES_PER_SECOND: u64 = 1024;
/// How long a closed connection is read, so that a reset does not overtake the last bytes that were sent.
const LINGER: Duration = Duration::from_secs(1);
/// How often a connection looks again for room in the pool for incomplete packets.
const POOL_RETRY: Duration = Duration::from_millis(20);

impl Connection {
    /// When [`expire`](Self::expire) is to be called next, if nothing comes in between.
    pub(crate) fn deadline(&self, now: Time) -> Time {
        let limits = &self.listener.config.limits;
        let mut deadline = match self.phase {
            Phase::Connect | Phase::Takeover => self.opened + limits.time_to_connect,
            Phase::Open => self.silence_deadline(),
            Phase::Closing(since) => return since + LINGER,
            Phase::Closed => return Time::NEVER,
        };
        if let Some(since) = self.unwritten_since {
            deadline = deadline.min(since + limits.write_timeout);
        }
        match self.blocked_since {
            Some(since) => {
                if let Some(stall) = self.shared.mqtt.stall_disconnect {
                    deadline = deadline.min(since + stall);
                }
                if self.pool_is_full {
                    deadline = deadline.min(now + POOL_RETRY);
                }
            }
            None => {
                if let Some(since) = self.partial_since {
                    deadline = deadline.min(since + self.packet_time());
                }
            }
        }
        deadline
    }

    /// The keep alive's own deadline: only complete packets move it, and it does not run while we do not read.
    fn silence_deadline(&self) -> Time {
        match (&self.session, self.blocked_since) {
            (Some(session), None) => session
                .silence_max
                .map_or(Time::NEVER, |silence| self.last_packet + silence),
            _ => Time::NEVER,
        }
    }

    /// How long the incomplete packet may have taken for what has come of it.
    fn packet_time(&self) -> Duration {
        let millis = self.partial.len() as u64 * 1000 / PACKET_BYTES_PER_SECOND;
        let limit = self.listener.config.limits.packet_timeout;
        limit.max(Duration::from_millis(millis))
    }

    /// Ends the connection if one of its deadlines has passed.
    pub(crate) fn expire(&mut self, worker: &mut Worker, at: Moment) {
        if let Phase::Closing(since) = self.phase {
            if at.now >= since + LINGER {
                self.phase = Phase::Closed;
            }
            return;
        }
        if let Some((cause, limit)) = self.expired(at.now) {
            if let Some(limit) = limit {
                worker.tally.limit(limit);
            }
            self.fail(worker, cause, at);
        }
    }

    fn expired(&self, now: Time) -> Option<(Cause, Option<Limit>)> {
        let limits = &self.listener.config.limits;
        let past =
            |since: Option<Time>, limit: Duration| since.is_some_and(|since| now >= since + limit);
        if past(self.unwritten_since, limits.write_timeout) {
            return Some((Cause::SlowConsumer, Some(Limit::WriteTimeout)));
        }
        match self.phase {
            Phase::Connect | Phase::Takeover => (now >= self.opened + limits.time_to_connect)
                .then_some((Cause::ConnectTimeout, Some(Limit::TimeToConnect))),
            Phase::Open if self.blocked_since.is_some() => {
                let stall = self.shared.mqtt.stall_disconnect?;
                past(self.blocked_since, stall).then_some((Cause::Stalled, None))
            }
            Phase::Open if past(self.partial_since, self.packet_time()) => {
                Some((Cause::PacketTimeout, Some(Limit::PacketTimeout)))
            }
            Phase::Open => (now >= self.silence_deadline()).then_some((Cause::KeepAlive, None)),
            Phase::Closing(_) | Phase::Closed => None,
        }
    }

    /// The socket took `written` bytes of the output. False when so much is left that the client cannot be reading.
    pub(crate) fn wrote(&mut self, written: usize, now: Time) -> bool {
        if self.output.is_empty() {
            self.unwritten_since = None;
            self.output_publishes = 0;
            return true;
        }
        if written > 0 || self.unwritten_since.is_none() {
            self.unwritten_since = Some(now);
        }
        // Messages are only added while little waits, so what goes beyond them is answers that nobody reads.
        let unsent = self.listener.config.limits.unsent_bytes;
        self.phase != Phase::Open || self.output.len() <= unsent + self.output_publishes
    }

    /// Ends a connection whose answers nobody reads.
    pub(crate) fn overflow(&mut self, worker: &mut Worker, at: Moment) {
        worker.tally.limit(Limit::UnsentBytes);
        self.fail(worker, Cause::SlowConsumer, at);
    }
}
