use proptest::prelude::*;

use super::Pattern;

fn format(pattern: &str, milliseconds: i64, zone: &str) -> Option<String> {
    let mut out = String::new();
    super::format(pattern, milliseconds, zone, &mut out)?;
    Some(out)
}

fn parse(text: &str, pattern: &str) -> Option<i64> {
    Pattern::new(pattern)?.parse(text)
}

/// 2023-11-14T22:13:20.123Z
const AT: i64 = 1_700_000_000_123;

#[test]
fn patterns_write_what_joda_time_writes() {
    let utc = |pattern| format(pattern, AT, "UTC");
    for (pattern, expected) in [
        (
            "yyyy-MM-dd'T'HH:mm:ss.SSSZZ",
            "2023-11-14T22:13:20.123+00:00",
        ),
        ("G C Y yy x w e", "AD 20 2023 23 2023 46 2"),
        ("E EEEE MMM MMMM M D", "Tue Tuesday Nov November 11 318"),
        ("h K k a S SSSSSS", "10 10 22 PM 1 123000"),
        ("''yyyy 'o''clock'", "'2023 o'clock"),
        ("yyyy 'open", "2023 open"),
        ("z Z ZZZ", "UTC +0000 UTC"),
        ("é_ß", "é_ß"),
    ] {
        assert_eq!(utc(pattern).as_deref(), Some(expected), "{pattern}");
    }
    for pattern in ["", "j", "'", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"] {
        assert_eq!(utc(pattern), None, "{pattern}");
    }
}

#[test]
fn zones_have_the_names_of_the_database() {
    let doc = "yyyy.MM.dd G 'at' HH:mm:ss z";
    for (at, zone, expected) in [
        (
            100_000_000,
            "America/Belize",
            "1970.01.01 AD at 21:46:40 CST",
        ),
        (AT, "America/New_York", "2023.11.14 AD at 17:13:20 EST"),
        (
            1_690_000_000_000,
            "America/New_York",
            "2023.07.22 AD at 00:26:40 EDT",
        ),
        (AT, "UTC", "2023.11.14 AD at 22:13:20 UTC"),
        (AT, "America/Sao_Paulo", "2023.11.14 AD at 19:13:20 -03"),
        (AT, "+05:30", "2023.11.15 AD at 03:43:20 +05:30"),
    ] {
        assert_eq!(format(doc, at, zone).as_deref(), Some(expected), "{zone}");
    }
    for zone in ["Nowhere/City", "", "+19:00", "america/belize"] {
        assert_eq!(format(doc, AT, zone), None, "{zone}");
    }
    assert_eq!(format(doc, i64::MAX, "UTC"), None);
}

#[test]
fn patterns_read_what_java_time_reads() {
    for (text, pattern, expected) in [
        (
            "2020-04-03 09:45:18 UTC+01:00",
            "yyyy-MM-dd HH:mm:ss VV",
            1_585_903_518_000,
        ),
        ("18 December 2015", "dd MMMM yyyy", 1_450_396_800_000),
        (
            "2007-12-03 10:15:30.592 America/Los_Angeles",
            "yyyy-MM-dd HH:mm:ss.SSS z",
            1_196_705_730_592,
        ),
        ("20231114221320123", "yyyyMMddHHmmssSSS", AT),
        (
            "2023-11-14T22:13:20Z",
            "uuuu-MM-dd'T'HH:mm:ssX",
            1_700_000_000_000,
        ),
        (
            "2023-11-14T23:13:20+01",
            "uuuu-MM-dd'T'HH:mm:ssX",
            1_700_000_000_000,
        ),
        (
            "2023-11-14T23:13:20+01:00",
            "uuuu-MM-dd'T'HH:mm:ssXXX",
            1_700_000_000_000,
        ),
        (
            "2023-11-14T23:13:20+0100",
            "uuuu-MM-dd'T'HH:mm:ssZ",
            1_700_000_000_000,
        ),
        (
            "Tue, 14 Nov 2023 10:13:20 PM GMT",
            "EEE, d MMM yyyy h:mm:ss a z",
            1_700_000_000_000,
        ),
        ("2023-11-14", "yyyy-MM-dd[ HH:mm]", 1_699_920_000_000),
        ("2023-11-14 00:01", "yyyy-MM-dd[ HH:mm]", 1_699_920_060_000),
        ("2023-318", "yyyy-DDD", 1_699_920_000_000),
        ("2023-02-31", "yyyy-MM-dd", 1_677_542_400_000),
        ("2023-11-13 24:00", "yyyy-MM-dd HH:mm", 1_699_920_000_000),
        ("23-1-2", "yy-M-d", 1_672_617_600_000),
        ("0001-01-01 BC", "yyyy-MM-dd G", -62_167_219_200_000),
        // Tuesday is the third day of a week that begins on Sunday.
        ("2023-11-14 3", "yyyy-MM-dd e", 1_699_920_000_000),
        ("2023-11-14 03", "yyyy-MM-dd ee", 1_699_920_000_000),
        ("2023-11-14 3", "yyyy-MM-dd c", 1_699_920_000_000),
        ("2023-11-14 Tue", "yyyy-MM-dd eee", 1_699_920_000_000),
        ("2023-11-14 Tuesday", "yyyy-MM-dd cccc", 1_699_920_000_000),
        ("2023-11-16 T", "yyyy-MM-dd EEEEE", 1_700_092_800_000),
        ("2023 N 14", "yyyy MMMMM dd", 1_699_920_000_000),
        ("2023 1133", "yyyy MMWe", 1_699_920_000_000),
        ("2023-11-14 46 3", "yyyy-MM-dd w W", 1_699_920_000_000),
        ("2023-11 W3 Tue", "yyyy-MM 'W'W EEE", 1_699_920_000_000),
        ("2023-11 3 3", "yyyy-MM W e", 1_699_920_000_000),
        ("2023-12-31 01", "yyyy-MM-dd ww", 1_703_980_800_000),
        ("2022-12-31 53", "yyyy-MM-dd ww", 1_672_444_800_000),
        // Eastern time in April has daylight saving, whatever it is called.
        ("2023-04-20 EST", "yyyy-MM-dd z", 1_681_963_200_000),
        (
            "2023-11-14 Pacific Standard Time",
            "yyyy-MM-dd zzzz",
            1_699_948_800_000,
        ),
        ("Q4 2023-11-14", "QQQ yyyy-MM-dd", 1_699_920_000_000),
        (
            "4th quarter 2023-11-14",
            "qqqq yyyy-MM-dd",
            1_699_920_000_000,
        ),
        (
            "2023-11-14 Anno Domini",
            "yyyy-MM-dd GGGG",
            1_699_920_000_000,
        ),
        ("2023-11-14 A", "yyyy-MM-dd GGGGG", 1_699_920_000_000),
        ("2023-11-14  1:02", "yyyy-MM-dd ppH:mm", 1_699_923_720_000),
        (
            "2023-11-14T10:00GMT+8",
            "yyyy-MM-dd'T'HH:mmO",
            1_699_927_200_000,
        ),
        (
            "2023-11-14T10:00GMT+08:00",
            "yyyy-MM-dd'T'HH:mmOOOO",
            1_699_927_200_000,
        ),
        ("2023-11-14 86399999", "yyyy-MM-dd A", 1_700_006_399_999),
        (
            "2023-11-14 17:13:20 EST",
            "yyyy-MM-dd HH:mm:ss z",
            1_700_000_000_000,
        ),
    ] {
        assert_eq!(parse(text, pattern), Some(expected), "{text} by {pattern}");
    }
}

#[test]
fn other_texts_and_patterns_give_nothing() {
    for (text, pattern) in [
        ("2023-11-14 ", "yyyy-MM-dd"),
        ("2023-11", "yyyy-MM"),
        ("23-11-14", "yyyy-MM-dd"),
        ("2023-13-01", "yyyy-MM-dd"),
        ("2023-11-00", "yyyy-MM-dd"),
        ("Mon 2023-11-14", "EEE yyyy-MM-dd"),
        ("2023-11-14 10", "yyyy-MM-dd hh"),
        ("2023-11-14 25", "yyyy-MM-dd HH"),
        ("2023-11-14 :30", "yyyy-MM-dd :mm"),
        ("2023-11-14 Nowhere", "yyyy-MM-dd VV"),
        ("2023-11-14 Z", "yyyy-MM-dd x"),
        ("2023-11-14", "yyyy-MM-dd]"),
        ("2023-11-14", "yyyy-MM-dd'"),
        ("2023-11-14", "yyyy-MM-dd{"),
        ("2023", "bbbb"),
        ("2023-11-14 2", "yyyy-MM-dd e"),
        ("2023-11-14 0", "yyyy-MM-dd e"),
        ("2023-11-14 45", "yyyy-MM-dd w"),
        ("2023-11-14 2", "yyyy-MM-dd W"),
        ("2023-11-14 03", "yyyy-MM-dd cc"),
        ("2023-11-14 3", "yyyy-MM-dd WW"),
        ("2023-11-014", "yyyy-MM-ddd"),
        ("2023-11-14 AM", "yyyy-MM-dd aa"),
        ("2023-11-14 UTC", "yyyy-MM-dd V"),
        ("2023-11-14 Nov", "yyyy-MM-dd MMMM"),
        ("2023-nov-14", "yyyy-MMM-dd"),
        ("2023-11-14 1:02", "yyyy-MM-dd ppH:mm"),
        ("2023-11 3", "yyyy-MM W"),
        ("2023 46 3", "yyyy w e"),
        ("2023 11 14", "yyyy MMMMM dd"),
        ("2023318", "yyyyD"),
        ("2023-11-14 PST", "yyyy-MM-dd zzzz"),
        ("2023-11-14 GMT-3", "yyyy-MM-dd VV"),
        ("12023-11-14", "yyyy-MM-dd"),
        ("+2023-11-14", "yyyy-MM-dd"),
        ("2023--11-14", "yyyy-M-dd"),
        ("", ""),
    ] {
        assert_eq!(parse(text, pattern), None, "{text} by {pattern}");
    }
}

proptest! {
    #[test]
    fn what_one_writes_the_other_reads(at in -62_135_596_800_000_i64..253_000_000_000_000) {
        let text = format("yyyy-MM-dd HH:mm:ss.SSS ZZ", at, "Asia/Kolkata").unwrap();
        prop_assume!(at > 0);
        prop_assert_eq!(parse(&text, "yyyy-MM-dd HH:mm:ss.SSS XXX"), Some(at), "{}", text);
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,30}", pattern in "[a-zA-Z'\\[\\]{}:. é-]{0,30}", at in any::<i64>()) {
        let _written = format(&pattern, at, &text);
        let _read = parse(&text, &pattern);
    }
}
