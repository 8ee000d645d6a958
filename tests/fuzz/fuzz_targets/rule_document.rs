//! Any bytes as a rule document: it is refused, or it is a rule that a set takes or refuses, and that a message runs. And
//! as an input of an import, whose rules are documents that can be written and read.
#![no_main]

use bytes::Bytes;
use forebay_core::{Message, Origin, SeededEntropy};
use forebay_rules::import::{self, FoundRule};
use forebay_rules::{
    ErrorTarget, Evaluated, RuleDocument, RuleLimits, RuleSet, RuleSettings, Scratch,
};
use libfuzzer_sys::fuzz_target;

fn import(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice(bytes) else {
        return;
    };
    for found in import::find(value, Some("r")).unwrap_or_default() {
        let FoundRule::Rule(rule) = found.outcome else {
            continue;
        };
        let text = serde_json::to_vec(&rule.document.to_payload()).expect("JSON");
        match RuleDocument::from_json(&text, Some(&rule.document.name)) {
            Ok(document) => assert_eq!(document, rule.document),
            // What a document says by default is written and counts.
            Err(error) => assert_eq!(error.code(), "R107", "{error}"),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    import(bytes);
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
        assert!(out.records.len() + out.republished.len() <= 10);
        assert!(out.failures.len() <= 10 && out.error_targets.len() <= 1);
        for (_, target) in &out.error_targets {
            assert_eq!(ErrorTarget::decode(&target.encode()).as_ref(), Some(&**target));
        }
    }
});
