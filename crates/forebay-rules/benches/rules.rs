//! What the rules cost per message, beside what simd-json's tape costs for the same payload, and what many rules cost.
//!
//! - `cargo bench -p forebay-rules` measures each subject with criterion.
//! - `cargo bench -p forebay-rules -- ratios` measures all of them in turns, so that whatever else the machine does
//!   falls on all alike, and prints their ratios to the tape; before that 10 000 rules: load time, memory, matching.
//! - `cargo bench -p forebay-rules -- sizes` tells what parsing costs by the size of a payload and by what is in it.
//! - `cargo bench -p forebay-rules -- loop NAME N` does one subject N times, for a program that counts instructions.
#![expect(
    clippy::print_stdout,
    reason = "a bench prints what it measured to standard output"
)]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use forebay_core::{Clock, Message, Origin, SeededEntropy, SystemClock, Time};
use forebay_rules::{
    Evaluated, JsonReader, RuleDocument, RuleLimits, RuleSet, RuleSettings, Scratch,
};
use simd_json::{Buffers, Tape, fill_tape};

/// 256 bytes of telemetry.
const PAYLOAD: &[u8] = include_bytes!("../../../benches/benches/telemetry-256.json");
const TOPIC: &str = "dt/device-17/telemetry";
/// Turns of a comparison; the median ratio counts.
const TURNS: usize = 201;
/// Calls of one turn.
const CALLS: u32 = 2000;
/// Bytes that one turn of a payload of some size parses.
const BYTES_OF_A_TURN: usize = 4_000_000;
/// Rules of a large set.
const MANY: usize = 10_000;

/// The subjects besides the tape: name, and the statement or nothing for the glance at the payload.
const SUBJECTS: [(&str, Option<&str>); 5] = [
    ("pre-scan", None),
    ("verbatim", Some("SELECT * FROM 'dt/#'")),
    ("spliced", Some("SELECT *, topic(2) AS d FROM 'dt/#'")),
    (
        "selected",
        Some("SELECT temperature, location.lat FROM 'dt/#' WHERE temperature > 20"),
    ),
    (
        "filtered",
        Some("SELECT temperature, location.lat FROM 'dt/#' WHERE temperature > 50"),
    ),
];

/// The yardstick: simd-json parses in place, so a message costs a copy and a parse.
struct TapeParse {
    input: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl TapeParse {
    fn new() -> Self {
        Self {
            input: Vec::new(),
            buffers: Buffers::default(),
            tape: Tape(Vec::new()),
        }
    }

    fn parse(&mut self) {
        self.input.clear();
        self.input.extend_from_slice(black_box(PAYLOAD));
        let mut tape: Tape<'_> = std::mem::replace(&mut self.tape, Tape(Vec::new()));
        fill_tape(&mut self.input, &mut self.buffers, &mut tape).expect("the payload is JSON");
        black_box(&tape);
        self.tape = tape.reset();
    }
}

fn document(name: &str, sql: &str) -> RuleDocument {
    let text = serde_json::json!({
        "sql": sql,
        "awsIotSqlVersion": "2016-03-23",
        "actions": [{"kinesis": {
            "streamName": "telemetry", "partitionKey": "${topic()}", "roleArn": "arn:aws:iam::1:role/r"
        }}],
    });
    RuleDocument::from_json(text.to_string().as_bytes(), Some(name)).expect("a document")
}

fn set(documents: Vec<RuleDocument>) -> RuleSet {
    let rules = documents
        .into_iter()
        .map(|document| (document, RuleSettings::default()))
        .collect();
    RuleSet::build(rules, RuleLimits::default()).expect("valid rules")
}

/// Rules and what evaluating one message again and again needs.
struct Rules {
    set: RuleSet,
    payload: Bytes,
    scratch: Scratch,
    entropy: SeededEntropy,
    out: Evaluated,
}

impl Rules {
    fn new(set: RuleSet) -> Self {
        Self {
            set,
            payload: Bytes::from_static(PAYLOAD),
            scratch: Scratch::default(),
            entropy: SeededEntropy::new(1),
            out: Evaluated::default(),
        }
    }

    fn evaluate(&mut self, topic: &str) {
        let message = Message {
            topic: black_box(topic),
            payload: &self.payload,
            client_id: Some("device-17"),
            timestamp_ms: 1,
            origin: &Origin::UNKNOWN,
        };
        self.set.evaluate(
            &message,
            &mut self.scratch,
            &mut self.entropy,
            &mut self.out,
        );
        black_box(&self.out);
    }
}

/// A subject by name; the tape for `tape`.
fn subject(name: &str) -> Option<Box<dyn FnMut()>> {
    if name == "tape" {
        let mut tape = TapeParse::new();
        return Some(Box::new(move || tape.parse()));
    }
    let (_, sql) = SUBJECTS.iter().find(|(known, _)| *known == name)?;
    Some(match sql {
        None => Box::new(|| {
            black_box(JsonReader::of(black_box(PAYLOAD)));
        }),
        Some(sql) => {
            let mut rules = Rules::new(set(vec![document("bench", sql)]));
            Box::new(move || rules.evaluate(TOPIC))
        }
    })
}

fn with_criterion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    for name in ["tape"].into_iter().chain(SUBJECTS.map(|(name, _)| name)) {
        let mut call = subject(name).expect("a known subject");
        group.bench_function(name, |bencher| bencher.iter(&mut call));
    }
    for count in [1, MANY] {
        let mut rules = Rules::new(set(many(count)));
        group.bench_function(format!("one of {count} rules matches"), |bencher| {
            bencher.iter(|| rules.evaluate("dt/device-0/telemetry"));
        });
    }
    group.finish();
}

/// Nanoseconds of one call.
fn turn(call: &mut dyn FnMut()) -> f64 {
    let clock = SystemClock::new();
    let start: Time = clock.now();
    for _ in 0..CALLS {
        call();
    }
    clock.now().since(start).as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Measures several subjects in turns: the median time of each, and the median of its ratio to the first.
fn in_turns(calls: &mut [Box<dyn FnMut() + '_>]) -> Vec<(f64, f64)> {
    let mut times = vec![Vec::with_capacity(TURNS); calls.len()];
    let mut ratios = times.clone();
    for _ in 0..TURNS {
        let turns: Vec<f64> = calls.iter_mut().map(|call| turn(call)).collect();
        for (index, time) in turns.iter().enumerate() {
            times[index].push(*time);
            ratios[index].push(time / turns[0]);
        }
    }
    times
        .into_iter()
        .map(median)
        .zip(ratios.into_iter().map(median))
        .collect()
}

fn ratios() {
    let names: Vec<&str> = ["tape"]
        .into_iter()
        .chain(SUBJECTS.map(|(name, _)| name))
        .collect();
    let mut calls: Vec<Box<dyn FnMut()>> = names
        .iter()
        .map(|name| subject(name).expect("a known subject"))
        .collect();
    println!("256 B of telemetry, medians of {TURNS} turns of {CALLS} calls");
    println!("subject      ns    to tape");
    for (name, (time, ratio)) in names.iter().zip(in_turns(&mut calls)) {
        println!("{name:9} {time:5.0}    {ratio:5.2}");
    }
}

/// What parsing costs by the kind and the size of a payload, in nanoseconds per KiB. One size is beyond that up to which
/// the exact parser reads a payload: while the next smaller one costs less, the bound is not too high.
fn sizes() {
    let statement = "SELECT * FROM 'dt/#' WHERE isUndefined(nothing)";
    let telemetry = String::from_utf8_lossy(PAYLOAD);
    let quoted = |text: &str| format!("\"{}\"", text.repeat(20));
    let kinds = [
        ("telemetry", telemetry.to_string()),
        (
            "indented",
            telemetry.replace(',', ",\n    ").replace(':', ": "),
        ),
        (
            "numbers",
            "[12.5,13.25,-7,100234,0.001,99.9,1700000000123]".to_owned(),
        ),
        ("prose", quoted("the quick brown fox jumps; ")),
        ("umlauts", quoted("zwölf Boxkämpfer über Öl; ")),
        ("escapes", quoted("a line of forty characters or so\\n")),
    ];
    println!("\nkind         bytes  parser  ns per KiB");
    for (kind, unit) in kinds {
        for size in [1, 4, 16, 120, 140].map(|kib| kib * 1024) {
            let copies = vec![unit.as_str(); size / unit.len() + 1];
            let payload = format!("{{\"all\":[{}]}}", copies.join(","));
            let mut rules = Rules::new(set(vec![document("bench", statement)]));
            rules.payload = Bytes::from(payload);
            let bytes = rules.payload.len();
            let reader = JsonReader::of(&rules.payload);
            let each = turns_of(BYTES_OF_A_TURN / bytes, || rules.evaluate(TOPIC));
            let each = each * 1024.0 / bytes as f64;
            println!("{kind:10} {bytes:7}  {reader:?}  {each:8.0}");
        }
    }
}

/// Median nanoseconds of one call in a few turns of so many calls.
fn turns_of(calls: usize, mut call: impl FnMut()) -> f64 {
    let clock = SystemClock::new();
    let times = (0..21).map(|_| {
        let start = clock.now();
        for _ in 0..calls {
            call();
        }
        clock.now().since(start).as_secs_f64() * 1e9 / calls as f64
    });
    median(times.collect())
}

/// Rules with a topic of their own each, as many devices' rules have.
fn many(count: usize) -> Vec<RuleDocument> {
    (0..count)
        .map(|index| {
            let sql = format!(
                "SELECT *, topic(2) AS d FROM 'dt/device-{index}/+' WHERE temperature > 20"
            );
            document(&format!("rule_{index}"), &sql)
        })
        .collect()
}

/// Resident memory of the process in bytes; `None` where the system does not say.
fn resident() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096.0)
}

fn scale() {
    let before = resident();
    let clock = SystemClock::new();
    let start = clock.now();
    let documents = many(MANY);
    let read: Duration = clock.now().since(start);
    let large = set(documents);
    let loaded = clock.now().since(start);
    println!("\n{MANY} rules: read in {read:.0?}, ready after {loaded:.0?}");
    if let Some((before, after)) = before.zip(resident()) {
        let each = (after - before) / MANY as f64;
        println!("resident memory: {each:.0} bytes per rule, document and program");
    }
    let mut small = Rules::new(set(many(1)));
    let mut large = Rules::new(large);
    let last = format!("dt/device-{}/telemetry", MANY - 1);
    let mut calls: Vec<Box<dyn FnMut() + '_>> = vec![
        Box::new(|| small.evaluate("dt/device-0/telemetry")),
        Box::new(|| large.evaluate(&last)),
    ];
    let measured = in_turns(&mut calls);
    drop(calls);
    let mut calls: Vec<Box<dyn FnMut() + '_>> = vec![
        Box::new(|| small.evaluate("dt/nobody/telemetry")),
        Box::new(|| large.evaluate("dt/nobody/telemetry")),
    ];
    let unmatched = in_turns(&mut calls);
    println!("one matches        of 1   of {MANY}   ratio");
    for (name, measured) in [("one matches", measured), ("none matches", unmatched)] {
        if let [(one, _), (all, ratio)] = measured.as_slice() {
            println!("{name:13} {one:6.0} ns {all:6.0} ns   {ratio:5.2}");
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ratios"] => {
            // First, while the process is small: what the set takes is told from what the process takes.
            scale();
            ratios();
        }
        ["sizes"] => sizes(),
        ["loop", name, count] => {
            let mut call = subject(name).expect("the name of a subject");
            let count: u64 = count.parse().expect("a number of calls");
            for _ in 0..count {
                call();
            }
        }
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            with_criterion(&mut criterion);
            criterion.final_summary();
        }
    }
}
