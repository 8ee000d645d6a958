//! Scripted faults: rules decide, request by request, what goes wrong.
//!
//! The decision is made under one lock and from one seed, so that the same requests in the same order meet the same
//! faults. Where no script is set it costs one atomic load.

mod control;
mod rule;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_core::{Entropy, SeededEntropy, Time};
use tokio::sync::watch;

pub use control::FaultControl;
pub use rule::{DownMode, FaultEffect, FaultError, FaultRule, FaultScript};

use crate::stats::CodeCounts;

/// Rules of one script.
const RULES_MAX: usize = 256;

/// The script in force.
#[derive(Debug)]
pub(crate) struct Faults {
    active: AtomicBool,
    state: Mutex<Option<State>>,
    /// Counts the changes of the script.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    rules: Vec<RuleState>,
    seed: u64,
    since: Time,
}

#[derive(Debug)]
struct RuleState {
    rule: FaultRule,
    entropy: SeededEntropy,
    /// Requests that matched so far.
    matched: u64,
    /// Requests that were struck so far.
    struck: u64,
    /// Records that were struck so far.
    records: u64,
}

/// What a rule can look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) operation: &'a str,
    pub(crate) stream: Option<&'a str>,
    /// Shard, where it is known, and partition key of each record.
    pub(crate) records: &'a [(Option<u32>, &'a str)],
}

/// How the exchange ends instead of by its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The request is refused with this error.
    Refuse {
        status: u16,
        code: String,
        message: String,
    },
    /// The connection is reset.
    Reset,
    /// The answer is cut in the middle.
    Truncate,
    /// No answer comes.
    Never,
}

/// What becomes of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordFault {
    /// It is refused with this code and, if there is one, this message.
    Refuse {
        code: String,
        message: Option<String>,
    },
    /// It is answered as stored and is not.
    Drop,
}

/// What becomes of a request whose body was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// An end that comes before anything is carried out.
    pub(crate) instead: Option<Ending>,
    /// An end that comes after the request was carried out.
    pub(crate) after: Option<Ending>,
    /// How long the answer waits.
    pub(crate) delay: Duration,
    /// Faults by index of the record; empty when there are none.
    pub(crate) records: Vec<Option<RecordFault>>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            active: AtomicBool::new(false),
            state: Mutex::new(None),
            changes: watch::Sender::new(0),
        }
    }

    /// Puts `script` in the place of the one in force; its windows begin `now`.
    pub(crate) fn set(
        &self,
        script: FaultScript,
        now: Time,
        known_operation: fn(&str) -> bool,
    ) -> Result<(), FaultError> {
        if script.rules.len() > RULES_MAX {
            return Err(FaultError::TooMany {
                count: script.rules.len(),
                max: RULES_MAX,
            });
        }
        for (index, rule) in script.rules.iter().enumerate() {
            rule.check(index, known_operation)?;
        }
        // A generator of its own for each rule: what one draws does not depend on the others.
        let mut seeds = SeededEntropy::new(script.seed);
        let rules = script.rules.into_iter().map(|rule| RuleState {
            rule,
            entropy: SeededEntropy::new(seeds.next_u64()),
            matched: 0,
            struck: 0,
            records: 0,
        });
        *self.state() = Some(State {
            rules: rules.collect(),
            seed: script.seed,
            since: now,
        });
        self.active.store(true, Ordering::Release);
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Ends all faults.
    pub(crate) fn clear(&self) {
        *self.state() = None;
        self.active.store(false, Ordering::Release);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The script in force, empty when there is none.
    pub(crate) fn script(&self) -> FaultScript {
        let state = self.state();
        state
            .as_ref()
            .map_or_else(FaultScript::default, |state| FaultScript {
                rules: state.rules.iter().map(|rule| rule.rule.clone()).collect(),
                seed: state.seed,
            })
    }

    /// A receiver that is told of each change of the script from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether the server is out of reach, and for how long if that has an end.
    pub(crate) fn down(&self, now: Time) -> Option<(DownMode, Option<Duration>)> {
        if !self.is_active() {
            return None;
        }
        let state = self.state();
        let state = state.as_ref()?;
        let elapsed = now - state.since;
        state.rules.iter().find_map(|rule| match rule.rule.effect {
            FaultEffect::SinkDown { mode } if rule.in_window(elapsed) => {
                Some((mode, rule.end().map(|end| end.saturating_sub(elapsed))))
            }
            _ => None,
        })
    }

    /// Whether the connection is to be reset now that the head of a request was read.
    pub(crate) fn at_head(&self, operation: &str, now: Time, injected: &CodeCounts) -> bool {
        if !self.is_active() {
            return false;
        }
        let mut state = self.state();
        let Some(state) = state.as_mut() else {
            return false;
        };
        let elapsed = now - state.since;
        let target = Target {
            operation,
            stream: None,
            records: &[],
        };
        let struck = state.rules.iter_mut().any(|rule| {
            matches!(rule.rule.effect, FaultEffect::ResetBeforeBody)
                && rule.strikes(&target, elapsed)
        });
        if struck {
            injected.add(FaultEffect::ResetBeforeBody.name(), 1);
        }
        struck
    }

    /// What becomes of a request whose body was read.
    pub(crate) fn plan(&self, target: &Target<'_>, now: Time, injected: &CodeCounts) -> Plan {
        let mut plan = Plan::default();
        if !self.is_active() {
            return plan;
        }
        let mut state = self.state();
        let Some(state) = state.as_mut() else {
            return plan;
        };
        let elapsed = now - state.since;
        for rule in &mut state.rules {
            let early = matches!(
                rule.rule.effect,
                FaultEffect::ResetBeforeBody | FaultEffect::SinkDown { .. }
            );
            if !early && rule.strikes(target, elapsed) {
                let count = rule.apply(target, &mut plan);
                if count > 0 {
                    injected.add(rule.rule.effect.name(), count);
                }
            }
        }
        plan
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RuleState {
    fn end(&self) -> Option<Duration> {
        let duration = self.rule.duration_millis?;
        let end = self.rule.start_millis.unwrap_or(0).saturating_add(duration);
        Some(Duration::from_millis(end))
    }

    fn in_window(&self, elapsed: Duration) -> bool {
        elapsed >= Duration::from_millis(self.rule.start_millis.unwrap_or(0))
            && self.end().is_none_or(|end| elapsed < end)
    }

    fn matches_record(&self, record: &(Option<u32>, &str)) -> bool {
        self.rule
            .shard_index
            .is_none_or(|shard| record.0 == Some(shard))
            && self
                .rule
                .partition_key
                .as_deref()
                .is_none_or(|key| record.1 == key)
    }

    /// Whether the rule strikes this request. Counts and draws, so it is asked once per request.
    fn strikes(&mut self, target: &Target<'_>, elapsed: Duration) -> bool {
        let by_record = self.rule.shard_index.is_some() || self.rule.partition_key.is_some();
        let matches = self.in_window(elapsed)
            && self
                .rule
                .operation
                .as_deref()
                .is_none_or(|o| o == target.operation)
            && self
                .rule
                .stream_name
                .as_deref()
                .is_none_or(|s| target.stream == Some(s))
            && (!by_record
                || target
                    .records
                    .iter()
                    .any(|record| self.matches_record(record)));
        if !matches {
            return false;
        }
        self.matched += 1;
        let struck = self.matched >= self.rule.from_request.unwrap_or(1)
            && self.rule.to_request.is_none_or(|to| self.matched <= to)
            && self.rule.times.is_none_or(|times| self.struck < times)
            && self
                .rule
                .probability
                .is_none_or(|share| draw(&mut self.entropy, share));
        self.struck += u64::from(struck);
        struck
    }

    /// Writes the effect into `plan` and returns how often it was injected.
    fn apply(&mut self, target: &Target<'_>, plan: &mut Plan) -> u64 {
        let (place, ending) = match &self.rule.effect {
            FaultEffect::RecordError {
                code,
                message,
                fraction,
                records,
            } => {
                let fault = RecordFault::Refuse {
                    code: code.clone(),
                    message: message.clone(),
                };
                let (fraction, most) = (*fraction, *records);
                return self.apply_to_records(target, plan, &fault, fraction, most);
            }
            FaultEffect::DropRecords { fraction, records } => {
                let (fraction, most) = (*fraction, *records);
                return self.apply_to_records(target, plan, &RecordFault::Drop, fraction, most);
            }
            FaultEffect::Delay {
                millis,
                jitter_millis,
            } => {
                let jitter = self.entropy.below(jitter_millis.saturating_add(1));
                plan.delay += Duration::from_millis(millis.saturating_add(jitter));
                return 1;
            }
            FaultEffect::RequestError {
                code,
                message,
                status,
            } => {
                let message = message.clone().unwrap_or_else(|| code.clone());
                let status = status.unwrap_or(400);
                (
                    &mut plan.instead,
                    Ending::Refuse {
                        status,
                        code: code.clone(),
                        message,
                    },
                )
            }
            FaultEffect::ResetAfterBody => (&mut plan.instead, Ending::Reset),
            FaultEffect::NeverAnswer { stored: false } => (&mut plan.instead, Ending::Never),
            FaultEffect::NeverAnswer { stored: true } => (&mut plan.after, Ending::Never),
            FaultEffect::ResetAfterStore => (&mut plan.after, Ending::Reset),
            FaultEffect::TruncateAnswer => (&mut plan.after, Ending::Truncate),
            FaultEffect::ResetBeforeBody | FaultEffect::SinkDown { .. } => return 0,
        };
        let free = place.is_none();
        place.get_or_insert(ending);
        u64::from(free)
    }

    fn apply_to_records(
        &mut self,
        target: &Target<'_>,
        plan: &mut Plan,
        fault: &RecordFault,
        fraction: Option<f64>,
        most: Option<u64>,
    ) -> u64 {
        let before = self.records;
        plan.records.resize(target.records.len(), None);
        for (record, slot) in target.records.iter().zip(&mut plan.records) {
            if slot.is_none()
                && self.matches_record(record)
                && most.is_none_or(|most| self.records < most)
                && fraction.is_none_or(|share| draw(&mut self.entropy, share))
            {
                *slot = Some(fault.clone());
                self.records += 1;
            }
        }
        self.records - before
    }
}

/// True with the probability `share`.
fn draw(entropy: &mut SeededEntropy, share: f64) -> bool {
    ((entropy.next_u64() >> 11) as f64) < share * (1_u64 << 53) as f64
}
