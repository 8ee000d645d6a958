//! When a group is written, and what a durable one sets free.

use std::time::Duration;

use forebay_core::{Fs, Time};
use forebay_spool::{AppendError, Commit, Event};

use super::names::release;
use super::{Item, LogWriter};
use crate::dealer::Dealer;
use crate::error_action;
#[cfg(test)]
use crate::mutation::Mutation;
use crate::shared::Finished;
use crate::{LogCondition, OverloadStage};

/// A group of fewer records may wait for more.
const SMALL_GROUP: usize = 256;
/// Time between two tries of a log that is full.
const RETRY_FULL: Duration = Duration::from_millis(20);

impl<F: Fs> LogWriter<F> {
    /// Writes the group when it is time, tries again what could not be written, and does what the log asks for. True
    /// when something was written: step again before sleeping.
    pub(crate) fn step(&mut self, dealer: &mut Dealer, now: Time) -> bool {
        if self.condition == LogCondition::Failed {
            return self.step_failed(dealer, now);
        }
        if let Err(error) = self.spool.poll(now) {
            self.unfill();
            self.failed(&error, dealer, now);
            return true;
        }
        if self.condition == LogCondition::Full && !self.try_again(dealer, now) {
            return false;
        }
        if self.group.is_empty() || !self.is_due(now) {
            return false;
        }
        if self.stage() == OverloadStage::Stalled && !self.members.is_empty() {
            self.full(now);
            return false;
        }
        #[cfg(test)]
        if self.mutation == Mutation::AnswerBeforeCommit {
            self.answer_members();
        }
        let began = self.clock.now();
        let result = self.spool.append(&mut self.group, now);
        self.last_flush = self.clock.now().since(began);
        match result {
            Ok(commit) => {
                self.committed(commit, dealer, now);
                true
            }
            Err(AppendError::Full) => {
                self.full(now);
                false
            }
            Err(error @ AppendError::TooLarge { .. }) => {
                tracing::error!(%error, "publish does not fit the spool: acknowledged when it is stored");
                self.unfill();
                self.fall_back(dealer, now);
                true
            }
            Err(error) => {
                // An empty group was taken into the frame, which is held; otherwise nothing of it is in the log.
                self.frame_is_held = self.group.is_empty();
                if !self.frame_is_held {
                    self.unfill();
                }
                self.failed(&error, dealer, now);
                true
            }
        }
    }

    /// Looks whether a full log has room again. What needs none, because it may use the reserve, goes now.
    fn try_again(&mut self, dealer: &mut Dealer, now: Time) -> bool {
        if now < self.retry_at {
            return false;
        }
        self.retry_at = now + RETRY_FULL;
        if self.stage() < OverloadStage::Stalled && self.spool.stat().publishable_segments > 0 {
            self.fill(dealer);
            return true;
        }
        let releases = self.waiting.iter().any(|item| {
            matches!(
                item,
                Item::Id(Event::Release { .. } | Event::Forget { .. }, _)
            )
        });
        if releases {
            for item in std::mem::take(&mut self.waiting) {
                match item {
                    // What is opened by a publish that waits behind it was not answered, so it is not released here.
                    Item::Id(event @ (Event::Release { .. } | Event::Forget { .. }), waiting) => {
                        if let Event::Forget { client } = &event {
                            // What it overtakes would be opened only to be forgotten, and now stay open.
                            self.waiting.retain(|item| !item.opens_for(client));
                        }
                        self.push_id(event, waiting);
                    }
                    item => self.waiting.push_back(item),
                }
            }
        }
        !self.group.is_empty()
    }

    /// Whether the group should be written now: a small one waits while it grows, for no longer than the last flush
    /// took.
    fn is_due(&mut self, now: Time) -> bool {
        let len = self.members.len();
        let grew = len > std::mem::replace(&mut self.seen, len);
        let patience = self.shared.config.commit_max_delay.min(self.last_flush);
        !(self.busy
            && grew
            && !self.closed
            && len < SMALL_GROUP
            && now.since(self.began) < patience)
    }

    fn full(&mut self, now: Time) {
        if self.condition != LogCondition::Full {
            tracing::warn!(
                used_bytes = self.spool.stat().used_bytes,
                "spool full: publishes wait until records are stored"
            );
        }
        self.condition = LogCondition::Full;
        self.retry_at = now + RETRY_FULL;
        self.unfill();
    }

    /// A group is durable: answers its publishes, deals its records.
    pub(super) fn committed(&mut self, commit: Commit, dealer: &mut Dealer, now: Time) {
        if self.condition == LogCondition::Full && commit.records > 0 {
            tracing::info!("spool takes records again");
            self.condition = LogCondition::Writing;
        }
        self.group_records.record(u64::from(commit.records));
        self.flush_seconds
            .record(u64::try_from(self.last_flush.as_nanos()).unwrap_or(u64::MAX));
        self.answer_members();
        self.answer_releases();
        let mut members = std::mem::take(&mut self.members);
        for (log, mut record) in (commit.first_seq..).zip(members.drain(..)) {
            record.log = log;
            record.in_log = true;
            record.ticket = None;
            dealer.deal_durable(record, now);
        }
        self.members = members;
        self.closed = false;
        self.seen = 0;
        self.began = now;
        if self.condition == LogCondition::Writing {
            self.fill(dealer);
        }
        // What was taken while the frame was on its way, and what is staged by now.
        self.busy = !self.members.is_empty() || !self.shared.nothing_staged();
    }

    pub(super) fn answer_releases(&mut self) {
        self.opening = 0;
        for (_, _, waiting) in std::mem::take(&mut self.ids) {
            if let Some(waiting) = waiting {
                self.answer_release(waiting);
            }
        }
    }

    /// Finishes the publishes of the group and gives their room back.
    fn answer_members(&mut self) {
        let mut freed: Option<(crate::StreamId, u64)> = None;
        let mut total = 0;
        let mut handovers = Vec::new();
        for record in &mut self.members {
            let charge = u64::from(record.charge);
            total += charge;
            match &mut freed {
                Some((stream, bytes)) if *stream == record.stream => *bytes += charge,
                _ => {
                    release(&self.names, freed.replace((record.stream, charge)));
                }
            }
            if let Some(ticket) = record.ticket.take() {
                self.finished[usize::from(ticket.worker)].push(Finished {
                    connection: ticket.connection,
                    generation: ticket.generation,
                    slot: ticket.slot,
                    failed: false,
                });
            }
            if let Some(role) = &mut record.error {
                handovers.extend(role.handover.take());
            }
        }
        release(&self.names, freed);
        self.shared.ingest.release(total);
        self.shared.send_finished(&mut self.finished);
        self.shared.signal_room();
        for handover in handovers {
            error_action::finish(&self.shared, handover, false);
        }
    }
}
