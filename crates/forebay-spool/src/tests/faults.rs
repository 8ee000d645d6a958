//! Calls that fail, each in turn.

use std::time::Duration;

use forebay_core::FsErrorKind;

use super::simulation::Run;
use crate::mutation::Mutation;

#[test]
fn every_call_may_fail_once_and_the_spool_accepts_again_without_a_restart() {
    let script = |fail: Option<(u64, FsErrorKind)>| -> u64 {
        let mut run = Run::new(5, Mutation::None);
        let mut spool = run.open();
        run.disk.crash_at(u64::MAX);
        if let Some((at, kind)) = fail {
            run.disk.fail_at(at, kind);
        }
        for _ in 0..120 {
            run.step(&mut spool);
        }
        for _ in 0..50 {
            run.now += Duration::from_millis(1100);
            run.append(&mut spool);
            run.settle(&mut spool);
            let _unwritable = spool.poll(run.now);
            run.jobs(&mut spool);
        }
        let before = run.commits;
        for _ in 0..5 {
            run.append(&mut spool);
        }
        assert!(run.commits > before, "{fail:?}");
        drop(spool);
        run.disk.power_cut();
        run.pending = None;
        run.open();
        run.disk.calls()
    };
    let calls = script(None);
    for at in (1..calls).step_by(3) {
        for kind in [
            FsErrorKind::Io,
            FsErrorKind::NoSpace,
            FsErrorKind::Interrupted,
        ] {
            script(Some((at, kind)));
        }
    }
}
