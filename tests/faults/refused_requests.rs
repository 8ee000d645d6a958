//! Requests that are refused as a whole and for a while: nothing of them is stored, so nothing is
//! there twice. And the proof that this suite would notice a lost record.

use anyhow::{Result, ensure};
use forebay_stream::{FaultEffect, FaultRule};
use forebay_tests::wait;

use crate::load::{self, Running, finish_all};
use crate::stand::{LIMIT, PUT, Plan, THROTTLED, devices};

const STREAM: &str = "telemetry";
/// Codes, their HTTP status, and whether a refusal with it may have stored something.
const REFUSALS: [(&str, u16, bool); 5] = [
    ("ThrottlingException", 400, false),
    (THROTTLED, 400, false),
    ("InternalFailureException", 500, true),
    ("ServiceUnavailable", 503, true),
    ("SomethingNewException", 500, true),
];
const TIMES: u64 = 3;

fn refuse(code: &str, status: u16) -> FaultRule {
    let effect = FaultEffect::RequestError {
        code: code.to_owned(),
        message: None,
        status: Some(status),
    };
    FaultRule::new(effect)
        .operation(PUT)
        .probability(0.1)
        .times(TIMES)
}

#[test]
fn whole_requests_that_are_refused_are_sent_again() -> Result<()> {
    for (code, status, may_be_stored) in REFUSALS {
        let stand = Plan::new(STREAM, 4)?.start()?;
        stand.inject([refuse(code, status)])?;
        let devices = devices(STREAM, 4)?
            .into_iter()
            .map(|device| device.start(stand.forebay.mqtt()))
            .collect::<Result<Vec<_>>>()?;
        wait::until_true(code, LIMIT, || {
            ensure!(!devices.iter().any(Running::has_ended), "a device gave up");
            Ok(stand.injected("RequestError") == TIMES)
        })?;
        let deliveries = finish_all(devices)?;
        deliveries
            .iter()
            .try_for_each(load::Delivery::expect_success)?;
        let judgement = stand.judge(STREAM, &deliveries)?;
        judgement.findings.expect_exact()?;
        ensure!(
            judgement.request_errors() == TIMES as f64,
            "{code}: {} counted",
            judgement.request_errors()
        );
        ensure!(judgement.inversions() == 0.0);
        ensure!(
            (judgement.possible_duplicates() > 0.0) == may_be_stored,
            "{code}: {} possible duplicates",
            judgement.possible_duplicates()
        );
        stand.stop()?;
    }
    Ok(())
}

#[test]
fn records_that_fail_inside_the_service_are_sent_again() -> Result<()> {
    let stand = Plan::new(STREAM, 4)?.start()?;
    let effect = FaultEffect::RecordError {
        code: "InternalFailure".to_owned(),
        message: None,
        fraction: Some(0.1),
        records: Some(200),
    };
    stand.inject([FaultRule::new(effect).operation(PUT)])?;
    let devices = devices(STREAM, 4)?
        .into_iter()
        .map(|device| device.start(stand.forebay.mqtt()))
        .collect::<Result<Vec<_>>>()?;
    wait::until_true("200 failures", LIMIT, || {
        Ok(stand.injected("RecordError") == 200)
    })?;
    let deliveries = finish_all(devices)?;
    deliveries
        .iter()
        .try_for_each(load::Delivery::expect_success)?;
    let judgement = stand.judge(STREAM, &deliveries)?;
    ensure!(judgement.record_errors("InternalFailure") == 200.0);
    // Each of them may be there twice for all that the program can know; none is.
    ensure!(judgement.possible_duplicates() >= 200.0);
    ensure!(judgement.findings.duplicated.is_empty());
    ensure!(judgement.inversions() == judgement.findings.reordered.len() as f64);
    stand.stop()
}

#[test]
fn a_record_that_the_service_loses_after_saying_that_it_is_stored_is_noticed() -> Result<()> {
    let stand = Plan::new(STREAM, 1)?.start()?;
    let effect = FaultEffect::DropRecords {
        fraction: None,
        records: Some(1),
    };
    stand.inject([FaultRule::new(effect).operation(PUT).requests(3, 3)])?;
    let device = devices(STREAM, 1)?.remove(0).messages(500);
    let delivery = device.start(stand.forebay.mqtt())?.finish()?;
    delivery.expect_success()?;
    let error = stand.judge(STREAM, &[delivery]).map(drop);
    let error = error.expect_err("a record is missing").to_string();
    ensure!(error.starts_with("lost 1 "), "{error}");
    stand.stop()
}
