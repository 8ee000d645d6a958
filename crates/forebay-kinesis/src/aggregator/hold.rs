//! A stream that does not work for a reason that a person must repair is held: its records stay, one record probes.

use compact_str::CompactString;
use forebay_core::{Entropy, Time};

use crate::backoff::Backoff;

/// The held state of a stream.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) reason: CompactString,
    /// What the service said with it.
    pub(super) message: String,
    failures: u32,
    pub(super) next_probe: Time,
}

impl Hold {
    pub(super) fn new(
        reason: CompactString,
        message: &str,
        now: Time,
        entropy: &mut dyn Entropy,
    ) -> Self {
        Self {
            reason,
            message: message.to_owned(),
            failures: 1,
            next_probe: now + Backoff::Hold.delay(1, entropy),
        }
    }

    /// A probe was refused as well.
    pub(super) fn refused(
        &mut self,
        reason: CompactString,
        message: &str,
        now: Time,
        entropy: &mut dyn Entropy,
    ) {
        self.reason = reason;
        message.clone_into(&mut self.message);
        self.failures += 1;
        self.next_probe = now + Backoff::Hold.delay(self.failures, entropy);
    }

    /// A probe said nothing about the reason, because it did not arrive: the next one comes at the same pace.
    pub(super) fn unanswered(&mut self, now: Time, entropy: &mut dyn Entropy) {
        self.next_probe = now + Backoff::Hold.delay(self.failures, entropy);
    }
}
