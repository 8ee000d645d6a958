//! When to ask for the shards of a stream, and what an answer means.
//!
//! A synchronous state machine beside the [`Aggregator`](crate::aggregator::Aggregator): it says when a look is due and
//! takes the answers; the sender makes the calls. At most one look per stream is under way.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use forebay_core::{Entropy, Shard, ShardMap, Time};

use crate::api::StreamSummary;
use crate::backoff::Backoff;
use crate::classify::CallError;

/// Time between two looks at a stream that reshards by itself, or of which that is not known.
const INTERVAL_ON_DEMAND: Duration = Duration::from_secs(60);
/// The same for a stream that reshards on request only.
const INTERVAL_PROVISIONED: Duration = Duration::from_secs(300);
/// The same while the stream is being resharded.
const INTERVAL_UPDATING: Duration = Duration::from_secs(5);

/// What one look brought: the list of open shards, and what the stream is like.
#[derive(Debug, Clone)]
pub struct Look {
    /// The open shards.
    pub shards: Result<Vec<Shard>, CallError>,
    /// The summary; optional, because it only makes things better.
    pub summary: Result<StreamSummary, CallError>,
}

/// What a look means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The map in force is still right.
    Unchanged,
    /// There is a new map. With `recreated` it is another stream of the same name: what was learned about the old one
    /// is void.
    Changed {
        /// The new map.
        map: Arc<ShardMap>,
        /// True for another stream of the same name.
        recreated: bool,
    },
    /// No map could be had; the one in force, if any, stays.
    Failed {
        /// Error code.
        code: CompactString,
        /// What was said.
        message: String,
    },
}

/// The search for the shards of one stream.
#[derive(Debug)]
pub struct Discovery {
    map: Option<Arc<ShardMap>>,
    /// When the map in force was asked for.
    asked: Time,
    created_ms: Option<i64>,
    record_bytes_max: Option<usize>,
    due: Time,
    /// A look is under way since then.
    under_way: Option<Time>,
    failures: u32,
    /// Looks in a row that a suspicion caused and that found nothing new.
    fruitless: u32,
    /// Suspicions before this cause no look.
    quiet_until: Time,
    suspected: bool,
}

impl Discovery {
    /// A search that begins at `now`.
    pub fn new(now: Time) -> Self {
        Self {
            map: None,
            asked: Time::ZERO,
            created_ms: None,
            record_bytes_max: None,
            due: now,
            under_way: None,
            failures: 0,
            fruitless: 0,
            quiet_until: Time::ZERO,
            suspected: false,
        }
    }

    /// When the next look is due; [`Time::NEVER`] while one is under way.
    pub fn due(&self) -> Time {
        if self.under_way.is_some() {
            Time::NEVER
        } else {
            self.due
        }
    }

    /// Begins a look if one is due. The caller makes the calls and brings the answer to [`found`](Self::found).
    pub fn begin(&mut self, now: Time) -> bool {
        let begins = self.due() <= now;
        if begins {
            self.under_way = Some(now);
        }
        begins
    }

    /// Records arrived in another shard than predicted, in a request of time `sent`. A map that was asked for later
    /// says so already; looks that keep finding nothing new become rarer.
    pub fn suspect(&mut self, sent: Time, now: Time) {
        if sent < self.asked {
            return;
        }
        self.suspected = true;
        self.due = self.due.min(now.max(self.quiet_until));
    }

    /// The service says that the stream does not exist.
    pub fn not_found(&mut self, now: Time) {
        self.suspected = true;
        self.due = self.due.min(now.max(self.quiet_until));
    }

    /// Counted bytes that one record of the stream may have, when that is known.
    pub fn record_bytes_max(&self) -> Option<usize> {
        self.record_bytes_max
    }

    /// Takes what a look brought.
    pub fn found(&mut self, look: Look, now: Time, entropy: &mut dyn Entropy) -> Finding {
        let begun = self.under_way.take().unwrap_or(now);
        let summary = look.summary.unwrap_or_default();
        if summary.record_bytes_max.is_some() {
            self.record_bytes_max = summary.record_bytes_max;
        }
        let shards = match look.shards {
            Ok(shards) => shards,
            Err(error) => return self.failed(error.code, error.message, now, entropy),
        };
        let map = match ShardMap::new(shards) {
            Ok(map) => Arc::new(map),
            // Possible for a moment while a stream is resharded.
            Err(error) => {
                return self.failed("IncompleteShardMap".into(), error.to_string(), now, entropy);
            }
        };
        self.failures = 0;
        self.asked = begun;
        self.due = now + interval(&summary, entropy);
        let recreated =
            matches!((self.created_ms, summary.created_ms), (Some(old), Some(new)) if old != new);
        self.created_ms = summary.created_ms.or(self.created_ms);
        if self.map.as_ref() == Some(&map) && !recreated {
            self.stay_calm(now, entropy);
            return Finding::Unchanged;
        }
        self.fruitless = 0;
        self.suspected = false;
        self.map = Some(Arc::clone(&map));
        Finding::Changed { map, recreated }
    }

    fn failed(
        &mut self,
        code: CompactString,
        message: String,
        now: Time,
        entropy: &mut dyn Entropy,
    ) -> Finding {
        self.failures = self.failures.saturating_add(1);
        self.due = now + Backoff::Discovery.delay(self.failures, entropy);
        self.quiet_until = self.due;
        Finding::Failed { code, message }
    }

    fn stay_calm(&mut self, now: Time, entropy: &mut dyn Entropy) {
        if std::mem::take(&mut self.suspected) {
            self.fruitless = self.fruitless.saturating_add(1);
            self.quiet_until = now + Backoff::Discovery.delay(self.fruitless, entropy);
        }
    }
}

/// Time to the next look, a fifth more or less so that streams do not fall into step.
fn interval(summary: &StreamSummary, entropy: &mut dyn Entropy) -> Duration {
    let interval = if summary.updating {
        INTERVAL_UPDATING
    } else if summary.on_demand || summary.created_ms.is_none() {
        INTERVAL_ON_DEMAND
    } else {
        INTERVAL_PROVISIONED
    };
    let fifth = u64::try_from((interval / 5).as_nanos()).unwrap_or(u64::MAX / 2);
    interval - interval / 5 + Duration::from_nanos(entropy.below(2 * fifth + 1))
}

#[cfg(test)]
mod tests {
    use forebay_core::SeededEntropy;

    use super::*;
    use crate::classify::CallFailure;

    const START: Time = Time::from_millis(50_000);

    fn shards(count: u32) -> Vec<Shard> {
        ShardMap::even(count).unwrap().shards().to_vec()
    }

    fn look(count: u32, created_ms: Option<i64>) -> Look {
        let summary = StreamSummary {
            created_ms,
            ..StreamSummary::default()
        };
        Look {
            shards: Ok(shards(count)),
            summary: Ok(summary),
        }
    }

    fn refused(code: &str) -> CallError {
        CallError::local(CallFailure::Service(400), code, "scripted")
    }

    struct Stand {
        discovery: Discovery,
        entropy: SeededEntropy,
        now: Time,
    }

    impl Stand {
        fn new() -> Self {
            Self {
                discovery: Discovery::new(START),
                entropy: SeededEntropy::new(3),
                now: START,
            }
        }

        /// Waits until a look is due and answers it. Returns the finding and how long it took to become due.
        fn next(&mut self, look: Look) -> (Finding, Duration) {
            let before = self.now;
            self.now = self.now.max(self.discovery.due());
            assert!(self.discovery.begin(self.now));
            assert!(!self.discovery.begin(self.now), "one look at a time");
            let finding = self.discovery.found(look, self.now, &mut self.entropy);
            (finding, self.now.since(before))
        }
    }

    #[test]
    fn a_map_is_found_at_once_and_looked_after_at_its_interval() {
        let mut stand = Stand::new();
        let (finding, after) = stand.next(look(4, Some(1)));
        assert!(matches!(finding, Finding::Changed { map, recreated: false } if map.len() == 4));
        assert_eq!(after, Duration::ZERO);
        let (finding, after) = stand.next(look(4, Some(1)));
        assert_eq!(finding, Finding::Unchanged);
        assert!((240..=360).contains(&after.as_secs()), "{after:?}");
        stand.next(look(4, None));
        let (_, after) = stand.next(look(4, None));
        assert!((48..=72).contains(&after.as_secs()), "{after:?}");
    }

    #[test]
    fn refusals_are_repeated_with_growing_delays_up_to_fifteen_seconds() {
        let mut stand = Stand::new();
        let mut longest = Duration::ZERO;
        for turn in 0..30 {
            let error = refused("ResourceNotFoundException");
            let (finding, after) = stand.next(Look {
                shards: Err(error.clone()),
                summary: Err(error),
            });
            assert!(
                matches!(finding, Finding::Failed { code, .. } if code == "ResourceNotFoundException")
            );
            assert!(
                turn == 0 || after >= Duration::from_millis(500),
                "{after:?}"
            );
            longest = longest.max(after);
        }
        assert!((10..=15).contains(&longest.as_secs()), "{longest:?}");
        let (finding, _) = stand.next(look(1, None));
        assert!(matches!(finding, Finding::Changed { .. }));
    }

    #[test]
    fn a_map_with_a_gap_is_not_taken() {
        let mut stand = Stand::new();
        let mut incomplete = look(4, None);
        incomplete.shards.as_mut().unwrap().remove(1);
        let (finding, _) = stand.next(incomplete);
        assert!(matches!(finding, Finding::Failed { code, .. } if code == "IncompleteShardMap"));
    }

    #[test]
    fn a_stream_made_anew_is_recognised_by_its_creation_time() {
        let mut stand = Stand::new();
        stand.next(look(2, Some(1)));
        let (finding, _) = stand.next(look(2, Some(2)));
        assert!(matches!(
            finding,
            Finding::Changed {
                recreated: true,
                ..
            }
        ));
    }

    #[test]
    fn suspicions_cause_looks_that_become_rarer_while_they_find_nothing() {
        let mut stand = Stand::new();
        stand.next(look(2, Some(1)));
        let mut waits = Vec::new();
        for _ in 0..12 {
            stand.now += Duration::from_millis(1);
            stand.discovery.suspect(stand.now, stand.now);
            waits.push(stand.next(look(2, Some(1))).1);
        }
        assert_eq!(waits[0], Duration::ZERO);
        assert!(waits[1] <= Duration::from_secs(1));
        assert!(waits[11] >= Duration::from_secs(5), "{waits:?}");
        // What was sent before the map was asked for proves nothing against it.
        let before = stand.discovery.due();
        stand.discovery.suspect(START, stand.now);
        assert_eq!(stand.discovery.due(), before);
    }
}
