//! SELECT, SET, nested queries, CASE, payloads that are no JSON, templates.

use crate::bed::{NEW, OLD, TYPES, check, select, select_bytes, template};

#[test]
fn items_without_alias_have_a_name_of_their_own() {
    for (items, expected) in [
        ("o.l.m", r#"{"m":[10,20]}"#),
        ("*.s", r#"{"s":"abc"}"#),
        ("Upper(s)", r#"{"upper":"ABC"}"#),
        ("i, i + 1, i * 2", r#"{"i":7,"_1":8,"_2":14}"#),
        ("CASE i WHEN 7 THEN 1 END", r#"{"_0":1}"#),
        ("get(a, 3).k", r#"{"k":2}"#),
        ("{'x-y': i, 'q': missing}", r#"{"x-y":7}"#),
        ("{'x': 1} AS y", r#"{"y":{"x":1}}"#),
        ("o.*", r#"{"k":1,"l":{"m":[10,20]}}"#),
        ("o.*, 5 AS k", r#"{"k":5,"l":{"m":[10,20]}}"#),
        ("i.*, missing.*", "{}"),
        ("missing, z", r#"{"z":null}"#),
        ("missing AS a, i AS a, missing AS a", r#"{"a":7}"#),
        (
            "i AS end, s AS from, d AS o.value",
            r#"{"end":7,"from":"abc","o":{"value":2.50}}"#,
        ),
        (
            "i AS k.l, s AS k.m, d AS x",
            r#"{"k":{"l":7,"m":"abc"},"x":2.50}"#,
        ),
    ] {
        assert_eq!(
            select(&format!("SELECT {items} FROM 'a/#'"), NEW, TYPES),
            expected,
            "{items}"
        );
    }
    let set = "SET @v = o SELECT @v.l.m, @v.k + 1 FROM 'a/#'";
    assert_eq!(select(set, NEW, TYPES), r#"{"m":[10,20],"_1":2}"#);
}

#[test]
fn star_brings_members_of_objects_only() {
    for (sql, payload, expected) in [
        ("SELECT * FROM 'a'", " [1, 2] ", " [1, 2] "),
        ("SELECT *, 1 AS k FROM 'a'", "[1, 2]", r#"{"k":1}"#),
        ("SELECT * AS k FROM 'a'", "[1, 2]", r#"{"k":[1,2]}"#),
        ("SELECT * AS k FROM 'a'", "text", "{}"),
        (
            "SELECT VALUE * FROM 'a'",
            " { \"a\" : 1.0 } ",
            r#"{"a":1.0}"#,
        ),
        ("SELECT VALUE * FROM 'a'", "text", "undefined"),
        (
            "SELECT VALUE {'m': *, 't': topic()} FROM 'a'",
            "[1]",
            r#"{"m":[1],"t":"a/b/c"}"#,
        ),
        (
            "SELECT *, 1 AS k FROM 'a'",
            "{ \"a\" : 1 \n}  ",
            "{ \"a\" : 1,\"k\":1}",
        ),
        ("SELECT *, 1 AS k FROM 'a'", "{ }", "{\"k\":1}"),
        ("SELECT *, missing FROM 'a'", "{\"a\" : 1 } ", "{\"a\" : 1}"),
        (
            "SELECT *, 1 AS a FROM 'a'",
            "{\"a\" : 2, \"b\" : 3}",
            r#"{"a":1,"b":3}"#,
        ),
        (
            "SELECT *, 1 AS k FROM 'a'",
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"a":2,"k":1}"#,
        ),
        (
            "SELECT *, 1 AS \u{e9} FROM 'a'",
            r#"{"\u00e9": 2}"#,
            "{\"\u{e9}\":1}",
        ),
        (
            "SELECT 1 AS k, * FROM 'a'",
            "{\"a\" : 2}",
            r#"{"k":1,"a":2}"#,
        ),
        ("SELECT *, * FROM 'a'", "{\"a\" : 2}", r#"{"a":2}"#),
        ("SELECT *.a FROM 'a'", "[1]", "{}"),
    ] {
        assert_eq!(select(sql, NEW, payload), expected, "{sql} on {payload}");
    }
}

#[test]
fn the_first_version_has_no_array_as_whole_output() {
    assert_eq!(select("SELECT VALUE a FROM 'a'", OLD, TYPES), "undefined");
    assert_eq!(select("SELECT VALUE * FROM 'a'", OLD, "[1]"), "undefined");
    assert_eq!(select("SELECT * FROM 'a'", OLD, "[1]"), "[1]");
    assert_eq!(
        select("SELECT a FROM 'a'", OLD, r#"{"a":[1]}"#),
        r#"{"a":[1]}"#
    );
    assert_eq!(
        select("SELECT VALUE a FROM 'a'", NEW, r#"{"a":[1]}"#),
        "[1]"
    );
}

#[test]
fn where_wants_exactly_true() {
    for (condition, passes) in [
        ("true", true),
        ("'TRUE'", true),
        ("t", true),
        ("false", false),
        ("'yes'", false),
        ("1", false),
        ("z", false),
        ("missing", false),
        ("a", false),
        ("i > 5 AND d < 3", true),
        ("missing <> 1", false),
        ("isUndefined(missing) OR missing > 1", true),
    ] {
        let sql = format!("SELECT i FROM 'a' WHERE {condition}");
        let expected = if passes { r#"{"i":7}"# } else { "none" };
        assert_eq!(select(&sql, NEW, TYPES), expected, "{condition}");
    }
}

#[test]
fn nested_queries_go_over_arrays_and_objects() {
    check(&[
        (
            "(SELECT k FROM [{'k': 1}, {'l': 2}, 3])",
            r#"[{"k":1},{},{}]"#,
        ),
        ("(SELECT VALUE k FROM [{'k': 1}, {'l': 2}, 3])", "[1]"),
        ("(SELECT * FROM [1, 'x', {'k': 1}])", r#"[1,"x",{"k":1}]"#),
        (
            "(SELECT *, 1 AS q FROM [1, {'k': 1}])",
            r#"[{"q":1},{"k":1,"q":1}]"#,
        ),
        ("(SELECT k FROM o)", r#"{"k":1}"#),
        ("(SELECT VALUE k FROM o)", "1"),
        ("(SELECT VALUE missing FROM o)", "undefined"),
        ("(SELECT k FROM o WHERE k > 1)", "undefined"),
        (
            "(SELECT k FROM [{'k': 1}, {'k': 2}] WHERE k > 1)",
            r#"[{"k":2}]"#,
        ),
        ("(SELECT k FROM s)", "undefined"),
        ("(SELECT k FROM missing)", "undefined"),
        ("(SELECT i FROM [{'k': 1}])", "[{}]"),
        ("(SELECT VALUE x FROM [1, 2] AS x)", "[1,2]"),
        (
            "(SELECT VALUE k FROM [{'k': {'k': 5}}] AS k)",
            r#"[{"k":{"k":5}}]"#,
        ),
        ("(SELECT VALUE k.k FROM [{'k': 5}] AS k)", "[5]"),
        ("(SELECT VALUE topic(1) FROM [1, 2])", r#"["a","a"]"#),
        (
            "(SELECT VALUE (SELECT VALUE m FROM l) FROM [{'l': [{'m': 1}]}])",
            "[[1]]",
        ),
        ("(SELECT VALUE i FROM *)", "[7]"),
        ("(SELECT VALUE x FROM *.a AS x WHERE x = 1)", "[1]"),
        ("get((SELECT * FROM *), 0).i", "7"),
        ("(SELECT 1 AS x.y FROM [0])", r#"[{"x":{"y":1}}]"#),
        ("(SELECT VALUE * FROM [1, 2])", "[1,2]"),
        ("isNull(SELECT VALUE z FROM *)", "false"),
        ("EXISTS (SELECT * FROM a AS x WHERE x = 1)", "true"),
        ("EXISTS (SELECT * FROM a AS x WHERE x = 9)", "false"),
        ("EXISTS (SELECT VALUE k FROM [{'l': 1}])", "false"),
        ("EXISTS (SELECT * FROM missing)", "false"),
        ("EXISTS (SELECT * FROM o WHERE k = 1)", "true"),
        ("EXISTS (SELECT * FROM [])", "false"),
    ]);
    let variable = "SET @m = 2 SELECT VALUE (SELECT VALUE x * @m FROM a AS x WHERE x = 1) FROM 'a'";
    assert_eq!(select(variable, NEW, TYPES), "[2]");
    assert_eq!(
        select("SELECT VALUE (SELECT * FROM *) FROM 'a'", NEW, "[1, {}]"),
        "[1,{}]"
    );
    assert_eq!(
        select("SELECT VALUE (SELECT * FROM *) FROM 'a'", NEW, "text"),
        "undefined"
    );
}

#[test]
fn case_takes_the_first_equal_branch() {
    check(&[
        ("CASE i WHEN 7.0 THEN 'a' WHEN 7 THEN 'b' END", "\"a\""),
        ("CASE i WHEN '7' THEN 'a' ELSE 'b' END", "\"b\""),
        ("CASE i WHEN 8 THEN 'a' END", "undefined"),
        ("CASE missing WHEN 1 THEN 2 ELSE 3 END", "undefined"),
        ("CASE big WHEN 1 THEN 2 ELSE 3 END", "undefined"),
        ("CASE z WHEN NULL THEN 'n' ELSE 'x' END", "\"n\""),
        ("CASE i WHEN missing THEN 1 ELSE 2 END", "2"),
        ("CASE i WHEN o.k + 6 THEN d END", "2.50"),
        ("CASE [1] WHEN [1] THEN 'l' END", "\"l\""),
        ("CASE i WHEN 7 THEN missing ELSE 5 END", "undefined"),
        (
            "CASE CASE i WHEN 7 THEN 1 END WHEN 1 THEN 'in' END",
            "\"in\"",
        ),
    ]);
}

#[test]
fn variables_are_evaluated_once_and_before_everything() {
    for (sql, expected) in [
        (
            "SET @a = i, @b = @a + 1 SELECT @a AS a, @b AS b FROM 'a' WHERE @b = 8",
            r#"{"a":7,"b":8}"#,
        ),
        (
            "SET @u = newuuid() SELECT @u = @u AS same FROM 'a'",
            r#"{"same":true}"#,
        ),
        (
            "SET @m = missing SELECT isUndefined(@m) AS u, @m.x AS x FROM 'a'",
            r#"{"u":true}"#,
        ),
        (
            "SET @a = a SELECT get(@a, 3).k AS k, @a AS copied FROM 'a'",
            r#"{"k":2,"copied":[1,"x",null,{"k":2}]}"#,
        ),
        (
            "SET @m = 'enrichArray' SELECT transform(@m, {'a': 1}, [{}]) AS t FROM 'a'",
            "{}",
        ),
    ] {
        assert_eq!(select(sql, NEW, TYPES), expected, "{sql}");
    }
}

#[test]
fn fields_of_a_payload_that_is_no_json_are_undefined() {
    let binary: &[u8] = &[0xff, 0x00, 0x80];
    for payload in [
        binary,
        b"80",
        b"\"text\"",
        b"\xef\xbb\xbf{\"a\":1}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":1",
        b"{'a':1}",
    ] {
        let run = |sql| select_bytes(sql, NEW, payload);
        let itself = String::from_utf8_lossy(payload).into_owned();
        assert_eq!(run("SELECT * FROM 'a'"), itself);
        assert_eq!(run("SELECT * FROM 'a' WHERE topic(1) = 'a'"), itself);
        assert_eq!(run("SELECT * FROM 'a' WHERE a = 1"), "none");
        assert_eq!(run("SELECT *, topic() AS t FROM 'a'"), itself);
        assert_eq!(run("SELECT a FROM 'a'"), "{}");
        assert_eq!(run("SELECT a, topic(2) AS t FROM 'a'"), r#"{"t":"b"}"#);
        assert_eq!(run("SELECT *.a AS a FROM 'a'"), "{}");
        assert_eq!(run("SELECT VALUE a FROM 'a'"), "undefined");
        assert_eq!(template("<${a}${topic(1)}>", NEW, payload), "<a>");
    }
    assert_eq!(
        select_bytes("SELECT encode(*, 'base64') AS d FROM 'a'", NEW, binary),
        r#"{"d":"/wCA"}"#
    );
    assert_eq!(select("SELECT * FROM 'a'", NEW, ""), "");
    assert_eq!(select("SELECT *, 1 AS k FROM 'a'", NEW, ""), r#"{"k":1}"#);
    assert_eq!(select("SELECT a FROM 'a'", NEW, ""), "{}");
    assert_eq!(
        select("SELECT encode(*, 'base64') AS d FROM 'a'", NEW, ""),
        r#"{"d":""}"#
    );
}

#[test]
fn templates_give_the_string_form_and_nothing_for_what_has_none() {
    for (text, expected) in [
        ("", ""),
        ("plain $ { } $x", "plain $ { } $x"),
        ("$${i}", "$7"),
        ("${s}-${d}-${b}", "abc-2.5-true"),
        ("${o}", r#"{"k":1,"l":{"m":[10,20]}}"#),
        ("${a}", r#"[1,"x",null,{"k":2}]"#),
        ("<${z}${missing}>", "<>"),
        ("${ regexp_replace(topic(), '[a-z]{1}', '}') }", "}/}/}"),
        ("${'}'}${\"}\"}", "}}"),
        ("${{'k': {'l': i}}.k.l}", "7"),
        ("@{i}", "@{i}"),
        ("${value}${*.i}", "7"),
        ("${1e21 + 0}", "1000000000000000000000"),
        ("${(SELECT VALUE k FROM o)}", "1"),
        ("${topic(3)}${topic(4)}", "c"),
    ] {
        assert_eq!(template(text, NEW, TYPES.as_bytes()), expected, "{text}");
    }
    assert_eq!(template("${2.5 * 4}", OLD, b"{}"), "10.0");
    assert_eq!(template("${i * 2}", NEW, br#"{"i":1.50}"#), "3");
    assert_eq!(template("${i}", NEW, br#"{"i":1.50}"#), "1.5");
}
