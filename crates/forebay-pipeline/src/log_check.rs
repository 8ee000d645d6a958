//! Reading the whole log from time to time, to find damage before the data is needed.
//!
//! Most of the log may lie untouched for days, while a stream cannot be reached. A sweep reads every segment that takes
//! no more records, a step at a time, on the thread that also reads for lanes. Lanes come first, and after each step
//! the disk is left alone for nine times as long as the step took. A sweep that somebody asked for reads all segments,
//! and does not rest.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Fs, FsError, FsFile, Time};
use forebay_spool::{CheckMark, CheckPlan, CheckScope, Checked, Pages, Spool};

use crate::dealer::Dealer;
use crate::log_damage::LogDamage;
use crate::{LogCheckProgress, LogCheckReport, LogCheckStatus};

/// Time between the end of a sweep and the next one.
const PAUSE: Duration = Duration::from_secs(3600);
/// Bytes of one step. A larger frame is read as a whole.
const STEP_BYTES: u64 = 256 << 10;
/// The same for a sweep that somebody waits for.
const STEP_BYTES_ASKED: u64 = 1 << 20;
/// A sweep rests so many times as long as it reads: it takes a tenth of the disk's time.
const REST: u32 = 9;
/// Shortest rest after a step. What the system has in memory is read so fast that the sequencer would be woken all the
/// time: this bounds the pace to 25 MiB a second.
const REST_MIN: Duration = Duration::from_millis(10);
/// Damaged places of one sweep that are listed; all are counted.
const LISTED_MAX: usize = 100;

/// A step of a sweep, to be done on any thread.
#[derive(Debug)]
pub(crate) struct CheckTask<T> {
    plan: CheckPlan<T>,
    bytes: u64,
}

/// What a step came to.
#[derive(Debug)]
pub(crate) struct CheckResult<T> {
    plan: CheckPlan<T>,
    outcome: Result<(Checked, Pages), FsError>,
    took: Duration,
}

impl<T: FsFile> CheckTask<T> {
    /// Reads the step.
    pub(crate) fn run(self, clock: &dyn Clock) -> CheckResult<T> {
        let Self { mut plan, bytes } = self;
        let began = clock.now();
        let outcome = plan.step(bytes).and_then(|checked| {
            let pages = match checked {
                Checked::End => plan.pages()?,
                Checked::Right | Checked::Damage(_) => Pages::default(),
            };
            Ok((checked, pages))
        });
        CheckResult {
            plan,
            outcome,
            took: clock.now().since(began),
        }
    }
}

/// A sweep that is under way.
#[derive(Debug)]
struct Sweep {
    /// The number of the request that it answers; 0 when nobody asked.
    request: u64,
    scope: CheckScope,
    /// Segments up to this epoch are done.
    after: u64,
    /// Where the reading of the next one goes on.
    mark: Option<CheckMark>,
    /// Frames, records and bytes of it so far.
    part: [u64; 3],
    report: LogCheckReport,
}

/// The sweeps, one at a time.
#[derive(Debug, Default)]
pub(crate) struct LogCheck {
    sweep: Option<Sweep>,
    /// A step is out.
    out: bool,
    /// When the next step or sweep may begin.
    next_at: Time,
    status: LogCheckStatus,
    /// The status has something new that somebody may wait for.
    news: bool,
}

impl LogCheck {
    /// The next step, when it is time. `request` is the number of the newest request for a sweep.
    pub(crate) fn take_task<F: Fs>(
        &mut self,
        spool: &Spool<F>,
        damage: &LogDamage,
        request: u64,
        now: Time,
    ) -> Option<CheckTask<F::File>> {
        if self.out {
            return None;
        }
        let asked = request > self.status.answered;
        let under_way = self.sweep.as_ref().map(|sweep| sweep.request);
        // What somebody asks for reads everything, so a sweep that rests is not missed when it gives way.
        if under_way.is_none_or(|own| asked && own != request) {
            if !asked && now < self.next_at {
                return None;
            }
            self.begin(spool, if asked { request } else { 0 }, now);
        }
        let sweep = self.sweep.as_mut()?;
        if sweep.request == 0 && now < self.next_at {
            return None;
        }
        let Some(plan) = sweep.next_plan(spool) else {
            self.end(spool, damage, now);
            return None;
        };
        self.out = true;
        let bytes = match sweep.request {
            0 => STEP_BYTES,
            _ => STEP_BYTES_ASKED,
        };
        Some(CheckTask { plan, bytes })
    }

    fn begin<F: Fs>(&mut self, spool: &Spool<F>, request: u64, now: Time) {
        self.news = true;
        self.sweep = Some(Sweep {
            request,
            scope: spool.check_scope(0, request > 0),
            after: 0,
            mark: None,
            part: [0; 3],
            report: LogCheckReport {
                asked: request > 0,
                began: now,
                ..LogCheckReport::default()
            },
        });
    }

    /// Takes the result of a step.
    pub(crate) fn take<F: Fs>(
        &mut self,
        result: CheckResult<F::File>,
        spool: &mut Spool<F>,
        dealer: &mut Dealer,
        damage: &mut LogDamage,
        now: Time,
    ) {
        let CheckResult {
            plan,
            outcome,
            took,
        } = result;
        self.out = false;
        self.next_at = now + (took * REST).max(REST_MIN);
        let Some(sweep) = &mut self.sweep else {
            return;
        };
        let part = [plan.frames(), plan.records(), plan.bytes()];
        self.status.bytes += part[2] - sweep.part[2];
        sweep.part = part;
        match outcome {
            Ok((Checked::Right, _)) => sweep.mark = Some(plan.mark()),
            Ok((Checked::Damage(found), _)) => {
                sweep.mark = Some(plan.mark());
                damage.report(&found, spool, dealer, now);
                sweep.report.damaged += 1;
                if sweep.report.damage.len() < LISTED_MAX {
                    sweep.report.damage.push(found);
                }
            }
            Ok((Checked::End, pages)) => {
                sweep.report.segments += 1;
                sweep.note_pages(pages, plan.slot());
                sweep.end_segment(plan.epoch());
            }
            Err(error) => {
                // That is no damage: the segment is read again by the next sweep, and by lanes that need it.
                tracing::error!(%error, segment = plan.slot(), "spool cannot be read");
                sweep.report.unreadable += 1;
                sweep.report.error = Some(error.to_string());
                sweep.end_segment(plan.epoch());
            }
        }
        if sweep.mark.is_none() && sweep.after >= sweep.scope.last {
            self.end(spool, damage, now);
        }
    }

    fn end<F: Fs>(&mut self, spool: &Spool<F>, damage: &LogDamage, now: Time) {
        let Some(mut sweep) = self.sweep.take() else {
            return;
        };
        self.news = true;
        self.next_at = now + PAUSE;
        let report = &mut sweep.report;
        report.ended = now;
        report.lost = spool.stat().counters.records_lost;
        report.undecided = damage.undecided(spool);
        say(report);
        let report = Arc::new(sweep.report);
        if sweep.request > 0 {
            self.status.answered = sweep.request;
            self.status.answer = Some(Arc::clone(&report));
        }
        self.status.ended += 1;
        self.status.last = Some(report);
    }

    /// When a step is due.
    pub(crate) fn next_deadline(&self) -> Time {
        match self.out {
            true => Time::NEVER,
            false => self.next_at,
        }
    }

    /// True once after a sweep began or ended.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// What can be seen of the sweeps from outside.
    pub(crate) fn status(&self) -> LogCheckStatus {
        LogCheckStatus {
            under_way: self.sweep.as_ref().map(|sweep| LogCheckProgress {
                asked: sweep.request > 0,
                began: sweep.report.began,
                segments_read: sweep.report.segments,
                segments: sweep.scope.segments as u64,
                bytes: sweep.report.bytes + sweep.part[2],
                damaged: sweep.report.damaged,
            }),
            ..self.status.clone()
        }
    }
}

impl Sweep {
    fn next_plan<F: Fs>(&mut self, spool: &Spool<F>) -> Option<CheckPlan<F::File>> {
        if let Some(mark) = &self.mark {
            if let Some(plan) = spool.resume_check(mark) {
                return Some(plan);
            }
            // Everything in it was settled meanwhile.
            self.end_segment(mark.epoch());
        }
        spool
            .plan_check(self.after)
            .filter(|plan| plan.epoch() <= self.scope.last)
    }

    fn end_segment(&mut self, epoch: u64) {
        self.after = epoch;
        self.mark = None;
        let [frames, records, bytes] = std::mem::take(&mut self.part);
        self.report.frames += frames;
        self.report.records += records;
        self.report.bytes += bytes;
    }

    fn note_pages(&mut self, pages: Pages, slot: u32) {
        if !pages.header && !pages.footer {
            return;
        }
        tracing::error!(
            segment = slot,
            header = pages.header,
            footer = pages.footer,
            "spool damaged: pages beside the records"
        );
        let count = u64::from(pages.header) + u64::from(pages.footer);
        self.report.damaged += count;
        if self.report.pages.len() < LISTED_MAX {
            self.report.pages.push((slot, pages));
        }
    }
}

/// Each damaged place was told when it was found.
fn say(report: &LogCheckReport) {
    let seconds = report.ended.since(report.began).as_secs_f64();
    let LogCheckReport {
        segments,
        bytes,
        damaged,
        unreadable,
        lost,
        undecided,
        ..
    } = *report;
    if damaged + unreadable > 0 {
        tracing::error!(
            segments,
            bytes,
            damaged,
            unreadable,
            lost,
            undecided,
            seconds,
            "the spool was read: it is damaged"
        );
    } else if report.asked {
        tracing::info!(segments, bytes, seconds, "the spool was read: it is whole");
    } else {
        tracing::debug!(segments, bytes, seconds, "the spool was read: it is whole");
    }
}
