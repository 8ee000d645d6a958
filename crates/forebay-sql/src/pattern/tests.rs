use super::{Pattern, PatternError, Replacement};

fn found<'t>(pattern: &str, text: &'t str) -> Option<&'t str> {
    let pattern = Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error:?}"));
    pattern.find(text).expect("not given up")
}

#[test]
fn constructs_of_the_jvm_mean_what_they_mean_there() {
    for (pattern, text, expected) in [
        ("a+b", "xaab", Some("aab")),
        ("a+?", "aaa", Some("a")),
        ("a*+a", "aaa", None),
        ("(?>a*)a", "aaa", None),
        ("x{2,3}", "xxxx", Some("xxx")),
        ("x{2}", "xx", Some("xx")),
        ("x{2,}?", "xxxx", Some("xx")),
        ("^b", "a\nb", None),
        ("(?m)^b", "a\nb", Some("b")),
        ("(?m)^$", "a\r\nb", None),
        ("(?m)a$", "a\r\nb", Some("a")),
        ("a$", "a\n", Some("a")),
        ("a$", "a\r\n", Some("a")),
        ("a$", "a\n\n", None),
        ("a\\z", "a\n", None),
        ("a\\Z", "a\u{2028}", Some("a")),
        ("a.b", "a\u{85}b", None),
        ("(?s)a.b", "a\u{85}b", Some("a\u{85}b")),
        ("a.b", "aéb", Some("aéb")),
        ("\\w+", "éab_9é", Some("ab_9")),
        ("\\bab\\b", "éab cab", Some("ab")),
        ("\\Bb", "b ab", Some("b")),
        ("\\s", "\u{a0}", None),
        ("\\h", "\u{a0}", Some("\u{a0}")),
        ("[a-z&&[^q]]+", "qabq", Some("ab")),
        ("[^a-c&&[b]]", "b", None),
        ("[]a]+", "x]a", Some("]a")),
        ("[a-]+", "-a", Some("-a")),
        ("[\\d\\-x]+", "1-x", Some("1-x")),
        ("[a[bc]]+", "abc", Some("abc")),
        ("(?i)straße", "STRAßE", Some("STRAßE")),
        ("(?i)[k-m]+", "KLM", Some("KLM")),
        ("(?i:a)b", "AB", None),
        ("a(?i)b|c", "aC", Some("C")),
        ("(?x) a b # c\nd", "abd", Some("abd")),
        ("(a)(b)?\\1", "aa", Some("aa")),
        ("(?<q>['x]).\\k<q>", "'a'", Some("'a'")),
        ("(a)\\2", "aa", None),
        ("(?<=a)b", "ab", Some("b")),
        ("(?<=a{1,2})b", "aab", Some("b")),
        ("(?<!a|cd)b", "cdb b", Some("b")),
        ("a(?!b)", "abac", Some("a")),
        ("\\Qa+\\E+", "a++", Some("a++")),
        ("\\R", "\r\n", Some("\r\n")),
        ("\\p{Lu}", "aÉ", Some("É")),
        ("\\p{IsGreek}+", "abγδ", Some("γδ")),
        ("\\p{Upper}", "É", None),
        ("\\P{L}", "a1", Some("1")),
        (
            "\\x41\\u0042\\x{43}\\0104\\t\\cA",
            "ABCD\t\u{1}",
            Some("ABCD\t\u{1}"),
        ),
        ("\\ud83d\\ude00", "😀", Some("😀")),
        ("a|", "b", Some("")),
        ("}", "}", Some("}")),
    ] {
        assert_eq!(found(pattern, text), expected, "{pattern} in {text:?}");
    }
}

#[test]
fn what_the_jvm_refuses_is_invalid_and_what_forebay_lacks_is_named() {
    for pattern in [
        "(",
        ")",
        "[a",
        "a**",
        "*",
        "{",
        "a{",
        "a{2,1}",
        "[z-a]",
        "\\",
        "\\y",
        "\\k<n>",
        "(?<1>a)",
        "(?<n>a)(?<n>b)",
        "(?q)",
        "\\p{Nope}",
        "\\ud83d",
        "\\x{110000}",
        "[\\b]",
    ] {
        assert_eq!(
            Pattern::new(pattern).err(),
            Some(PatternError::Invalid),
            "{pattern}"
        );
    }
    for (pattern, construct) in [
        ("\\Ga", "\\G"),
        ("\\X", "\\X"),
        ("\\N{DIGIT ONE}", "\\N"),
        ("\\b{g}", "\\b{g}"),
        ("\\p{javaLowerCase}", "\\p{javaLowerCase}"),
        ("\\p{InGreek}", "\\p{InGreek}"),
        ("(?d)a", "(?d)"),
        ("(?iu)a", "(?u)"),
        ("(?U)a", "(?U)"),
        ("(?<=a+)b", "look-behind without bound"),
        ("(?<!a{2,})b", "look-behind without bound"),
        ("a{1001}", "more than 1000 repetitions"),
        ("(?i)(a)\\1", "a back-reference under (?i)"),
    ] {
        let refused = Some(PatternError::Refused(construct.to_owned()));
        assert_eq!(Pattern::new(pattern).err(), refused, "{pattern}");
    }
    let large = Pattern::new("(?:(?:(?:a{1000}){1000}){1000}){1000}").err();
    assert!(matches!(large, Some(PatternError::Refused(_))), "{large:?}");
    let deep = Pattern::new(&"(".repeat(10_000)).err();
    assert!(matches!(deep, Some(PatternError::Refused(_))), "{deep:?}");
}

#[test]
fn a_search_without_end_is_given_up() {
    let pattern = Pattern::new("^(?=(a+)+$)b").expect("valid");
    let text = format!("{}!", "a".repeat(5000));
    assert!(matches!(pattern.is_match(&text), Ok(false) | Err(_)));
    for pattern in [
        "(?:(?:(?:(?=a|)a?){1000}){1000}){1000}",
        "(?:(?:(?:(?=a|)(?:a?|b)){1000}){1000}){1000}$",
        "(?:(?:(?:(?!b)a{0,3}){500}){500}){500}c",
    ] {
        // Refused or given up, or found soon.
        if let Ok(pattern) = Pattern::new(pattern) {
            // What matters is that it ends.
            assert!(matches!(pattern.is_match("aaaa"), Ok(_) | Err(_)));
        }
    }
    let pattern = Pattern::new("(a|aa)+\\1$").expect("valid");
    assert!(pattern.is_match(&format!("{}!", "a".repeat(200))).is_err());
}

#[test]
fn replacement_text_is_read_as_the_jvm_reads_it() {
    let pattern = Pattern::new("(a)(?<n>b)?").expect("valid");
    let replaced = |replacement: &str| {
        let replacement = Replacement::new(replacement, &pattern)?;
        let captures = pattern
            .captures("a", 0)
            .expect("not given up")
            .expect("a match");
        let mut out = String::new();
        replacement.write(&captures, &mut out);
        Some(out)
    };
    for (replacement, expected) in [
        ("x", Some("x")),
        ("$1x", Some("ax")),
        ("<$0>", Some("<a>")),
        ("$2", Some("")),
        ("${n}", Some("")),
        ("$10", Some("a0")),
        ("\\$1\\\\", Some("$1\\")),
        ("$3", None),
        ("$", None),
        ("$x", None),
        ("x\\", None),
        ("${m}", None),
        ("${n", None),
    ] {
        assert_eq!(replaced(replacement).as_deref(), expected, "{replacement}");
    }
}
