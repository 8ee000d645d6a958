//! What was published against what the streams hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::duplicates::{Counted, Excuses};
use forebay_tests::kinesis::Record;
use forebay_tests::oracle::{Findings, Numbered, compare};

use crate::ACK;
use crate::device::Delivery;
use crate::message::identify;
use crate::site::{STREAMS, STRICT, Site, wall_ms};

/// What settles in the broker is durable after so many milliseconds; what was settled later is sent again. The rest is
/// for a machine that does other things too: the flush itself, and threads that wait for a processor.
const UNSETTLED_MS: u64 = 100 + 900;
/// A request that was on its way when the broker died may be stored so much later.
const IN_FLIGHT_MS: u64 = 1000;
/// What a broker sent just before it died arrives so much later at most, unless the stream is in trouble.
const ON_THE_WAY_MS: u64 = 100;
/// Messages of a stream that are named when something is wrong with them.
const SHOWN: usize = 10;

/// What is owed and why some of it may be there twice.
#[derive(Debug, Default)]
pub(crate) struct Account {
    published: BTreeMap<String, u64>,
    given_up: BTreeSet<Numbered>,
    excuses: Excuses,
    answered_ms: BTreeMap<Numbered, u64>,
    kills_ms: Vec<u64>,
    /// What brokers counted as possible duplicates, by stream; empty when nobody looked.
    counted: BTreeMap<&'static str, Counted>,
    /// Whether a shard refused records, so that records of a key may have changed places in a stream without `strict`.
    throttled: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) published: u64,
    pub(crate) repeats: u64,
    pub(crate) records: usize,
    pub(crate) duplicates: usize,
    /// By stream.
    pub(crate) findings: BTreeMap<&'static str, Findings>,
    pub(crate) unexcused: Vec<Numbered>,
    /// By stream where brokers were looked at: duplicates that they must have counted, and what they counted.
    counted: BTreeMap<&'static str, (u64, u64)>,
    given_up: usize,
    /// Messages that are in one stream and not in another, though nobody has promised anything about them.
    halved: Vec<Numbered>,
    /// Some of what is lost or there too often, for a person.
    shown: Vec<String>,
    throttled: bool,
}

/// A look at the counters of a broker.
#[derive(Debug)]
pub(crate) struct Look {
    seen: bool,
    at_ms: u64,
}

// === impl Account ===

impl Account {
    /// Takes in what a device published.
    pub(crate) fn add(&mut self, delivery: Delivery) {
        self.published.extend(delivery.published);
        self.given_up.extend(delivery.given_up);
        self.answered_ms.extend(delivery.answered_ms);
        for (message, repeats) in delivery.repeats {
            *self.excuses.repeats.entry(message).or_default() += repeats;
        }
    }

    /// Takes in a single message.
    pub(crate) fn add_message(&mut self, key: &str) {
        self.published.insert(key.to_owned(), 1);
    }

    /// The broker was killed at this time: what was settled just before and what was in flight may come again.
    pub(crate) fn killed(&mut self, at_ms: u64) {
        let span = at_ms - UNSETTLED_MS..=at_ms + IN_FLIGHT_MS;
        self.excuses.spans.push(span);
        self.kills_ms.push(at_ms);
    }

    /// Takes in what a broker counted as possible duplicates, if it can be asked: the last time that it is.
    pub(crate) fn look(&mut self, site: &Site) -> Result<Look> {
        let at_ms = wall_ms();
        let seen = site.is_ready();
        if seen {
            let metrics = site.metrics()?;
            for stream in STREAMS {
                let name = "forebay_kinesis_possible_duplicates_total";
                let records = metrics.sum(name, &[("stream", stream)]);
                self.counted.entry(stream).or_default().records += records as u64;
            }
        }
        Ok(Look { seen, at_ms })
    }

    /// The broker that was looked at lived from then to then.
    pub(crate) fn lived(&mut self, look: &Look, from_ms: u64, to_ms: u64) {
        let from_ms = if look.seen { look.at_ms } else { from_ms };
        for stream in STREAMS {
            let counted = self.counted.entry(stream).or_default();
            counted.unseen.push(from_ms..=to_ms + ON_THE_WAY_MS);
        }
    }

    /// From then to then the broker could not know what became of its requests.
    pub(crate) fn doubtful(&mut self, from_ms: u64, to_ms: u64) {
        self.excuses.spans.push(from_ms..=to_ms + IN_FLIGHT_MS);
    }

    pub(crate) fn throttled(&mut self) {
        self.throttled = true;
    }

    /// Reads the streams and compares.
    pub(crate) fn judge(&self, site: &Site) -> Result<Verdict> {
        let mut verdict = Verdict {
            published: self.published.values().sum(),
            repeats: self.excuses.repeats.values().sum(),
            throttled: self.throttled,
            ..Verdict::default()
        };
        let mut absent: Vec<Vec<Numbered>> = Vec::new();
        for stream in STREAMS {
            let records = site.records(stream)?;
            let mut findings = compare(&self.published, &records, identify)?;
            let (given_up, lost) = std::mem::take(&mut findings.lost)
                .into_iter()
                .partition(|message| self.given_up.contains(message));
            findings.lost = lost;
            absent.push(given_up);
            verdict.records += records.len();
            verdict.duplicates += findings.duplicated.len();
            let lost = findings.lost.iter().take(SHOWN);
            verdict.shown.extend(lost.map(|lost| self.fate(lost)));
            let unexcused = self.excuses.unexcused(&records, identify)?;
            let shown = unexcused.iter().take(SHOWN);
            verdict
                .shown
                .extend(shown.map(|message| self.arrivals(stream, message, &records)));
            verdict.unexcused.extend(unexcused);
            if let Some(counted) = self.counted.get(stream) {
                let required = counted.required(&self.excuses.repeats, &records, identify)?;
                verdict.counted.insert(stream, (required, counted.records));
            }
            verdict.findings.insert(stream, findings);
        }
        // Without an answer a message may be kept or not, but not in a part of its streams.
        let halved = |message: &&Numbered| absent.iter().any(|absent| !absent.contains(message));
        let all = absent.iter().flatten();
        verdict.halved = all.filter(halved).cloned().collect();
        verdict.given_up = self.given_up.len();
        Ok(verdict)
    }

    /// When each record of a message arrived, and how long before the next kill.
    fn arrivals(&self, stream: &str, message: &Numbered, records: &[Record]) -> String {
        let mut shown = format!("{message:?} in {stream}");
        for record in records {
            if identify(record).ok().as_ref() != Some(message) {
                continue;
            }
            let at = record.arrival_ms;
            let before = match self.kills_ms.iter().position(|kill| *kill >= at) {
                Some(kill) => format!("{} ms before kill {kill}", self.kills_ms[kill] - at),
                None => "after the last kill".to_owned(),
            };
            shown.push_str(&format!(", at {at}, {before}"));
        }
        shown
    }

    /// A lost message and how long after its answer the broker was killed.
    fn fate(&self, lost: &Numbered) -> String {
        let answered = self.answered_ms.get(lost).copied();
        let kill = |answered: u64| self.kills_ms.iter().find(|kill| **kill >= answered);
        match answered.map(|answered| (answered, kill(answered))) {
            Some((answered, Some(kill))) => {
                format!("{lost:?}, answered {} ms before a kill", kill - answered)
            }
            Some((_, None)) => format!("{lost:?}, answered after the last kill"),
            None => format!("{lost:?}"),
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// How many messages are missing from a stream.
    pub(crate) fn lost(&self) -> usize {
        self.findings.values().map(|found| found.lost.len()).sum()
    }

    /// Everything that was answered is there with all its bytes, in the order of each key, and not too often.
    pub(crate) fn expect_kept(&self) -> Result<()> {
        for (stream, findings) in &self.findings {
            let judge = || -> Result<()> {
                findings.expect_complete()?;
                if *stream == STRICT || !self.throttled {
                    findings.expect_ordered()?;
                }
                Ok(())
            };
            judge().with_context(|| format!("stream {stream}; {self}"))?;
        }
        ensure!(
            ACK != "spool" || self.halved.is_empty(),
            "{} messages in a part of their streams ({:?} first); {self}",
            self.halved.len(),
            self.halved.first()
        );
        ensure!(
            self.unexcused.is_empty(),
            "{} duplicates without a cause ({:?} first); {self}",
            self.unexcused.len(),
            self.unexcused.first()
        );
        for (stream, (required, counted)) in &self.counted {
            ensure!(
                required <= counted,
                "stream {stream}: {required} duplicates, {counted} of which were counted; {self}"
            );
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages, {} sent again, {} given up; {} records, {} of them duplicates, {} lost",
            self.published,
            self.repeats,
            self.given_up,
            self.records,
            self.duplicates,
            self.lost()
        )?;
        for (stream, (required, counted)) in &self.counted {
            write!(f, "; {stream}: {required} to be counted, {counted} were")?;
        }
        self.shown.iter().try_for_each(|lost| write!(f, "\n{lost}"))
    }
}
