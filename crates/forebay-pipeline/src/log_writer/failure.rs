//! What happens while the log cannot be written.

use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::{Fs, OnSpoolFailure, Time};
use forebay_spool::{AppendError, Event};

use super::{Item, LogWriter};
use crate::dealer::Dealer;
use crate::{LogCondition, Record};

/// Time between two tries of a log that cannot be written.
const RETRY_FAILED: Duration = Duration::from_secs(1);

impl<F: Fs> LogWriter<F> {
    pub(super) fn failed(&mut self, error: &AppendError, dealer: &mut Dealer, now: Time) {
        if self.condition != LogCondition::Failed {
            tracing::error!(
                %error,
                on_failure = self.shared.config.on_spool_failure.as_str(),
                "spool cannot be written"
            );
        }
        self.condition = LogCondition::Failed;
        self.error = Some(error.to_string());
        self.retry_at = now + RETRY_FAILED;
        self.bypass(dealer, now);
    }

    /// Sends what cannot be written the way of mode `stored`, where that is wanted. Not while the end of what an earlier
    /// run wrote is uncertain: its records may have been answered, are older than everything that comes now, and cannot
    /// be read before the disk is well. What went ahead of them would overtake them.
    fn bypass(&mut self, dealer: &mut Dealer, now: Time) {
        let wanted = self.shared.config.on_spool_failure == OnSpoolFailure::Stored;
        if wanted && (self.frame_is_held || self.spool.uncertain().is_none()) {
            self.fall_back(dealer, now);
        }
    }

    pub(super) fn step_failed(&mut self, dealer: &mut Dealer, now: Time) -> bool {
        self.bypass(dealer, now);
        // Checkpoints make room for another try. Nothing is written to the log by this while a frame is held.
        if let Err(error) = self.spool.poll(now) {
            self.error = Some(error.to_string());
        }
        if now < self.retry_at {
            return false;
        }
        self.retry_at = now + RETRY_FAILED;
        let owed = self.spool.unsettled().len();
        match self.spool.retry() {
            Ok(commit) => {
                if !self.frame_is_held {
                    self.take_over(owed, dealer);
                }
                tracing::warn!("spool can be written again");
                self.condition = LogCondition::Writing;
                let commit = commit.filter(|_| std::mem::take(&mut self.frame_is_held));
                match commit {
                    Some(commit) if std::mem::take(&mut self.frame_is_void) => {
                        // Its records went the way of `stored` meanwhile: whoever published them still waits for that.
                        let end = commit.first_seq + u64::from(commit.records);
                        self.spool.settle(commit.first_seq..end, now);
                        self.answer_releases();
                        self.fill(dealer);
                    }
                    Some(commit) => self.committed(commit, dealer, now),
                    // A delta of its own, or nothing.
                    None => self.fill(dealer),
                }
                true
            }
            Err(error) => {
                self.error = Some(error.to_string());
                false
            }
        }
    }

    /// What an earlier run wrote last counts from now on: it could not be made certain before. `owed` is what was owed
    /// without it.
    fn take_over(&self, owed: u64, dealer: &mut Dealer) {
        let unsettled = self.spool.unsettled();
        // It is the newest of the log: nothing was added to it since it was opened.
        if let Some(first) = unsettled.select(owed) {
            let accepted = &self.shared.counts.accepted;
            accepted.fetch_add(unsettled.len() - owed, Ordering::SeqCst);
            dealer.fall_behind(first);
        }
    }

    /// While the log cannot be written its records go the way of mode `stored`.
    pub(super) fn fall_back(&mut self, dealer: &mut Dealer, now: Time) {
        let next_log = self.spool.next_seq();
        // The frame that is held keeps its numbers. Should the process die before it is written, or after, a record
        // that was stored meanwhile may come twice, but none is lost: its publish is answered when it is stored.
        self.frame_is_void |= self.frame_is_held;
        let mut members = std::mem::take(&mut self.members);
        if self.frame_is_held {
            self.count_unkept(dealer, members.iter().map(|record| record.stream));
        }
        for record in members.drain(..) {
            self.deal_unwritten(record, next_log, dealer, now);
        }
        self.members = members;
        for item in std::mem::take(&mut self.waiting) {
            match item {
                Item::Record(record) => {
                    self.waiting_records -= 1;
                    self.deal_unwritten(record, next_log, dealer, now);
                }
                // The id lives with its connection only.
                Item::Id(Event::Open { .. }, _) => {}
                // Neither is what it releases in the log then, so nothing has to be written before the answer.
                Item::Id(Event::Release { client, id }, Some(waiting))
                    if !self.spool.may_open(&client, id) =>
                {
                    self.answer_release(waiting);
                }
                id @ Item::Id(..) => self.waiting.push_back(id),
            }
        }
    }

    fn deal_unwritten(&mut self, mut record: Record, log: u64, dealer: &mut Dealer, now: Time) {
        record.log = log;
        self.fallback_records += 1;
        dealer.deal(record, now);
    }
}
