//! Any bytes as a rule document: it is refused, or it is a rule that a set takes or refuses, and that a message runs.
#![no_main]

use bytes::Bytes;
use forebay_core::{Message, Origin, SeededEntropy};
use forebay_rules::{Evaluated, RuleDocument, RuleLimits, RuleSet, RuleSettings, Scratch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let document = match RuleDocument::from_json(bytes, None)
        .or_else(|_| RuleDocument::from_json(bytes, Some("r")))
    {
        Ok(document) => document,
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.code().starts_with('R'));
            return;
        }
    };
    let name = document.name.clone();
    let documents = vec![(document, RuleSettings::default())];
    let rules = match RuleSet::build(documents, RuleLimits::default()) {
        Ok(rules) => rules,
        Err(errors) => return assert!(!errors.is_empty()),
    };
    assert!(rules.explain(&name).is_some());
    let payload = Bytes::from_static(br#"{"a":{"b":[1,"x",null,true]},"t":21.5}"#);
    let (mut scratch, mut out) = (Scratch::default(), Evaluated::default());
    for topic in [
        format!("$aws/rules/{name}/dt/7"),
        "dt/7/telemetry".to_owned(),
    ] {
        let message = Message {
            topic: &topic,
            payload: &payload,
            client_id: Some("c"),
            timestamp_ms: 1_700_000_000_123,
            origin: &Origin::UNKNOWN,
        };
        rules.evaluate(&message, &mut scratch, &mut SeededEntropy::new(1), &mut out);
        assert!(out.records.len() <= 10);
    }
});
