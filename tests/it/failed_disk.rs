//! A disk that cannot be written, under the program as it is: what publishes wait for meanwhile, and that everything goes
//! on by itself when the disk is well again. At a kill the disk loses what was not flushed.

mod bench;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use forebay_tests::forebay::field;
use forebay_tests::http;
use forebay_tests::kinesis::{self, Record};
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::oracle::compare;

use crate::bed::{self, LIMIT};
use bench::{
    BROKEN, Bench, FULL, Publisher, STREAM, expect_answer, fallback, identify, is_ready, judge,
    message, publish, said, unanswered, until_writable, writer,
};

/// Publishes are answered when Kinesis has them, in the order of their keys, and nobody else must do anything.
#[test]
fn publishes_go_on_through_kinesis_and_return_to_the_disk() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    let publishers: Vec<Publisher> = Version::ALL
        .into_iter()
        .map(|version| Publisher::start(&forebay, &format!("device-{version:?}"), version, 0))
        .collect();
    let progress = || {
        publishers
            .iter()
            .try_for_each(|publisher| publisher.progress(100))
    };
    let mut before = 0.0;
    for round in 1..=3 {
        progress()?;
        bench.fail(BROKEN)?;
        until_writable(&forebay, false)?;
        progress()?;
        ensure!(is_ready(&forebay)?, "it serves");
        let failed = until_writable(&forebay, false)?;
        ensure!(fallback(&failed)? >= before + 100.0, "{failed:?}");
        ensure!(failed.value("forebay_spool_flush_errors_total", &[])? >= f64::from(round));
        ensure!(said(&forebay) == [round, round - 1]);
        let failed = writer(&forebay)?;
        ensure!(failed["condition"] == "failed", "{failed:#}");
        ensure!(
            failed["fallback_records"].as_f64() >= Some(before + 100.0),
            "{failed:#}"
        );
        let error = failed["last_error"].as_str().unwrap_or_default();
        ensure!(error.contains("told to fail"), "{failed:#}");

        bench.heal()?;
        before = fallback(&until_writable(&forebay, true)?)?;
        ensure!(said(&forebay) == [round; 2]);
        ensure!(writer(&forebay)?["condition"] == "writing");
        progress()?;
        let healed = forebay.metrics()?;
        ensure!(fallback(&healed)? == before, "it is not back on the disk");
    }
    let errors = forebay.events("spool cannot be written");
    ensure!(
        field(&errors[0], "on_failure") == Some("stored"),
        "{errors:?}"
    );
    let error = field(&errors[0], "error").unwrap_or_default();
    ensure!(error.contains("told to fail"), "{errors:?}");
    let published = publishers
        .into_iter()
        .map(Publisher::finish)
        .collect::<Result<_>>()?;
    // Nothing was in doubt, so nothing may have come twice.
    judge(&forebay, &streams, &published)?.expect_exact()?;
    bed::stop(forebay)
}

/// An answer during the fallback means that Kinesis has the message: neither a kill nor a power cut takes it, and what
/// was answered before by the disk is still there.
#[test]
fn a_kill_while_the_disk_fails_loses_nothing() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    publish(&forebay, "before", 0..50)?;
    bench.fail(BROKEN)?;
    publish(&forebay, "meanwhile", 0..50)?;
    until_writable(&forebay, false)?;
    forebay.kill()?;
    let stored = kinesis::read_stream(&streams.endpoint(), STREAM)?;
    let meanwhile = [("meanwhile".to_owned(), 50)].into();
    let own: Vec<Record> = stored
        .into_iter()
        .filter(|record| record.partition_key == "meanwhile")
        .collect();
    compare(&meanwhile, &own, identify)?.expect_complete()?;

    bench.heal()?;
    let forebay = bench.start()?;
    publish(&forebay, "after", 0..50)?;
    let published: BTreeMap<String, u64> = ["before", "meanwhile", "after"]
        .map(|key| (key.to_owned(), 50))
        .into();
    let findings = judge(&forebay, &streams, &published)?;
    findings.expect_complete()?;
    findings.expect_ordered()?;
    bed::stop(forebay)
}

/// What of the backlog can be read is sent. What was written last may not be on the disk, so it waits until it is, and
/// so does what must not overtake it.
#[test]
fn a_start_on_a_failed_disk_drains_what_it_can_read() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let forebay = bench.start()?;
    publish(&forebay, "backlog", 0..400)?;
    forebay.kill()?;
    bench.fail(BROKEN)?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    let said = forebay.events("the spool cannot be written; what is owed in it is sent");
    ensure!(said.len() == 1, "{said:?}");
    ensure!(is_ready(&forebay)?);
    let arrived = kinesis::read_until(&streams.endpoint(), STREAM, 100, LIMIT)?;
    ensure!(arrived.len() <= 400, "{}", arrived.len());
    let mut client = unanswered(&forebay, "backlog-too")?;
    bench.heal()?;
    expect_answer(&mut client)?;
    until_writable(&forebay, true)?;
    publish(&forebay, "after", 0..50)?;
    let published = [("backlog", 400), ("backlog-too", 1), ("after", 50)];
    let published = published.map(|(key, count)| (key.to_owned(), count)).into();
    let findings = judge(&forebay, &streams, &published)?;
    findings.expect_complete()?;
    findings.expect_ordered()?;
    bed::stop(forebay)
}

/// Where nothing is owed, a start on a disk that fails is as good as any other.
#[test]
fn a_start_on_a_failed_disk_serves_where_nothing_is_owed() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    publish(&forebay, "before", 0..50)?;
    judge(&forebay, &streams, &[("before".to_owned(), 50)].into())?;
    bed::stop(forebay)?;
    bench.fail(BROKEN)?;
    let forebay = bench.start()?;
    until_writable(&forebay, false)?;
    publish(&forebay, "meanwhile", 0..50)?;
    bench.heal()?;
    until_writable(&forebay, true)?;
    publish(&forebay, "after", 0..50)?;
    let published = ["before", "meanwhile", "after"].map(|key| (key.to_owned(), 50));
    judge(&forebay, &streams, &published.into())?.expect_exact()?;
    bed::stop(forebay)
}

/// A whole handshake, also of packet ids that are used again and again.
#[test]
fn qos_2_goes_on_while_the_disk_fails() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "exactly-once")?;
    let mut number = 0;
    let mut publish_all = |client: &mut Client| -> Result<()> {
        let messages = (number..number + 50).map(|number| Publish {
            qos: 2,
            ..message("exactly-once", number)
        });
        for outcome in client.publish_all(messages, 5)? {
            ensure!(outcome.reason < 0x80, "{outcome:?}");
        }
        number += 50;
        Ok(())
    };
    publish_all(&mut client)?;
    bench.fail(BROKEN)?;
    // The first to meet it is held until the disk is well, with the packet ids that are in its frame.
    publish(&forebay, "first", 0..1)?;
    until_writable(&forebay, false)?;
    publish_all(&mut client)?;
    bed::until_metrics(&forebay, "the fallback", |metrics| {
        fallback(metrics).is_ok_and(|records| records >= 51.0)
    })?;
    bench.heal()?;
    until_writable(&forebay, true)?;
    publish_all(&mut client)?;
    let published = [("exactly-once".to_owned(), number), ("first".to_owned(), 1)].into();
    judge(&forebay, &streams, &published)?.expect_exact()?;
    bed::stop(forebay)
}

/// With neither disk nor stream nothing is answered, and nothing is forgotten.
#[test]
fn without_disk_and_stream_publishes_wait() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let forebay = bench.start()?;
    bench.fail(BROKEN)?;
    let mut client = unanswered(&forebay, "patient")?;
    until_writable(&forebay, false)?;
    ensure!(
        is_ready(&forebay)?,
        "it waits for the stream and not for the disk"
    );
    let streams = bench.streams()?;
    expect_answer(&mut client)?;
    ensure!(fallback(&until_writable(&forebay, false)?)? == 1.0);
    bench.heal()?;
    until_writable(&forebay, true)?;
    let published = [("patient".to_owned(), 1)].into();
    judge(&forebay, &streams, &published)?.expect_complete()?;
    bed::stop(forebay)
}

/// Publishes wait for the disk, whatever the stream does, and whoever balances load can see it.
#[test]
fn publishes_wait_for_the_disk_where_that_is_asked_for() -> Result<()> {
    let mut bench = Bench::new("stall")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    let mut published: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..2 {
        let key = format!("well-{round}");
        publish(&forebay, &key, 0..50)?;
        published.insert(key, 50);
        ensure!(is_ready(&forebay)?);

        bench.fail(BROKEN)?;
        let key = format!("waiting-{round}");
        let mut client = unanswered(&forebay, &key)?;
        published.insert(key, 1);
        let failed = until_writable(&forebay, false)?;
        ensure!(fallback(&failed)? == 0.0, "{failed:?}");
        ensure!(!is_ready(&forebay)?, "it cannot take anything");
        let failed = writer(&forebay)?;
        ensure!(
            failed["condition"] == "failed" && failed["fallback_records"] == 0,
            "{failed:#}"
        );
        ensure!(failed["waiting_records"] == 1, "{failed:#}");
        ensure!(http::get(forebay.admin(), "/livez")?.status == 200);
        // More of them wait as well, also for QoS 2.
        let mut others = Vec::new();
        for number in 0..5 {
            let key = format!("another-{round}-{number}");
            others.push(unanswered(&forebay, &key)?);
            published.insert(key, 1);
        }
        bench.heal()?;
        for client in std::iter::once(&mut client).chain(&mut others) {
            expect_answer(client)?;
        }
        until_writable(&forebay, true)?;
        ensure!(is_ready(&forebay)?);
        ensure!(said(&forebay) == [round + 1; 2]);
    }
    let errors = forebay.events("spool cannot be written");
    ensure!(
        field(&errors[0], "on_failure") == Some("stall"),
        "{errors:?}"
    );
    judge(&forebay, &streams, &published)?.expect_exact()?;
    bed::stop(forebay)
}

/// What waited for the disk was never answered, so a kill may take it; what was answered it may not.
#[test]
fn a_kill_while_publishes_wait_for_the_disk_loses_no_answer() -> Result<()> {
    let mut bench = Bench::new("stall")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    publish(&forebay, "answered", 0..100)?;
    bench.fail(BROKEN)?;
    let _waiting = unanswered(&forebay, "waiting")?;
    until_writable(&forebay, false)?;
    forebay.kill()?;
    bench.heal()?;
    let forebay = bench.start()?;
    publish(&forebay, "waiting", 0..1)?;
    let published = [("answered".to_owned(), 100), ("waiting".to_owned(), 1)].into();
    let findings = judge(&forebay, &streams, &published)?;
    findings.expect_complete()?;
    findings.expect_ordered()?;
    bed::stop(forebay)
}

/// A disk without room is not a failed one: publishes wait, whatever is to be done about failures, and nobody is sent
/// elsewhere.
#[test]
fn a_disk_without_room_makes_publishes_wait_and_is_no_failure() -> Result<()> {
    for on_failure in ["stored", "stall"] {
        let mut bench = Bench::new(on_failure)?;
        let forebay = bench.start()?;
        bench.fail(FULL)?;
        let publisher = Publisher::start(&forebay, "device", Version::V5, 4000);
        publisher.until_it_waits()?;
        ensure!(is_ready(&forebay)?);
        ensure!(said(&forebay) == [0, 0]);
        let full = until_writable(&forebay, true)?;
        ensure!(fallback(&full)? == 0.0, "{full:?}");
        bench.heal()?;
        publisher.progress(100)?;
        let streams = bench.streams()?;
        let published = [publisher.finish()?].into();
        judge(&forebay, &streams, &published)?.expect_exact()?;
        bed::stop(forebay)?;
    }
    Ok(())
}
