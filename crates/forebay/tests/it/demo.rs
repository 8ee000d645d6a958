//! `demo`, and that its check can fail.

use crate::program::Place;

#[test]
fn everything_that_is_acknowledged_is_stored_in_order() {
    let place = Place::new();
    let ended = place.run(&[
        "demo",
        "--duration",
        "2s",
        "--devices",
        "10",
        "--rate",
        "20",
        "--shards",
        "3",
        "--json",
    ]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let summary = ended.json();
    let count = |key: &str| summary[key].as_u64().unwrap();
    assert!(count("published") > 200, "{summary:#}");
    assert_eq!(count("acknowledged"), count("published"));
    assert_eq!(count("stored"), count("published"));
    assert_eq!((count("lost"), count("reordered")), (0, 0));
    assert_eq!(summary["stream"]["shards"].as_array().unwrap().len(), 3);
    assert!(
        ended.stderr.contains("mqtt://127.0.0.1:"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_injected_loss_is_noticed() {
    let place = Place::new();
    let ended = place.run(&[
        "demo",
        "--duration",
        "1s",
        "--devices",
        "5",
        "--inject-loss",
        "3",
    ]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stdout.contains("lost           3\n"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("FAILED"), "{}", ended.stdout);
}
