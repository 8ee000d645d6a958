//! What a message costs, measured here and now.

use std::time::Duration;

use forebay_core::{Clock, Message, SeededEntropy, SystemClock};
use forebay_rules::{Evaluated, RuleOutcome, RuleSet, Scratch};

/// Rounds, of which the median counts: an odd number.
const ROUNDS: usize = 9;
/// About how long a round takes.
const ROUND: Duration = Duration::from_millis(20);
/// Evaluations of a round.
const EVALUATIONS_MAX: u32 = 1_000_000;

/// The cost of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// Nanoseconds of one evaluation: median, fastest and slowest round.
    pub(super) median_ns: f64,
    pub(super) min_ns: f64,
    pub(super) max_ns: f64,
    pub(super) rounds: usize,
    /// Evaluations of each round.
    pub(super) evaluations: u32,
}

/// Something to evaluate again and again, with its buffers.
struct Bench<'a> {
    rules: &'a RuleSet,
    message: &'a Message<'a>,
    scratch: Scratch,
    entropy: SeededEntropy,
    out: Evaluated,
    clock: SystemClock,
}

impl Bench<'_> {
    /// The time of so many evaluations.
    fn time(&mut self, evaluations: u32) -> Duration {
        let start = self.clock.now();
        for _ in 0..evaluations {
            let message = std::hint::black_box(self.message);
            self.rules
                .evaluate(message, &mut self.scratch, &mut self.entropy, &mut self.out);
            std::hint::black_box(&self.out);
        }
        self.clock.now().since(start)
    }
}

/// How the set's only rule ends for this message.
pub(super) fn outcome(rules: &RuleSet, message: &Message<'_>) -> Option<RuleOutcome> {
    let mut out = Evaluated::default();
    let (mut scratch, mut entropy) = (Scratch::default(), SeededEntropy::new(1));
    rules.evaluate(message, &mut scratch, &mut entropy, &mut out);
    out.outcomes.first().map(|(_, outcome)| *outcome)
}

/// Evaluates the message over and over: matching, statement, templates and the copy of the output.
pub(super) fn measure(rules: &RuleSet, message: &Message<'_>) -> Measured {
    let mut bench = Bench {
        rules,
        message,
        scratch: Scratch::default(),
        entropy: SeededEntropy::new(1),
        out: Evaluated::default(),
        clock: SystemClock::new(),
    };
    let evaluations = calibrate(&mut bench);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| bench.time(evaluations).as_secs_f64() * 1e9 / f64::from(evaluations))
        .collect();
    rounds.sort_by(f64::total_cmp);
    let at = |index: usize| rounds.get(index).copied().unwrap_or_default();
    Measured {
        median_ns: at(ROUNDS / 2),
        min_ns: at(0),
        max_ns: at(ROUNDS - 1),
        rounds: ROUNDS,
        evaluations,
    }
}

/// How many evaluations take about as long as a round; buffers and caches are warm afterwards.
fn calibrate(bench: &mut Bench<'_>) -> u32 {
    let mut evaluations = 1;
    loop {
        let took = bench.time(evaluations);
        if took >= ROUND / 4 || evaluations >= EVALUATIONS_MAX {
            let one = took.as_secs_f64() / f64::from(evaluations);
            let wanted = (ROUND.as_secs_f64() / one.max(1e-9)).min(f64::from(EVALUATIONS_MAX));
            // At least one, at most the limit: both fit.
            return (wanted as u32).max(1);
        }
        evaluations *= 4;
    }
}
