//! The evaluator allocates nothing for a message once its buffers have grown: counted by the allocator itself.

use allocation_counter::measure;
use forebay_core::{Origin, Properties, SeededEntropy};
use forebay_sql::{
    Context, Evaluation, JsonReader, Limits, Scratch, SelectStar, Selection, SqlVersion, Statement,
    Template,
};

/// 256 bytes of telemetry, the payload of the benches.
const PAYLOAD: &str = include_str!("../../../benches/benches/telemetry-256.json");

/// Statements of every clause and every family of functions.
const STATEMENTS: [&str; 31] = [
    "SELECT * FROM 'dt/#'",
    "SELECT *, topic(2) AS d FROM 'dt/#'",
    "SELECT temperature, location.lat AS lat FROM 'dt/#' WHERE temperature > 5",
    "SELECT *, temperature * 2 AS temperature FROM 'dt/#'",
    "SELECT VALUE * FROM 'dt/#'",
    "SET @a = upper(device), @b = {'x': @a} SELECT @a AS a, @b.x AS x FROM 'dt/#'",
    // Operators and conversions.
    "SELECT '5' * temperature + 1 AS a, 'x' + temperature + true AS b, temperature / 3 % 7 AS c FROM 'dt/#'",
    "SELECT location = {'lon': 8.5417, 'lat': lat} AS e, [1, *.device] = [1, device] AS f, device IN ['a', device] AS i FROM 'dt/#'",
    "SELECT CASE device WHEN 'x' THEN 1 ELSE -temperature END AS c, NOT (temperature < 5 OR device = 'x') AS n FROM 'dt/#'",
    "SELECT cast(temperature AS String) AS s, cast(device AS Int) AS i, cast('1.5' + '' AS Decimal) AS d FROM 'dt/#'",
    "SELECT (SELECT v, topic(1) AS t FROM [{'v': temperature}, {'v': 2}] WHERE v > 1) AS q FROM 'dt/#'",
    "SELECT EXISTS (SELECT * FROM [1, 2] AS x WHERE x = 2) AS e, get((SELECT VALUE device FROM *), 0) AS d FROM 'dt/#'",
    "SELECT device AS a.b, temperature AS a.c.d, [temperature, {'k': device}] AS l FROM 'dt/#'",
    // Numbers.
    "SELECT abs(temperature) AS a, floor(temperature) AS f, round(temperature) AS r, trunc(temperature, 1) AS t, sign(temperature) AS s FROM 'dt/#'",
    "SELECT sqrt(temperature) AS a, power(temperature, 2) AS p, ln(temperature) AS l, atan2(temperature, 2) AS t, rand() AS r FROM 'dt/#'",
    "SELECT bitand(temperature, 5) AS a, mod(temperature, 3) AS m, nanvl(missing, temperature) AS n FROM 'dt/#'",
    // Strings.
    "SELECT upper(device) AS u, lower(device) AS l, concat(device, '-', temperature) AS c, trim(device) AS t FROM 'dt/#'",
    "SELECT lpad(device, 3) AS l, rpad(device, 3) AS r, replace(device, '-', '::') AS e, substring(device, 1, 3) AS s FROM 'dt/#'",
    "SELECT length(device) AS l, numbytes(device) AS n, indexof(device, '-') AS i, startswith(device, 'd') AS s, chr(65 + temperature * 0) AS c FROM 'dt/#'",
    "SELECT md2(device) AS a, md5(device) AS b, sha1(device) AS c, sha224(device) AS d, sha256(device) AS e, sha384(device) AS f, sha512(device) AS g FROM 'dt/#'",
    // Regular expressions that need no backtracking.
    "SELECT regexp_matches(device, '[a-z]+') AS m, regexp_substr(device, '[0-9]+') AS s FROM 'dt/#'",
    // Collections.
    "SELECT get([device, 2], 0) AS a, get(device, 1) AS b, get(*.location, 'lat') AS c, isNull(device) AS n, isUndefined(x) AS u FROM 'dt/#'",
    "SELECT get_or_default(x, device) AS d, transform('enrichArray', {'d': device}, [{'a': 1}, {'d': 2}]) AS t, concat([1], device) AS c FROM 'dt/#'",
    // Time.
    "SELECT timestamp() AS t, parse_time(\"yyyy-MM-dd'T'HH:mm:ss.SSS z\", timestamp(), 'Europe/Berlin') AS p FROM 'dt/#'",
    "SELECT time_to_epoch('2023-11-14 ' + '22:13:20' + substring(device, 99), 'yyyy-MM-dd HH:mm:ss') AS e FROM 'dt/#'",
    // The message and its publisher.
    "SELECT topic() AS t, clientid() AS c, traceid() AS i, newuuid() AS u, principal() AS p, sourceip() AS s, accountid() AS a, sql_version() AS v FROM 'dt/#'",
    "SELECT get_mqtt_property('correlation_data') AS c, get_mqtt_property('content_type') AS t, get_user_properties() AS p, get_user_properties('k') AS q FROM 'dt/#'",
    // Encodings.
    "SELECT encode(*, 'base64') AS e, decode(encode(*, 'base64'), 'base64').device AS d, decode('aGk' + '=', 'base64') AS t FROM 'dt/#'",
    // What does not select, and what fails.
    "SELECT a FROM 'dt/#' WHERE temperature > 1000000",
    "SELECT VALUE missing FROM 'dt/#'",
    "SELECT missing.x AS a, 5 / (temperature * 0) AS z, 'a' * 2 AS b FROM 'dt/#'",
];

const TEMPLATES: [&str; 3] = [
    "${topic(2)}",
    "key-${device}-${temperature + 0.5}-${[device, null]}",
    "${upper(parse_time('yyyy/MM/dd/HH', timestamp()))}",
];

fn allocations(payload: &[u8]) -> Vec<(&'static str, u64)> {
    let version = SqlVersion::V2016;
    let compile =
        |sql| Statement::compile(sql, version).unwrap_or_else(|errors| panic!("{sql}: {errors:?}"));
    let user = [
        ("k".to_owned(), "v".to_owned()),
        ("l".to_owned(), "w".to_owned()),
    ];
    let origin = Origin {
        principal: Some("p"),
        source_ip: Some("192.0.2.1".parse().expect("an address")),
        properties: Properties {
            content_type: Some("text/plain"),
            correlation_data: Some(b"\x00\x01"),
            user: &user,
            ..Properties::default()
        },
        ..Origin::default()
    };
    let context = Context {
        topic: "dt/7",
        payload,
        client_id: Some("c"),
        timestamp_ms: 1_700_000_000_123,
        origin: &origin,
    };
    let (mut scratch, mut entropy) = (Scratch::default(), SeededEntropy::new(1));
    let mut out = Vec::new();
    let mut counted = Vec::new();
    for sql in STATEMENTS {
        let statement = compile(sql);
        let mut run = || {
            let mut evaluation =
                Evaluation::new(context, Limits::default(), &mut scratch, &mut entropy);
            evaluation
                .select(&statement, SelectStar::Verbatim, &mut out)
                .ok();
        };
        (0..4).for_each(|_| run());
        counted.push((sql, measure(run).count_total));
    }
    for text in TEMPLATES {
        let template = Template::compile(text, version).expect("valid");
        let mut run = || {
            let mut evaluation =
                Evaluation::new(context, Limits::default(), &mut scratch, &mut entropy);
            evaluation.template(&template, &mut out).expect("text");
        };
        (0..4).for_each(|_| run());
        counted.push((text, measure(run).count_total));
    }
    counted
}

fn assert_none(payload: &str) {
    let allocating: Vec<_> = allocations(payload.as_bytes())
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert!(allocating.is_empty(), "{allocating:#?}");
}

#[test]
fn nothing_is_allocated_for_a_message_after_warm_up() {
    assert_none(PAYLOAD);
}

#[test]
fn nothing_is_allocated_with_numbers_that_binary64_does_not_hold() {
    assert_none(&PAYLOAD.replacen('{', "{\"long\":12345678901234567890123,", 1));
}

#[test]
fn nothing_is_allocated_for_an_object_of_many_members() {
    let members: String = (0..400).map(|n| format!("\"n{n}\":{n},")).collect();
    assert_none(&PAYLOAD.replacen('{', &format!("{{{members}"), 1));
}

#[test]
fn nothing_is_allocated_for_a_payload_that_goes_through_the_tape() {
    let large = format!("{{\"large\":\"{}\",", "x".repeat(140_000));
    let payload = PAYLOAD.replacen('{', &large, 1);
    assert_eq!(JsonReader::of(payload.as_bytes()), JsonReader::Tape);
    assert_none(&payload);
}

#[test]
fn the_counter_counts() {
    assert!(measure(|| drop(vec![1_u8; 100])).count_total > 0);
    let statement = Statement::compile("SELECT * FROM 'a'", SqlVersion::V2016).expect("valid");
    let (mut scratch, mut entropy) = (Scratch::default(), SeededEntropy::new(1));
    let context = Context {
        topic: "a",
        payload: b"{}",
        client_id: None,
        timestamp_ms: 0,
        origin: &Origin::UNKNOWN,
    };
    let mut out = Vec::new();
    let mut evaluation = Evaluation::new(context, Limits::default(), &mut scratch, &mut entropy);
    let selected = evaluation.select(&statement, SelectStar::Verbatim, &mut out);
    assert_eq!(selected, Ok(Selection::Payload));
}
