use std::time::Duration;

use forebay_core::ManualClock;
use tempfile::TempDir;

use super::record::NAME;
use super::*;

const FRAME: FramePlace = FramePlace {
    slot: 7,
    epoch: 3,
    offset: 8192,
};
const OTHER: FramePlace = FramePlace {
    offset: 12_288,
    ..FRAME
};

/// A data directory and the time of day.
struct Bed {
    dir: TempDir,
    clock: Arc<ManualClock>,
}

impl Bed {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
        }
    }

    fn starts(&self) -> FailedStarts {
        FailedStarts::read(self.dir.path(), Arc::clone(&self.clock) as Arc<dyn Clock>)
    }

    /// A start that ends with an error, a second later.
    fn fails(&self, exit: Exit) -> Failure {
        let starts = self.starts();
        self.clock.advance(Duration::from_secs(1));
        let failed = starts.watch(|| Err::<(), _>(Failure::new(exit, "no such thing")));
        failed.unwrap_err()
    }

    /// A start that panics while it works with a frame. What it must not decode is left alone.
    fn panics_at(&self, frame: FramePlace) -> Option<Failure> {
        let starts = self.starts();
        let progress = Arc::clone(starts.progress());
        let start = || {
            if !progress.contained().contains(&frame) {
                // As the spool does it: the place stays with the thread that panics.
                progress.during(frame, || panic!("cannot decode"));
            }
            Err::<(), _>(Failure::new(Exit::Unreachable, "went on"))
        };
        let watched = catch_unwind(AssertUnwindSafe(|| starts.watch(start)));
        watched.ok().map(Result::unwrap_err)
    }

    fn remembers(&self) -> bool {
        self.dir.path().join(NAME).exists()
    }
}

fn gave_up(failure: &Failure) -> bool {
    failure.message.starts_with("giving up")
}

#[test]
fn the_fourth_start_that_fails_alike_gives_up_and_says_why() {
    let bed = Bed::new();
    for _ in 0..3 {
        let failure = bed.fails(Exit::InputOutput);
        assert_eq!(failure, Failure::new(Exit::InputOutput, "no such thing"));
    }
    for _ in 0..2 {
        let failure = bed.fails(Exit::InputOutput);
        assert_eq!(failure.exit, Exit::InputOutput);
        for part in [
            "giving up",
            "`directory`",
            "no such thing",
            "what to do",
            "META",
        ] {
            assert!(failure.message.contains(part), "{failure}");
        }
    }
    // Whoever repaired it needs not wait.
    bed.starts().serves(&[]);
    assert!(!bed.remembers());
    assert!(!gave_up(&bed.fails(Exit::InputOutput)));
}

#[test]
fn failures_that_are_far_apart_or_differ_are_no_loop() {
    let bed = Bed::new();
    for _ in 0..6 {
        assert!(!gave_up(&bed.fails(Exit::InputOutput)));
        bed.clock.advance(Duration::from_secs(31));
    }
    let bed = Bed::new();
    for step in [Step::Spool, Step::Threads, Step::Spool, Step::Admin] {
        let starts = bed.starts();
        let failed = starts.watch(|| {
            starts.enter(step);
            Err::<(), _>(Failure::new(Exit::InputOutput, "no"))
        });
        assert!(!gave_up(&failed.unwrap_err()), "{step:?}");
    }
    let mut bed = Bed::new();
    for jump in [0, 3_600_000, -7_200_000, 60_001] {
        bed.clock = Arc::new(ManualClock::new(bed.clock.wall_millis() + jump));
        assert!(!gave_up(&bed.fails(Exit::InputOutput)), "{jump}");
    }
}

#[test]
fn what_another_build_did_does_not_count() {
    let bed = Bed::new();
    for _ in 0..3 {
        bed.fails(Exit::InputOutput);
    }
    let path = bed.dir.path().join(NAME);
    let text = std::fs::read_to_string(&path).unwrap();
    let other = text.replace(env!("CARGO_PKG_VERSION"), "0.0.0-other");
    assert_ne!(text, other);
    std::fs::write(&path, other).unwrap();
    assert!(!gave_up(&bed.fails(Exit::InputOutput)));
}

#[test]
fn a_wrong_configuration_and_a_directory_of_another_process_are_not_remembered() {
    let bed = Bed::new();
    for _ in 0..5 {
        assert!(!gave_up(&bed.fails(Exit::Configuration)));
        assert!(!gave_up(&bed.fails(Exit::Unreachable)));
        let starts = bed.starts();
        starts.is_guest();
        let locked = starts.watch(|| Err::<(), _>(Failure::new(Exit::InputOutput, "locked")));
        assert_eq!(locked.unwrap_err().message, "locked");
    }
    assert!(!bed.remembers());
}

#[test]
fn a_panic_is_a_failure_and_the_fourth_has_an_exit_code() {
    let bed = Bed::new();
    let panics = || {
        let starts = bed.starts();
        catch_unwind(AssertUnwindSafe(|| {
            starts.watch(|| -> Result<(), Failure> { panic!("number {}", 5) })
        }))
    };
    for _ in 0..3 {
        assert!(panics().is_err());
    }
    let failure = panics().unwrap().unwrap_err();
    assert!(
        gave_up(&failure) && failure.message.contains("number 5"),
        "{failure}"
    );
}

#[test]
fn the_fourth_start_does_not_decode_the_frame_at_which_three_panicked() {
    let bed = Bed::new();
    for _ in 0..3 {
        assert!(bed.starts().progress().contained().is_empty());
        assert_eq!(bed.panics_at(FRAME), None);
    }
    // A kill before it serves changes nothing.
    for _ in 0..2 {
        let went_on = bed.panics_at(FRAME).unwrap();
        assert_eq!(went_on.message, "went on");
    }
    // Another frame of the kind costs one start more.
    assert_eq!(bed.panics_at(OTHER), None);
    let both = [FRAME, OTHER];
    assert!(bed.starts().progress().contained().iter().eq(&both));
    bed.starts().serves(&both);
    assert!(bed.starts().progress().contained().iter().eq(&both));
    // What is gone from the spool needs not be remembered.
    bed.starts().serves(&both[..1]);
    assert!(bed.starts().progress().contained().iter().eq(&both[..1]));
    bed.starts().serves(&[]);
    assert!(!bed.remembers());
}

#[test]
fn a_frame_that_is_fatal_to_a_thread_counts_over_starts_that_serve() {
    let bed = Bed::new();
    for _ in 0..3 {
        let starts = bed.starts();
        assert!(starts.progress().contained().is_empty());
        starts.serves(&[]);
        let progress = Arc::clone(starts.progress());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            progress.during(FRAME, || panic!("cannot decode"));
        }));
        assert!(panicked.is_err());
        starts.thread_panicked("cannot decode");
    }
    let starts = bed.starts();
    assert!(starts.progress().contained().contains(&FRAME));
    starts.serves(&[FRAME]);
    // Other panics of a process that serves say nothing about its start.
    starts.thread_panicked("something else");
    let starts = bed.starts();
    assert!(starts.progress().contained().contains(&FRAME));
    starts.serves(&[]);
    assert!(!bed.remembers());
}

#[test]
fn a_record_is_bounded_and_one_that_cannot_be_read_is_none() {
    let bed = Bed::new();
    let path = bed.dir.path().join(NAME);
    for text in ["", "{", "[1]", "{\"failures\": 7}", "null"] {
        std::fs::write(&path, text).unwrap();
        assert!(!gave_up(&bed.fails(Exit::InputOutput)), "{text:?}");
    }
    std::fs::write(&path, vec![b' '; 10 << 20]).unwrap();
    for _ in 0..20 {
        let starts = bed.starts();
        let long = Failure::new(Exit::InputOutput, "é".repeat(100_000));
        starts.watch(|| Err::<(), _>(long)).unwrap_err();
    }
    let mut record = Record::read(bed.dir.path());
    for offset in 0..10_000 {
        record.contain(FramePlace { offset, ..FRAME });
    }
    record.write(bed.dir.path()).unwrap();
    let bytes = path.metadata().unwrap().len();
    assert!((10_000..64 << 10).contains(&bytes), "{bytes}");
    assert_eq!(Record::read(bed.dir.path()), record);

    // A directory that takes no record is no reason to fail otherwise.
    let nowhere = bed.dir.path().join("nowhere");
    let starts = FailedStarts::read(&nowhere, Arc::clone(&bed.clock) as Arc<dyn Clock>);
    let failed = starts.watch(|| Err::<(), _>(Failure::new(Exit::InputOutput, "no")));
    assert_eq!(failed.unwrap_err().message, "no");
}
