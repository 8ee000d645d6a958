//! `[spool]`, and the directory that it needs.

use std::time::Duration;

use forebay_core::OnSpoolFailure;

use super::Case;
use crate::config::check_writable;
use crate::diagnostics::Report;

#[test]
fn the_spool_has_defaults_that_keep_the_promise() {
    let case = Case::new("[server]\ndata_dir = \"state\"\n");
    let spool = case.config().spool;
    assert_eq!(spool.dir, case.path("state/spool"));
    assert_eq!(spool.segment, 64 << 20);
    assert_eq!((spool.max_bytes, spool.reserve), (None, None));
    assert_eq!(spool.commit_max_delay, Duration::from_millis(1));
    assert_eq!(spool.on_failure, OnSpoolFailure::Stored);
    assert!(!spool.allow_volatile && !spool.qos0);

    let case = Case::new(
        "[spool]\ndir = \"log\"\nsegment = \"16MiB\"\nmax_bytes = \"64MiB\"\nreserve = 0\n\
         commit_max_delay = \"0s\"\non_failure = \"stall\"\nallow_volatile = true\nqos0 = true\n",
    );
    let spool = case.config().spool;
    assert_eq!(spool.dir, case.path("log"));
    assert_eq!((spool.max_bytes, spool.reserve), (Some(64 << 20), Some(0)));
    assert_eq!(spool.on_failure, OnSpoolFailure::Stall);
    assert!(spool.allow_volatile && spool.qos0);
}

#[test]
fn sizes_of_the_spool_that_do_not_go_together_are_refused() {
    let case = Case::new(
        "[spool]\nsegment = \"8MiB\"\nmax_bytes = \"255MiB\"\ncommit_max_delay = \"1s\"\n\
         on_failure = \"accept\"\nmax_share = 0.5\non_hold = \"stall\"\n[dead_letter]\ndir = \"d\"\n",
    );
    insta::assert_snapshot!(case.refused());
}

/// Only where somebody is promised something does it matter that a directory is in memory.
#[cfg(target_os = "linux")]
#[test]
fn a_spool_in_memory_needs_a_decision() {
    let volatile = "[spool]\ndir = \"/dev/shm/forebay-spool\"\n";
    Case::new(volatile).with_set("server.ack=stored").config();
    let spooled = || Case::new(volatile).with_set("server.ack=spool");
    insta::assert_snapshot!(spooled().refused());
    spooled().with_set("spool.allow_volatile=true").config();
}

/// A rule that cannot be compiled keeps no other mistake from being shown.
#[test]
fn a_bad_rule_hides_no_other_mistake() {
    let case = Case::new(
        "[[rules.inline]]\nname = \"t\"\nsql = \"SELECT uper(a) FROM 'b'\"\naction.kinesis.stream_name = \"s\"\n\
         [mqtt]\nallow_empty_client_ids = true\n[kinesis]\nlingr = \"1s\"\n[spool]\nqos = true\n",
    );
    let text = case.refused();
    for part in ["upper", "allow_empty_client_id`?", "`linger`?", "`qos0`?"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

#[test]
fn whether_the_spool_is_needed_is_said_by_what_is_in_force() {
    let needed = |toml: &str| Case::new(toml).config().needs_spool();
    let rule = "[[rules.inline]]\nname = \"t\"\nsql = \"SELECT * FROM 'a'\"\naction.kinesis.stream_name = \"s\"\n";
    let set = |ack: &str| format!("[server]\nack = \"{ack}\"\n");
    assert!(needed(&set("spool")));
    assert!(!needed(&set("accept")) && !needed(&set("stored")));
    assert!(!needed(&format!(
        "{}[listeners.a]\nack = \"stored\"\n",
        set("spool")
    )));
    assert!(needed(&format!(
        "{}{rule}[rule.t]\nack = \"spool\"\n",
        set("accept")
    )));
}

#[test]
fn a_directory_that_cannot_be_written_is_found_without_creating_anything() {
    let case = Case::new("[server]\nack = \"spool\"\n");
    let check = |case: &Case| {
        let mut report = Report::default();
        check_writable(&case.config(), &mut report);
        case.text(&report)
    };
    assert_eq!(check(&case), "");
    assert!(!case.path("data").exists());
    let case = case.with_file("file", "");
    let path = case.path("file").display().to_string();
    let case = case.with_set(&format!("server.data_dir=\"{path}/data\""));
    insta::assert_snapshot!(check(&case));
    assert_eq!(check(&case.with_set("server.ack=stored")), "");
}
