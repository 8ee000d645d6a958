//! What an answer means for every record of its request: stored, to be sent again, or failed for good.

use std::time::Duration;

use forebay_core::{Entropy, Ordering, Time};
use forebay_pipeline::FailureReason;

use super::entry::{Entry, Part, Request, RequestId, key_of};
use super::expiry::expired;
use super::hold::Hold;
use super::{Aggregator, Effects, Failure, Note};
use crate::api::{EntryAnswer, PutRecordsAnswer};
use crate::backoff::{Backoff, RETRY_AFTER_MAX};
use crate::classify::{
    CallError, CallFailure, Class, Reach, UNKNOWN_ATTEMPTS_MAX, is_for_error_action, record_code,
};
use crate::status::LastError;
use crate::virtual_lanes::is_virtual;

/// Shortest pause of a stream that is throttled as a whole.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// What happened to the records of one part.
#[derive(Debug, Default)]
struct Tally {
    stored: usize,
    stored_bytes: usize,
    throttled: usize,
    refused: usize,
    /// The class that decides the delay: the last one seen of those that are sent again.
    retry: Option<Class>,
}

/// Why a record was not stored.
#[derive(Debug, Clone, Copy)]
struct Refusal<'a> {
    class: Class,
    code: &'a str,
    message: &'a str,
    status: Option<u16>,
}

impl<'a> Refusal<'a> {
    fn failure(&self, reason: FailureReason) -> Failure<'a> {
        Failure {
            reason,
            code: self.code,
            message: self.message,
            status: self.status,
        }
    }
}

impl Aggregator {
    /// Takes the answer to a request in flight.
    ///
    /// # Panics
    /// When the request is not in flight: an answer was given twice.
    pub fn answer(
        &mut self,
        id: RequestId,
        answer: Result<PutRecordsAnswer, CallError>,
        now: Time,
        entropy: &mut dyn Entropy,
        effects: &mut dyn Effects,
    ) {
        let request = self
            .in_flight
            .remove(&id)
            .expect("the request is in flight");
        self.due = self.due.min(now);
        match answer {
            Ok(answer) if answer.entries.len() == request.entries.len() => {
                self.answered(request, &answer, now, entropy, effects);
            }
            Ok(answer) => {
                let message = format!(
                    "{} entries for {} records",
                    answer.entries.len(),
                    request.entries.len()
                );
                let error = CallError::local(CallFailure::Unclear, "ResponseMismatch", message);
                self.refused(request, &error, now, entropy, effects);
            }
            Err(error) => self.refused(request, &error, now, entropy, effects),
        }
    }

    /// The service answered for each record.
    fn answered(
        &mut self,
        request: Request,
        answer: &PutRecordsAnswer,
        now: Time,
        entropy: &mut dyn Entropy,
        effects: &mut dyn Effects,
    ) {
        let configuration = first_configuration_error(answer);
        if configuration.is_none() {
            self.leave_hold(effects);
        }
        let Request {
            entries,
            parts,
            sent,
            probe,
            ..
        } = request;
        let mut entries = entries.into_iter();
        let mut wrong_shard = 0;
        let mut stream_throttled = false;
        let mut last_refusal = None;
        for part in parts {
            let answers = &answer.entries[part.entries.clone()];
            self.count_inversions(&part, entries.as_slice(), answers, effects);
            let mut tally = Tally::default();
            for answer in answers {
                let entry = entries.next().expect("as many answers as entries");
                match answer {
                    EntryAnswer::Stored { shard } => {
                        let expected = self.map.as_ref().map(|map| map.shard(part.lane).id());
                        let known = expected.is_none_or(|id| !is_virtual(id));
                        wrong_shard += usize::from(known && expected != Some(shard.as_str()));
                        tally.stored += 1;
                        tally.stored_bytes += entry.len();
                        self.lanes[part.lane].settle(&entry.record);
                        effects.stored(part.lane, entry, sent);
                    }
                    EntryAnswer::Refused { code, message } => {
                        effects.note(Note::RecordRefused {
                            lane: part.lane,
                            code,
                        });
                        last_refusal = Some((code, message));
                        let class = record_code(code);
                        stream_throttled |= class == Class::Throttled(Reach::Stream);
                        tally.throttled += usize::from(matches!(class, Class::Throttled(_)));
                        tally.refused += 1;
                        let refusal = Refusal {
                            class,
                            code,
                            message,
                            status: None,
                        };
                        self.repeat(part.lane, entry, refusal, &mut tally, now, effects);
                    }
                    EntryAnswer::Unclear => {
                        tally.refused += 1;
                        let refusal = Refusal {
                            class: Class::Ambiguous,
                            code: "no outcome",
                            message: "",
                            status: None,
                        };
                        self.repeat(part.lane, entry, refusal, &mut tally, now, effects);
                    }
                }
            }
            self.close_part(&part, &tally, None, now, entropy, effects);
        }
        if let Some((code, message)) = last_refusal {
            self.last_error = Some(LastError::new(code, message, now));
        }
        if wrong_shard > 0 {
            effects.note(Note::WrongShard {
                records: wrong_shard,
                sent,
            });
        }
        if stream_throttled {
            self.pause(None, now, entropy);
        } else {
            self.pauses = 0;
        }
        if let Some((code, message)) = configuration {
            self.enter_hold(code, message, probe, now, entropy, effects);
        }
    }

    /// The whole request failed.
    fn refused(
        &mut self,
        request: Request,
        error: &CallError,
        now: Time,
        entropy: &mut dyn Entropy,
        effects: &mut dyn Effects,
    ) {
        let class = error.class();
        let records = request.entries.len();
        effects.note(Note::RequestFailed {
            code: &error.code,
            message: &error.message,
            request_id: error.request_id.as_deref(),
            records,
        });
        self.last_error = Some(LastError::new(&error.code, &error.message, now));
        let probe = request.probe;
        match class {
            Class::Configuration => {
                self.enter_hold(&error.code, &error.message, probe, now, entropy, effects);
                if error.is_not_found() {
                    effects.note(Note::NotFound);
                }
            }
            Class::Throttled(Reach::Stream) => self.pause(error.retry_after, now, entropy),
            Class::Ambiguous | Class::Unknown | Class::NotSent => {
                if let Some(hold) = &mut self.hold {
                    hold.unanswered(now, entropy);
                }
            }
            Class::Throttled(Reach::Shard) | Class::Split | Class::Bug => {}
        }
        if matches!(class, Class::Throttled(_) | Class::Split | Class::Bug) {
            self.leave_hold(effects);
        }
        let culprit = class == Class::Split && records == 1;
        let refusal = Refusal {
            class,
            code: &error.code,
            message: &error.message,
            status: match error.failure {
                CallFailure::Service(status) => Some(status),
                _ => None,
            },
        };
        let mixed = request.parts.len() > 1;
        let mut entries = request.entries.into_iter();
        for part in request.parts {
            let count = part.entries.len();
            let mut tally = Tally::default();
            for _ in 0..count {
                let entry = entries.next().expect("parts cover the entries");
                if culprit || class == Class::Bug {
                    self.lanes[part.lane].settle(&entry.record);
                    effects.failed(entry, &refusal.failure(culprit_reason(error)));
                } else {
                    self.repeat(part.lane, entry, refusal, &mut tally, now, effects);
                }
            }
            if class == Class::Throttled(Reach::Shard) {
                tally.throttled = count;
                effects.note(Note::Throttled {
                    lane: part.lane,
                    records: count,
                });
            }
            if class == Class::Split {
                self.split(&part, mixed);
            }
            self.close_part(&part, &tally, error.retry_after, now, entropy, effects);
        }
    }

    /// Puts a record that was not stored back in front of its lane, or fails it when its time is over.
    fn repeat(
        &mut self,
        lane: usize,
        mut entry: Entry,
        refusal: Refusal<'_>,
        tally: &mut Tally,
        now: Time,
        effects: &mut dyn Effects,
    ) {
        let class = refusal.class;
        entry.ambiguous |= matches!(class, Class::Ambiguous | Class::Unknown);
        let reason = if entry.record.deadline <= now {
            Some(expired(&entry))
        } else if class == Class::Unknown
            && entry.record.droppable()
            && entry.attempts >= UNKNOWN_ATTEMPTS_MAX
        {
            Some(FailureReason::Refused)
        } else if class == Class::Configuration
            && entry.record.takes_configuration_errors()
            && is_for_error_action(refusal.code)
        {
            Some(FailureReason::Configuration)
        } else {
            None
        };
        let lane = &mut self.lanes[lane];
        match reason {
            Some(reason) => {
                lane.settle(&entry.record);
                effects.failed(entry, &refusal.failure(reason));
            }
            None => {
                self.expiry_due = self.expiry_due.min(entry.record.deadline);
                self.has_givers_up |= entry.record.takes_configuration_errors();
                lane.take_back(entry);
                tally.retry = Some(class);
            }
        }
    }

    /// After all records of a part have found their place: limiter, backoff, cautious state.
    fn close_part(
        &mut self,
        part: &Part,
        tally: &Tally,
        retry_after: Option<Duration>,
        now: Time,
        entropy: &mut dyn Entropy,
        effects: &mut dyn Effects,
    ) {
        let lane = &mut self.lanes[part.lane];
        lane.in_flight -= 1;
        lane.stuck = false;
        lane.limiter
            .answered(tally.stored, tally.stored_bytes, tally.throttled, now);
        if tally.stored > 0 {
            lane.failures = 0;
            lane.split = lane.split.map(|split| split.saturating_mul(2));
        }
        if !lane.has_retries() {
            lane.split = None;
        }
        if tally.refused > 0 {
            lane.turn_cautious(now);
        }
        if let Some(class) = tally.retry {
            lane.failures = lane.failures.saturating_add(1);
            let own = match class {
                Class::Throttled(_) => Backoff::Throttled.delay(lane.failures, entropy),
                Class::Ambiguous | Class::Unknown => {
                    Backoff::Ambiguous.delay(lane.failures, entropy)
                }
                Class::NotSent => Backoff::NotSent.delay(lane.failures, entropy),
                // A held stream has its own pace, and the halves of a refused request need none.
                Class::Configuration | Class::Split | Class::Bug => Duration::ZERO,
            };
            let asked = retry_after
                .unwrap_or(Duration::ZERO)
                .min(own + RETRY_AFTER_MAX);
            lane.not_before = lane.not_before.max(now + own.max(asked));
        }
        if tally.throttled > 0 && tally.refused > 0 {
            effects.note(Note::Throttled {
                lane: part.lane,
                records: tally.throttled,
            });
        }
        self.list(part.lane);
    }

    /// One record of the part, or of another part of the request, is at fault: smaller requests from now on.
    fn split(&mut self, part: &Part, mixed: bool) {
        let count = part.entries.len();
        // Parts of a mixed request go alone first: only then is it known which lane has the culprit.
        let size = if mixed { count } else { count / 2 };
        self.lanes[part.lane].split = Some(size.max(1));
    }

    /// Counts the refused records of a part that were overtaken: a newer record of their key was stored.
    fn count_inversions(
        &self,
        part: &Part,
        entries: &[Entry],
        answers: &[EntryAnswer],
        effects: &mut dyn Effects,
    ) {
        let any_refused = answers
            .iter()
            .any(|answer| !matches!(answer, EntryAnswer::Stored { .. }));
        if self.mode.ordering == Ordering::None || !any_refused {
            return;
        }
        let mut stored = std::collections::BTreeSet::new();
        let mut overtaken = 0;
        for (offset, answer) in answers.iter().enumerate().rev() {
            let key = key_of(&entries[offset].record);
            match answer {
                EntryAnswer::Stored { .. } => {
                    stored.insert(key);
                }
                _ => overtaken += usize::from(stored.contains(&key)),
            }
        }
        debug_assert!(part.entries.len() == answers.len());
        if overtaken > 0 {
            effects.note(Note::Inversions { records: overtaken });
        }
    }

    fn pause(&mut self, retry_after: Option<Duration>, now: Time, entropy: &mut dyn Entropy) {
        self.pauses = self.pauses.saturating_add(1);
        let own = Backoff::Throttled
            .delay(self.pauses, entropy)
            .max(PAUSE_MIN);
        let asked = retry_after
            .unwrap_or(Duration::ZERO)
            .min(own + RETRY_AFTER_MAX);
        self.pause_until = self.pause_until.max(now + own.max(asked));
    }

    fn enter_hold(
        &mut self,
        code: &str,
        message: &str,
        probe: bool,
        now: Time,
        entropy: &mut dyn Entropy,
        effects: &mut dyn Effects,
    ) {
        let entered = self.hold.is_none();
        match &mut self.hold {
            Some(hold) if probe => hold.refused(code.into(), message, now, entropy),
            // Requests that were out when the stream was held say nothing new.
            Some(_) => {}
            None => self.hold = Some(Hold::new(code.into(), message, now, entropy)),
        }
        effects.note(Note::Blocked {
            reason: code,
            entered,
            message,
        });
    }

    fn leave_hold(&mut self, effects: &mut dyn Effects) {
        if self.hold.take().is_some() {
            effects.note(Note::Unblocked);
        }
    }
}

fn first_configuration_error(answer: &PutRecordsAnswer) -> Option<(&str, &str)> {
    answer.entries.iter().find_map(|entry| match entry {
        EntryAnswer::Refused { code, message } if record_code(code) == Class::Configuration => {
            Some((code.as_str(), message.as_str()))
        }
        _ => None,
    })
}

/// The reason for which a record fails that was refused alone.
fn culprit_reason(error: &CallError) -> FailureReason {
    match error.code.as_str() {
        "RequestEntityTooLarge" => FailureReason::RecordTooLarge,
        _ if error.failure == CallFailure::Service(413) => FailureReason::RecordTooLarge,
        _ => FailureReason::Refused,
    }
}
