//! Requests whose answer never arrives: resets, cut answers, silence. The records may be stored
//! or not, so they are sent again, and only they can be there twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use forebay_stream::{FaultEffect, FaultRule};
use forebay_tests::mqtt::Version;
use forebay_tests::oracle::Numbered;
use forebay_tests::wait;

use crate::gateway::{Exchange, Interference, Outcome};
use crate::load::{self, Running, finish_all};
use crate::stand::{Judgement, LIMIT, PUT, Plan, Stand, devices};

const STREAM: &str = "telemetry";

/// Publishes until `done`, and judges what arrived.
fn publish_until(
    stand: &Stand,
    what: &str,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<Judgement> {
    let devices = devices(STREAM, 8)?
        .into_iter()
        .enumerate()
        .map(|(place, device)| {
            let device = device.window(150).version(Version::ALL[place % 2]);
            device.start(stand.forebay.mqtt())
        })
        .collect::<Result<Vec<_>>>()?;
    wait::until_true(what, LIMIT, || {
        ensure!(!devices.iter().any(Running::has_ended), "a device gave up");
        done()
    })?;
    let deliveries = finish_all(devices)?;
    deliveries
        .iter()
        .try_for_each(load::Delivery::expect_success)?;
    stand.judge(STREAM, &deliveries)
}

/// Nothing is reordered, and no more is there twice than the program says is possible.
fn expect_ordered_with_counted_duplicates(judgement: &Judgement) -> Result<()> {
    judgement.findings.expect_ordered()?;
    ensure!(judgement.inversions() == 0.0);
    let duplicates = judgement.findings.duplicated.len() as f64;
    ensure!(
        judgement.possible_duplicates() >= duplicates,
        "{} possible duplicates counted, {duplicates} are there",
        judgement.possible_duplicates()
    );
    Ok(())
}

/// What is there twice was in a request whose answer was lost.
fn expect_duplicates_only_of(
    judgement: &Judgement,
    exchanges: &[Exchange],
    unclear: impl Fn(&Exchange) -> bool,
) -> Result<()> {
    let unclear = exchanges.iter().filter(|exchange| unclear(exchange));
    let records: BTreeSet<&Numbered> = unclear.flat_map(|exchange| &exchange.records).collect();
    let known = |duplicate: &&Numbered| records.contains(duplicate);
    let strange = judgement.findings.duplicated.iter().find(|d| !known(d));
    ensure!(strange.is_none(), "{strange:?} is there twice");
    Ok(())
}

/// Each way to lose an answer, three times.
fn losses() -> Vec<FaultRule> {
    let effects = [
        FaultEffect::ResetBeforeBody,
        FaultEffect::ResetAfterBody,
        FaultEffect::ResetAfterStore,
        FaultEffect::TruncateAnswer,
    ];
    let rule = |effect| {
        FaultRule::new(effect)
            .operation(PUT)
            .probability(0.1)
            .times(3)
    };
    effects.into_iter().map(rule).collect()
}

fn all_lost(stand: &Stand) -> bool {
    let injected = |rule: &FaultRule| stand.injected(rule.effect.name());
    losses().iter().all(|rule| injected(rule) == 3)
}

/// Loses answers in every way while the program keeps this ordering.
fn answers_lost(ordering: &str, observed: bool) -> Result<(Stand, Judgement)> {
    let plan = Plan::new(STREAM, 4)?.set("kinesis.ordering", &format!("{ordering:?}"))?;
    let plan = if observed { plan.observed() } else { plan };
    let stand = plan.start()?;
    // Answers take a while, so that there is always something newer that could overtake.
    let late = FaultEffect::Delay {
        millis: 10,
        jitter_millis: 10,
    };
    let mut rules = losses();
    rules.push(FaultRule::new(late).operation(PUT));
    stand.inject(rules)?;
    let judgement = publish_until(&stand, "all lost answers", || Ok(all_lost(&stand)))?;
    expect_ordered_with_counted_duplicates(&judgement)?;
    ensure!(
        !judgement.findings.duplicated.is_empty(),
        "stored requests were not repeated"
    );
    let errors = judgement.request_errors();
    ensure!(errors == 12.0, "{errors} failed requests counted, 12 were");
    Ok((stand, judgement))
}

#[test]
fn lost_answers_in_strict_duplicate_only_their_own_records_and_keep_the_order() -> Result<()> {
    let (stand, judgement) = answers_lost("strict", true)?;
    let exchanges = stand.gateway()?.exchanges();
    expect_duplicates_only_of(&judgement, &exchanges, |e| e.outcome == Outcome::Lost)?;
    stand.stop()
}

#[test]
fn lost_answers_in_key_duplicate_only_their_own_records_and_keep_the_order() -> Result<()> {
    let (stand, judgement) = answers_lost("key", true)?;
    let exchanges = stand.gateway()?.exchanges();
    expect_duplicates_only_of(&judgement, &exchanges, |e| e.outcome == Outcome::Lost)?;
    println!(
        "key: {} stored, {} twice, {} possible",
        judgement.records.len(),
        judgement.findings.duplicated.len(),
        judgement.possible_duplicates()
    );
    stand.stop()
}

#[test]
fn connections_that_the_service_itself_resets_are_replaced() -> Result<()> {
    let (stand, _) = answers_lost("key", false)?;
    stand.stop()
}

#[test]
fn a_service_that_never_answers_is_asked_again_after_the_attempt_timeout() -> Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let stand = Plan::new(STREAM, 2)?
        .set("kinesis.attempt_timeout", "\"1s\"")?
        .observed()
        .start()?;
    let silence = |stored, request| {
        FaultRule::new(FaultEffect::NeverAnswer { stored })
            .operation(PUT)
            .requests(request, request)
    };
    let start = Instant::now();
    stand.inject([silence(false, 5), silence(true, 15)])?;
    let judgement = publish_until(&stand, "an answer after both", || {
        let exchanges = stand.gateway()?.exchanges();
        Ok(exchanges.len() > 20 && stand.injected("NeverAnswer") == 2)
    })?;
    ensure!(
        start.elapsed() >= TIMEOUT,
        "given up after {:?}",
        start.elapsed()
    );
    expect_ordered_with_counted_duplicates(&judgement)?;
    let exchanges = stand.gateway()?.exchanges();
    expect_duplicates_only_of(&judgement, &exchanges, |e| e.outcome == Outcome::Lost)?;
    let timeouts = judgement.metrics.sum(
        "forebay_kinesis_request_errors_total",
        &[("code", "Timeout")],
    );
    ensure!(timeouts == 2.0, "{timeouts} timeouts counted");
    stand.stop()
}

#[test]
fn pages_of_an_intermediary_and_answers_that_do_not_fit_are_no_answers() -> Result<()> {
    let stand = Plan::new(STREAM, 2)?.observed().start()?;
    let gateway = stand.gateway()?;
    gateway.interfere(&[
        Interference::Page(503),
        Interference::Page(502),
        Interference::OneEntryLess,
        Interference::Page(503),
        Interference::OneEntryLess,
    ]);
    let judgement = publish_until(&stand, "all interferences", || Ok(gateway.to_come() == 0))?;
    expect_ordered_with_counted_duplicates(&judgement)?;
    let exchanges = gateway.exchanges();
    let too_short = |exchange: &Exchange| match &exchange.outcome {
        Outcome::Answered(codes) => codes.len() < exchange.records.len(),
        Outcome::Lost | Outcome::Refused(_) => false,
    };
    expect_duplicates_only_of(&judgement, &exchanges, too_short)?;
    ensure!(judgement.request_errors() == 5.0);
    let mismatches = judgement.metrics.sum(
        "forebay_kinesis_request_errors_total",
        &[("code", "ResponseMismatch")],
    );
    ensure!(mismatches == 2.0, "{mismatches} mismatches counted");
    stand.stop()
}
