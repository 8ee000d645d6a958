//! The document, asked through both parsers.

use proptest::prelude::*;

use super::*;

/// Everything that can be asked of a value, as text.
fn describe(document: &Document<'_>, item: Item, out: &mut String) {
    use std::fmt::Write as _;
    let mut text = Vec::new();
    document.write(item, &mut text);
    let kind = match document.kind(item) {
        Kind::Int(_) | Kind::Number => {
            assert_eq!(document.number_text(item), text);
            if let Kind::Int(value) = document.kind(item) {
                let text = String::from_utf8_lossy(&text);
                assert_eq!(text.parse(), Ok(value), "{text}");
            }
            "number".to_owned()
        }
        Kind::String => format!("{:?}", document.text(item)),
        other => format!("{other:?} of {}", document.len(item)),
    };
    writeln!(out, "{kind}: {}", String::from_utf8_lossy(&text)).unwrap();
    let mut members = document.members(item);
    while let Some((name, value)) = members.next(document) {
        writeln!(out, "{name:?}").unwrap();
        describe(document, value, out);
        let last = document.member(item, name).unwrap();
        let distinct = document.distinct_members(item);
        assert!(distinct.contains(&(name, last)));
        assert_eq!(
            document.has_duplicate_names(item),
            distinct.len() < document.len(item) as usize
        );
    }
    let mut elements = document.elements(item);
    while let Some((element, _)) = elements.next(document) {
        describe(document, element, out);
    }
}

fn described(payload: &[u8], exact: bool) -> Result<String, PayloadFault> {
    let mut buffers = Buffers::default();
    let document = Document::parse_by(payload, &mut buffers, exact)?;
    assert_eq!(matches!(document.tree, Tree::Exact(_)), exact);
    let mut text = String::new();
    describe(&document, document.root(), &mut text);
    Ok(text)
}

fn compact(payload: &str) -> String {
    let mut buffers = Buffers::default();
    let document = Document::parse(payload.as_bytes(), &mut buffers).unwrap();
    let mut out = Vec::new();
    document.write(document.root(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn copies_keep_their_text_and_lose_white_space() {
    assert_eq!(
        compact(
            " { \"a b\" : [ 1.50 , 1e2,\t-0.0 ], \"\\u00e9\\/\" : \"x \\\" y\" , \"e\":{ } }\n"
        ),
        r#"{"a b":[1.50,1e2,-0.0],"\u00e9\/":"x \" y","e":{}}"#
    );
    assert_eq!(
        compact(r#"[{"a":1,"b":{"x":1,"x":[2]},"\u0061": 3}]"#),
        r#"[{"a":3,"b":{"x":[2]}}]"#
    );
}

#[test]
fn names_are_distinct_in_large_objects_too() {
    let members: Vec<_> = (0..200).map(|n| format!("\"n{}\":{n}", n % 150)).collect();
    let text = compact(&format!("{{{}}}", members.join(",")));
    assert_eq!(text.matches(':').count(), 150);
    assert!(
        text.starts_with(r#"{"n0":150,"n1":151,"#) && text.ends_with(r#""n149":149}"#),
        "{text}"
    );
    let members: Vec<_> = (0..200).map(|n| format!("\"n{n}\":{n}")).collect();
    let text = format!("{{{}}}", members.join(","));
    assert_eq!(compact(&text), text);
}

#[test]
fn what_is_json_and_how_deep() {
    let parse = |payload: &[u8]| Document::parse(payload, &mut Buffers::default()).err();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(parse(nested(128).as_bytes()), None);
    assert_eq!(parse(nested(129).as_bytes()), Some(PayloadFault::TooDeep));
    assert_eq!(
        parse(nested(100_000).as_bytes()),
        Some(PayloadFault::TooDeep)
    );
    // What is no text is no JSON, however deep it goes.
    let mut damaged = format!("[\"?\",{}]", nested(200)).into_bytes();
    damaged[2] = 0xff;
    assert_eq!(parse(&damaged), Some(PayloadFault::NotJson));
    // One level more inside an object whose long number asks for the exact parser.
    let exact = |depth| format!(r#"{{"n":1234567890123456789,"a":{}}}"#, nested(depth));
    assert_eq!(parse(exact(127).as_bytes()), None);
    assert_eq!(parse(exact(128).as_bytes()), Some(PayloadFault::TooDeep));
    for payload in [
        &b""[..],
        b" ",
        b"80",
        b"\"x\"",
        b"null",
        b"{",
        b"{]",
        b"{\"a\":1,}",
        b"[1,]",
        b"[01]",
        b"[1.]",
        b"[.5]",
        b"[+1]",
        b"[1e]",
        b"[\"\t\"]",
        b"[\"\\x\"]",
        b"[\"\xff\"]",
        b"[\"plain and \xc3\"]",
        b"[\"\\n\xff\"]",
        b"[\"\xc3\xa9\\n\xff\"]",
        b"{\"\xc3\":1}",
        b"[\"\xc3\",\"\xa9\"]",
        b"\xa0[]",
        b"{} x",
        b"[\"\\ud800\"]",
        b"[\"\\udc00\\ud800\"]",
        b"[\"\\ud83d\\u0041\"]",
        b"\xef\xbb\xbf{}",
        b"[tru]",
        b"[nullx]",
        b"{\"a\" 1}",
        b"{1:2}",
        b"[\x00]",
        b"[1]\x00",
    ] {
        assert_eq!(
            parse(payload),
            Some(PayloadFault::NotJson),
            "{:?}",
            String::from_utf8_lossy(payload)
        );
    }
}

#[test]
fn buffers_are_reused_for_payloads_of_any_size() {
    let mut buffers = Buffers::default();
    for len in [10, 10_000, 3, 0, 500] {
        let payload = format!("{{\"a\":[{}],\"b\":\"\\n\"}}", vec!["1"; len].join(","));
        let document = Document::parse(payload.as_bytes(), &mut buffers).unwrap();
        let array = document.member(document.root(), "a").unwrap();
        assert_eq!(document.len(array) as usize, len);
        assert_eq!(
            document.text(document.member(document.root(), "b").unwrap()),
            "\n"
        );
    }
}

/// JSON texts with all the freedom that the grammar has in white space, escapes and number forms.
fn json() -> impl Strategy<Value = String> {
    let string = "\"([a-e]|é|😀|\\\\[nt\"/\\\\]|\\\\u00[0-9a-f]{2}|[ {}:,\\[\\]]){0,5}\"";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,12})?",
        string,
    ];
    let space = "[ \t\r\n]{0,2}";
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let padded = (space, inner, space).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        let member = (space, string, space, padded.clone())
            .prop_map(|(a, name, b, value)| format!("{a}{name}{b}:{value}"));
        prop_oneof![
            proptest::collection::vec(padded, 0..6)
                .prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..6)
                .prop_map(|items| format!("{{{}}}", items.join(","))),
        ]
    })
    .prop_map(|value| match value.as_bytes().first() {
        Some(b'[' | b'{') => value,
        _ => format!("[{value}]"),
    })
}

proptest! {
    #[test]
    fn tape_and_exact_parser_agree(payload in json()) {
        // Strings may spell what the glance is wary of; the exact parser alone has those.
        if super::super::scan::needs_exact(payload.as_bytes()) {
            return Ok(());
        }
        prop_assert_eq!(described(payload.as_bytes(), false), described(payload.as_bytes(), true));
    }

    #[test]
    fn damaged_payloads_get_one_verdict(payload in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = payload.into_bytes();
        let at = at.index(payload.len());
        payload[at] = byte;
        // Whatever the tape accepts, the exact parser accepts and reads in the same way.
        let both = [super::super::scan::needs_exact(&payload), true].map(|exact| Document::parse_by(&payload, &mut Buffers::default(), exact).map(|document| {
            let mut text = String::new();
            describe(&document, document.root(), &mut text);
            text
        }));
        prop_assert_eq!(&both[0], &both[1]);
    }

    #[test]
    fn any_bytes_are_judged(payload in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\",:\\u0e1 "[..])], 0..60)) {
        let verdict = Document::parse(&payload, &mut Buffers::default()).is_ok();
        let ours = serde_json::from_slice::<serde_json::Value>(&payload).is_ok_and(|value| value.is_object() || value.is_array());
        // serde_json refuses numbers beyond binary64 and nothing else that is JSON.
        prop_assert!(verdict || !ours);
        prop_assert!(!verdict || std::str::from_utf8(&payload).is_ok());
    }
}
