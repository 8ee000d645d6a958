//! A record that the service will never take: it fails alone, and says so where MQTT can.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use forebay_stream::{FaultEffect, FaultRule};
use forebay_tests::mqtt::Version;
use forebay_tests::wait;

use crate::load::{Device, Running, finish_all};
use crate::stand::{LIMIT, PUT, Plan, Stand, devices};

const STREAM: &str = "telemetry";
const POISON: [(&str, Version); 2] = [("poison-3", Version::V3), ("poison-5", Version::V5)];
const EACH: u64 = 3;

/// Refuses every request with a record of one of the poisonous keys, as the service refuses
/// arguments: without saying which record is meant. The first answer is late, so that the others
/// wait meanwhile and share requests.
fn refuse_poison(stand: &Stand) -> Result<()> {
    let invalid = || FaultEffect::RequestError {
        code: "InvalidArgumentException".to_owned(),
        message: Some("1 validation error detected".to_owned()),
        status: None,
    };
    let late = FaultEffect::Delay {
        millis: 500,
        jitter_millis: 0,
    };
    let mut rules = vec![FaultRule::new(late).operation(PUT).times(1)];
    for (key, _) in POISON {
        rules.push(FaultRule::new(invalid()).operation(PUT).partition_key(key));
    }
    stand.inject(rules)
}

fn start(stand: &Stand) -> Result<(Vec<Running>, Vec<Running>)> {
    let broker = stand.forebay.mqtt();
    let others = devices(STREAM, 4)?
        .into_iter()
        .map(|device| device.messages(500).start(broker))
        .collect::<Result<Vec<_>>>()?;
    let poison = POISON
        .iter()
        .map(|(key, version)| {
            // Good messages of the same connection stand between the bad ones.
            let keys = vec![(*key).to_owned(), format!("good-{key}")];
            let device = Device::new(STREAM, key, keys);
            device.version(*version).messages(2 * EACH).start(broker)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((others, poison))
}

#[test]
fn a_record_that_is_refused_alone_fails_and_the_others_of_its_request_are_stored_once() -> Result<()>
{
    let stand = Plan::new(STREAM, 2)?.observed().start()?;
    refuse_poison(&stand)?;
    let (others, poison) = start(&stand)?;
    wait::until_true("all answers", LIMIT, || {
        Ok(others.iter().chain(&poison).all(Running::has_ended))
    })?;
    let (others, poison) = (finish_all(others)?, finish_all(poison)?);

    for delivery in &others {
        delivery.expect_success()?;
    }
    let mut published: BTreeMap<String, u64> = others
        .iter()
        .flat_map(|delivery| delivery.published())
        .collect();
    for delivery in &poison {
        published.insert(delivery.device.keys[1].clone(), EACH);
        for (index, answer) in delivery.answers.iter().enumerate() {
            let poisonous = index % 2 == 0;
            // MQTT 3.1.1 has no negative PUBACK, and without one the device would send it for ever.
            let negative = poisonous && delivery.device.version == Version::V5;
            let expected = if negative { 0x83 } else { 0 };
            ensure!(
                answer.reason == expected,
                "{} {index}: PUBACK {:#x}",
                delivery.device.name,
                answer.reason
            );
            ensure!(
                answer.reason_string.is_some() == negative,
                "{} {index}: reason string {:?}",
                delivery.device.name,
                answer.reason_string
            );
        }
    }
    let judgement = stand.judge_published(STREAM, &published)?;
    judgement.findings.expect_exact()?;
    ensure!(judgement.possible_duplicates() == 0.0);
    let failed = judgement.metrics.sum(
        "forebay_kinesis_user_records_failed_total",
        &[("reason", "refused")],
    );
    ensure!(
        failed == 2.0 * EACH as f64,
        "{failed} failed records counted"
    );
    let settled = judgement
        .metrics
        .value("forebay_records_settled_total", &[("how", "failed")])?;
    ensure!(settled == failed, "{settled} records settled as failed");
    ensure!(!stand.forebay.events("record failed for good").is_empty());

    // The culprits were in company at first, and nothing but they was refused alone.
    let exchanges = stand.gateway()?.exchanges();
    let refused: Vec<_> = exchanges
        .iter()
        .filter(|exchange| matches!(exchange.outcome, crate::gateway::Outcome::Refused(400)))
        .collect();
    ensure!(refused.iter().any(|exchange| exchange.records.len() > 10));
    ensure!(refused.iter().all(|exchange| {
        let mut keys = exchange.records.iter().map(|(key, _)| key);
        keys.any(|key| POISON.iter().any(|(poison, _)| key == poison))
    }));
    println!(
        "{} refused requests until {failed} culprits were alone",
        refused.len()
    );
    stand.stop()
}
