//! Bits of the log that change on the disk: found by the check, told once, and nothing is lost but what lay there.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{LogCheckReport, LogStatus};

/// Longer than the pause between two sweeps.
const HOUR: Duration = Duration::from_secs(3601);

/// A clock that takes some time for each look.
struct Ticking {
    looks: AtomicU64,
    by: Duration,
}

impl Clock for Ticking {
    fn now(&self) -> Time {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        Time::ZERO + self.by * u32::try_from(looks).expect("few looks")
    }

    fn wall_millis(&self) -> i64 {
        0
    }
}

impl World {
    fn log(&mut self) -> Arc<LogStatus> {
        self.pipeline.sequencer.show();
        self.pipeline.control.log().expect("there is a log")
    }

    /// Publishes, and makes it durable.
    fn fill(&mut self, publishes: usize) {
        let target = self.published.len() + publishes;
        for _ in 0..publishes * 50 {
            if self.published.len() == target && self.open.is_empty() {
                return;
            }
            if self.published.len() < target {
                self.publish();
            }
            self.pipeline.intakes[0].flush();
            self.turn();
            self.work();
            self.collect();
            self.clock.advance(Duration::from_millis(20));
        }
        panic!("the log takes no more: {:?}", self.log());
    }

    /// Lets the tasks run until `done` says so.
    fn run_tasks(&mut self, mut done: impl FnMut(&LogStatus) -> bool) -> Arc<LogStatus> {
        for _ in 0..10_000 {
            self.turn();
            self.work();
            let log = self.log();
            if done(&log) {
                return log;
            }
            self.clock.advance(Duration::from_millis(10));
        }
        panic!("it does not end: {:?}", self.log());
    }

    /// What a sweep finds that begins by itself.
    fn sweep(&mut self) -> Arc<LogCheckReport> {
        let ended = self.log().check.ended;
        self.clock.advance(HOUR);
        let log = self.run_tasks(|log| log.check.ended > ended);
        let last = log.check.last.clone().expect("it ended");
        assert!(!last.asked);
        last
    }

    /// What a sweep finds that somebody asks for.
    fn verify(&mut self) -> Arc<LogCheckReport> {
        let request = self.pipeline.control.check_log();
        assert_eq!(self.pipeline.control.check_log(), request, "one at a time");
        let log = self.run_tasks(|log| log.check.answered == request);
        let answer = log.check.answer.clone().expect("it ended");
        assert!(answer.asked);
        answer
    }

    /// Changes a bit of the data of the first publish from `first` on that is still in a segment.
    fn flip_publish(&mut self, first: usize) {
        let files = self.disk.files();
        for id in first..self.published.len() {
            let mut data = (id as u64).to_le_bytes().to_vec();
            data.extend([7; 8]);
            for (path, bytes) in &files {
                let at = bytes.windows(data.len()).position(|window| window == data);
                if let Some(at) = at
                    && path.extension().is_some_and(|it| it == "seg")
                {
                    assert!(self.disk.flip(path, at + 9, 1));
                    return;
                }
            }
        }
        panic!("nothing is in the log");
    }

    /// Changes a bit anywhere among the frames.
    fn flip_anywhere(&mut self) {
        let files = self.disk.files();
        let segments = files
            .iter()
            .filter(|(path, _)| path.extension().is_some_and(|it| it == "seg"));
        let segments: Vec<_> = segments.collect();
        if segments.is_empty() {
            return;
        }
        let at = self.entropy.below(segments.len() as u64) as usize;
        let (path, bytes) = segments[at];
        let offset = 4096 + self.entropy.below(bytes.len() as u64 - 2 * 4096) as usize;
        self.disk.flip(path, offset, 1 << self.entropy.below(8));
    }

    /// Records of answered publishes, and of those that were not promised to arrive, that did not arrive.
    fn missing(&self) -> (u64, u64) {
        let (mut promised, mut others) = (0, 0);
        for published in &self.published {
            let missing = u64::from(published.records) - published.stored.len() as u64;
            match published.answered {
                true => promised += missing,
                false => others += missing,
            }
        }
        (promised, others)
    }

    fn expect_balance(&self) {
        let conservation = self.pipeline.control.conservation();
        assert_eq!(conservation.difference(), 0, "{conservation:?}");
    }

    /// A run in which bits change and the log is checked, and nothing else goes wrong. Returns what was lost and how
    /// many places were damaged.
    fn run_damaged(&mut self) -> (u64, u64) {
        let mut flips = 0;
        while self.step < STEPS {
            self.step += 1;
            match self.entropy.below(100) {
                95 => {
                    self.flip_anywhere();
                    flips += 1;
                }
                96 => {
                    self.pipeline.control.check_log();
                }
                97 if self.entropy.below(8) == 0 => self.clock.advance(HOUR),
                number => self.act(number.min(94)),
            }
        }
        self.settle_everything();
        self.verify();
        let found = self.log().stat.counters;
        self.verify();
        self.sweep();
        let counters = self.log().stat.counters;
        assert_eq!(counters.frames_damaged, found.frames_damaged, "told twice");
        assert!(counters.frames_damaged <= flips);
        let (promised, others) = self.missing();
        let lost = counters.records_lost;
        assert!(
            (promised..=promised + others).contains(&lost),
            "{lost} were counted as lost, {promised} and perhaps some of {others} are"
        );
        self.expect_balance();
        (lost, counters.frames_damaged)
    }
}

#[test]
fn what_changed_bits_take_is_what_is_counted() {
    let (mut lost, mut damaged, mut harmless) = (0, 0, 0);
    // As many as the other simulation would take too long.
    for seed in seeds().take(250) {
        let outcome = std::panic::catch_unwind(|| World::new(seed, Mutation::None).run_damaged());
        match outcome {
            Ok((took, places)) => {
                lost += took;
                damaged += places;
                harmless += u64::from(places > 0 && took == 0);
            }
            Err(panic) => {
                eprintln!(
                    "seed {seed}: FOREBAY_SIM_FIRST={seed} FOREBAY_SIM_SEEDS=1 shows it again"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    if seeds().count() >= 100 {
        assert!(
            lost > 0 && damaged > 0 && harmless > 0,
            "{lost} {damaged} {harmless}"
        );
    }
}

#[test]
fn a_changed_bit_that_no_lane_reads_is_found_once() {
    let mut world = World::new(1, Mutation::None);
    world.fill(200);
    let before = world.log().stat.clone();
    assert!(before.live_segments >= 3, "{before:?}");
    assert_eq!(world.log().in_memory, 0, "no stream has shards");
    let sound = world.sweep();
    assert_eq!(sound.damaged, 0);
    assert_eq!(
        sound.segments,
        before.live_segments as u64 - 1,
        "without the one that is written"
    );

    world.flip_publish(0);
    let found = world.sweep();
    assert_eq!((found.damaged, found.unreadable), (1, 0));
    assert_eq!(found.damage.len(), 1);
    assert!(found.lost > 0 && found.undecided == 0, "{found:?}");
    assert_eq!(found.records + found.lost, sound.records);
    let log = world.log();
    assert_eq!(log.stat.counters.frames_damaged, 1);
    assert_eq!(log.stat.counters.records_lost, found.lost);
    assert_eq!(
        log.stat.unsettled_records,
        before.unsettled_records - found.lost
    );
    world.expect_balance();

    let asked = world.verify();
    assert_eq!(asked.damage, found.damage);
    assert_eq!(asked.lost, found.lost);
    assert_eq!(
        asked.segments, before.live_segments as u64,
        "with the one that is written"
    );
    let again = world.log().stat.counters;
    assert_eq!((again.frames_damaged, again.records_lost), (1, found.lost));

    world.settle_everything();
    let (promised, others) = world.missing();
    assert!((promised..=promised + others).contains(&found.lost));
    world.expect_balance();
}

#[test]
fn a_record_in_memory_is_not_lost_with_its_frame() {
    let mut world = World::new(2, Mutation::None);
    world.fill(30);
    // Every stream gets its shards and takes what it has.
    for _ in 0..200 {
        world.step += 40;
        world.turn();
        world.work();
        world.sink();
        world.clock.advance(Duration::from_millis(20));
    }
    world.settle_everything();
    for sunk in world.sunk.values_mut() {
        sunk.blocked.fill(true);
    }
    let first = world.published.len();
    world.fill(6);
    let log = world.log();
    assert!(log.in_memory > 0 && log.lagging_lanes == 0, "{log:?}");

    world.flip_publish(first);
    let found = world.verify();
    assert_eq!((found.damaged, found.lost), (1, 0), "{found:?}");
    assert!(found.undecided > 0, "{found:?}");
    let owed = world.log().stat.unsettled_records;
    assert_eq!(world.verify().undecided, found.undecided, "it lies there");
    assert_eq!(world.log().stat.unsettled_records, owed);

    world.settle_everything();
    let (promised, _) = world.missing();
    assert_eq!(promised, 0);
    let counters = world.log().stat.counters;
    assert_eq!((counters.frames_damaged, counters.records_lost), (1, 0));
    assert_eq!(world.verify().undecided, 0);
    world.expect_balance();
}

#[test]
fn a_step_is_followed_by_a_rest_of_nine_times_its_length() {
    let mut world = World::new(3, Mutation::None);
    world.fill(200);
    let segments = world.log().stat.live_segments;
    world.clock.advance(HOUR);
    let clock = Ticking {
        looks: AtomicU64::new(0),
        by: Duration::from_millis(5),
    };
    let mut steps = 0;
    let ended = world.log().check.ended;
    while world.log().check.ended == ended {
        world.turn();
        let at = world.tasks.iter().position(LogTask::reads);
        let Some(at) = at else {
            world.work();
            continue;
        };
        let task = world.tasks.swap_remove(at);
        let result = task.run(&world.disk, &clock);
        let now = world.now();
        world.pipeline.sequencer.finish_task(result, now);
        steps += 1;
        // What else the sequencer waits for comes later.
        let due = world.pipeline.sequencer.next_deadline(now);
        if world.log().check.ended == ended {
            assert!(due <= now + Duration::from_millis(45));
            let early = now + Duration::from_millis(44);
            assert!(!takes_a_step(&mut world, early), "it did not rest");
            world.clock.advance(Duration::from_millis(45));
        }
    }
    assert!(steps + 1 >= segments, "{steps} of {segments}");
    // The next one begins after the pause.
    world.clock.advance(Duration::from_secs(3500));
    let now = world.now();
    assert!(!takes_a_step(&mut world, now));
    // Who asks does not wait, and is not made to rest.
    let request = world.pipeline.control.check_log();
    while world.log().check.answered < request {
        let now = world.now();
        assert!(takes_a_step(&mut world, now), "the next step at once");
        let at = world.tasks.iter().position(LogTask::reads);
        let task = world.tasks.swap_remove(at.expect("it is among them"));
        let result = task.run(&world.disk, &clock);
        world.pipeline.sequencer.finish_task(result, now);
    }
}

fn takes_a_step(world: &mut World, now: Time) -> bool {
    let mut steps = 0;
    while let Some(task) = world.pipeline.sequencer.take_task(now) {
        steps += usize::from(task.reads());
        world.tasks.push(task);
    }
    steps > 0
}

#[test]
fn a_segment_that_cannot_be_read_is_not_damaged() {
    let mut world = World::new(4, Mutation::None);
    world.fill(200);
    world.turn();
    while !world.tasks.is_empty() {
        world.work();
        world.turn();
    }
    let segments = world.log().stat.live_segments as u64;
    world.clock.advance(HOUR);
    let now = world.now();
    assert!(takes_a_step(&mut world, now), "a sweep begins");
    let at = world.tasks.iter().position(LogTask::reads);
    let task = world.tasks.swap_remove(at.expect("it is among them"));
    world.disk.set_faults(Faults {
        read: 10_000,
        ..Faults::default()
    });
    let result = task.run(&world.disk, &*world.clock);
    world.disk.set_faults(Faults::default());
    world.pipeline.sequencer.finish_task(result, now);
    let ended = world.log().check.ended;
    let log = world.run_tasks(|log| log.check.ended > ended);
    let found = log.check.last.clone().expect("it ended");
    assert_eq!((found.damaged, found.unreadable, found.lost), (0, 1, 0));
    assert!(found.error.is_some());
    assert_eq!(found.segments, segments - 2, "the others were read");
    assert_eq!(world.sweep().unreadable, 0, "it is read again");
    world.settle_everything();
    world.check_end();
}
