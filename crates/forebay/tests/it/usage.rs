//! Help, version and mistakes.

use crate::program::Place;

#[test]
fn help_and_version_are_data_and_mistakes_are_not() {
    let place = Place::new();
    let version = place.run(&["--version"]);
    assert_eq!((version.code, version.stderr.as_str()), (0, ""));
    assert!(version.stdout.starts_with("forebay "), "{}", version.stdout);
    let help = place.run(&["--help"]);
    assert_eq!(help.code, 0);
    for command in [
        "run", "demo", "validate", "rule", "pub", "sub", "stream", "bench",
    ] {
        assert!(help.stdout.contains(command), "{command}");
    }
    for words in [
        &["fly"][..],
        &["pub", "-t", "a"],
        &["stream", "tail", "s", "--from", "yesterday"],
        &["rule", "test", "--sql", "SELECT * FROM 'a'"],
    ] {
        let ended = place.run(words);
        assert_eq!(ended.code, 2, "{words:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    }
}

#[test]
fn what_cannot_be_reached_is_69() {
    let place = Place::new();
    for words in [
        &[
            "pub",
            "-t",
            "a",
            "-m",
            "x",
            "--broker",
            "mqtt://127.0.0.1:1",
        ][..],
        &[
            "sub",
            "-t",
            "a",
            "--broker",
            "mqtt://127.0.0.1:1",
            "-V",
            "3.1.1",
        ],
        &["stream", "list", "--endpoint", "http://127.0.0.1:1"],
        &["bench", "quick", "--broker", "mqtt://127.0.0.1:1"],
    ] {
        let ended = place.run(words);
        assert_eq!(ended.code, 69, "{words:?}: {}", ended.stderr);
    }
}
