//! Types, conversions and operators.

use crate::bed::{NEW, OLD, check, value};

#[test]
fn members_of_anything_but_an_object_are_undefined() {
    check(&[
        ("o.l.m", "[10,20]"),
        ("o.l.missing", "undefined"),
        ("o.missing.deeper", "undefined"),
        ("i.x", "undefined"),
        ("s.x", "undefined"),
        ("a.k", "undefined"),
        ("z.x", "undefined"),
        ("z", "null"),
        ("missing", "undefined"),
        ("*.o.k", "1"),
        ("{'x': {'y': 5}}.x.y", "5"),
        ("[1].x", "undefined"),
    ]);
}

#[test]
fn whole_decimals_become_int_from_2016_on() {
    for (expression, old, new) in [
        ("10.0 + 0", "10.0", "10"),
        ("2.5 * 4", "10.0", "10"),
        ("1e2 + 0", "100.0", "100"),
        ("7 / 2", "3", "3"),
        ("7.0 / 2", "3.5", "3"),
        ("7.5 / 2.5", "3.0", "3"),
        ("'7' / 2", "3.5", "3.5"),
        ("'8' / 2", "4.0", "4"),
        ("-7 / 2", "-3", "-3"),
        ("-7 % 3", "-1", "-1"),
        ("7 % -3", "1", "1"),
        ("7.5 % 2", "1.5", "1.5"),
        ("0.0 + 0", "0.0", "0"),
        ("0 * -1", "0", "0"),
        ("-'2.50'", "-2.5", "-2.5"),
        ("-'5'", "-5.0", "-5"),
        ("abs('5')", "5.0", "5"),
        ("abs(-5)", "5", "5"),
        ("trunc(2.00, 5)", "2.0", "2"),
        ("trunc(5, 2)", "5", "5"),
        ("trunc(5, 2.5)", "5.0", "5"),
        ("power(2, 5)", "32.0", "32"),
        ("sqrt(9)", "3.0", "3"),
        ("log(100)", "2.0", "2"),
        ("cast(5 AS Double)", "5.0", "5"),
        ("cast(true AS Double)", "1.0", "1"),
        ("cast('10.0' AS Double)", "10.0", "10"),
        ("cast(2.5 AS Int)", "2", "2"),
        ("round(2.5)", "3", "3"),
        ("sign(-2.5)", "-1", "-1"),
        ("1.5 + 1.5 + ''", "\"3.0\"", "\"3\""),
        ("d + ''", "\"2.5\"", "\"2.5\""),
        ("d", "2.50", "2.50"),
        ("9999999999999999999999999999999999 + 1", "1E+34", "1E+34"),
        (
            "1e20 + 0",
            "100000000000000000000.0",
            "100000000000000000000",
        ),
        ("1e21 + 0", "1E+21", "1000000000000000000000"),
        ("1e34 + 0", "1E+34", "1E+34"),
    ] {
        assert_eq!(value(expression, OLD), old, "{expression} under {OLD}");
        assert_eq!(value(expression, NEW), new, "{expression} under {NEW}");
    }
}

#[test]
fn strings_count_as_numbers_only_in_the_documented_form() {
    for text in ["12", "-1.5", "5E1", "5e-1", "007", "-0"] {
        assert_ne!(value(&format!("'{text}' * 1"), NEW), "undefined", "{text}");
        assert_ne!(value(&format!("abs('{text}')"), NEW), "undefined", "{text}");
    }
    for text in [
        "", "+1", ".5", "5.", "1E+5", " 1", "1 ", "1e", "-", "0x1", "1_0", "٣", "NaN", "Infinity",
    ] {
        assert_eq!(value(&format!("'{text}' * 1"), NEW), "undefined", "{text}");
        assert_eq!(value(&format!("'{text}' > 0"), NEW), "undefined", "{text}");
    }
}

#[test]
fn plus_joins_as_soon_as_one_side_is_a_string() {
    check(&[
        ("'1' + 2", "\"12\""),
        ("1 + '2'", "\"12\""),
        ("true + 'x'", "\"truex\""),
        ("s + [1, 'y']", "\"abc[1,\\\"y\\\"]\""),
        (
            "o + s",
            "\"{\\\"k\\\":1,\\\"l\\\":{\\\"m\\\":[10,20]}}abc\"",
        ),
        ("s + z", "undefined"),
        ("missing + s", "undefined"),
        ("b + 1", "undefined"),
        ("z + 1", "undefined"),
        ("a + a", "undefined"),
        ("o + 1", "undefined"),
        ("0.1 + 0.2", "0.3"),
        ("1 + 2 + 'x'", "\"3x\""),
        ("'x' + 1 + 2", "\"x12\""),
        ("'x' + 1E-7", "\"x1E-7\""),
        ("'x' + 0.000001", "\"x0.000001\""),
        ("'x' + -0.0", "\"x0\""),
    ]);
}

#[test]
fn the_other_arithmetic_takes_numbers_and_strings_of_numbers_only() {
    for operator in ["-", "*", "/", "%"] {
        for other in ["s", "b", "z", "a", "o", "missing", "big", "e"] {
            for expression in [
                format!("i {operator} {other}"),
                format!("{other} {operator} i"),
            ] {
                assert_eq!(value(&expression, NEW), "undefined", "{expression}");
            }
        }
    }
    check(&[
        ("n - 2", "10.5"),
        ("2 * n", "25"),
        ("1 / 0", "undefined"),
        ("1.5 / 0", "undefined"),
        ("1 % 0", "undefined"),
        ("'1' / '0'", "undefined"),
        ("1E600 * 1E600", "undefined"),
        ("1E-600 * 1E-600", "0"),
        ("-s", "undefined"),
        ("-b", "undefined"),
        ("-z", "undefined"),
        ("- -5", "5"),
        ("2 - -5", "7"),
    ]);
}

#[test]
fn order_is_between_numbers_and_never_between_texts() {
    check(&[
        ("'10' > 9", "true"),
        ("'10' > '9'", "true"),
        ("10 >= '10.0'", "true"),
        ("'b' > 'a'", "undefined"),
        ("b > 0", "undefined"),
        ("z < 1", "undefined"),
        ("a > 0", "undefined"),
        ("missing < 1", "undefined"),
        ("big > 1", "undefined"),
        ("1E400 > 1", "true"),
        ("2.50 <= d", "true"),
        ("1 < 2 = true", "true"),
    ]);
}

#[test]
fn equality_is_between_values_of_one_type() {
    check(&[
        ("5 = 5.0", "true"),
        ("5 = '5'", "false"),
        ("5 <> '5'", "true"),
        ("true = 'true'", "false"),
        ("'a' = 'A'", "false"),
        ("NULL = NULL", "true"),
        ("z = NULL", "true"),
        ("z <> NULL", "false"),
        ("z = 0", "false"),
        ("missing = missing", "undefined"),
        ("missing <> 1", "undefined"),
        ("big = big", "undefined"),
        ("[1, '2', [3]] = [1.0, '2', [3]]", "true"),
        ("[1, 2] = [2, 1]", "false"),
        ("[1, 2] <> [1]", "true"),
        ("{'a': 1, 'b': 2} = {'b': 2, 'a': 1}", "true"),
        ("{'a': 1} = {'a': 1, 'b': 2}", "false"),
        ("{} = []", "false"),
        ("o = {'k': 1, 'l': {'m': [10, 20]}}", "true"),
        ("a = [1, 'x', NULL, {'k': 2}]", "true"),
        ("1 != 2", "true"),
    ]);
}

#[test]
fn logic_has_three_values_and_one_exception() {
    let truth = |side: &str| match side {
        "true" | "'True'" => Some(true),
        "false" | "'FALSE'" => Some(false),
        _ => None,
    };
    let text =
        |value: Option<bool>| value.map_or("undefined".to_owned(), |value| value.to_string());
    let sides = [
        "true", "false", "'True'", "'FALSE'", "missing", "z", "1", "s", "a", "o",
    ];
    for left in sides {
        for right in sides {
            let (l, r) = (truth(left), truth(right));
            let and = l.zip(r).map(|(l, r)| l && r);
            let or = if l == Some(true) || r == Some(true) {
                Some(true)
            } else {
                l.zip(r).map(|_| false)
            };
            assert_eq!(
                value(&format!("{left} AND {right}"), NEW),
                text(and),
                "{left} AND {right}"
            );
            assert_eq!(
                value(&format!("{left} OR {right}"), NEW),
                text(or),
                "{left} OR {right}"
            );
        }
        let not = text(truth(left).map(|truth| !truth));
        assert_eq!(value(&format!("NOT {left}"), NEW), not, "NOT {left}");
    }
}

#[test]
fn in_looks_for_an_equal_element() {
    check(&[
        ("3 IN [1, 2, 3, 'three', 5.7, NULL]", "true"),
        ("3.0 IN [1, 2, 3]", "true"),
        ("'3' IN [1, 2, 3]", "false"),
        ("NULL IN [1, NULL]", "true"),
        ("true IN [true]", "true"),
        ("[1] IN [[1], 2]", "true"),
        ("{'k': 2} IN a", "true"),
        ("1 IN a", "true"),
        ("missing IN a", "undefined"),
        ("1 IN s", "undefined"),
        ("1 IN o", "undefined"),
        ("1 IN missing", "undefined"),
        ("1 IN []", "false"),
        ("NOT 1 IN [1]", "false"),
    ]);
}

#[test]
fn operators_bind_as_they_always_did() {
    check(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 - 4 - 3", "3"),
        ("100 / 10 / 5", "2"),
        ("-2 * 3", "-6"),
        ("2 * -3", "-6"),
        ("1 + 1 = 2 AND 2 > 1", "true"),
        ("true OR true AND false", "true"),
        ("NOT true OR true", "true"),
        ("NOT (true OR true)", "false"),
        ("NOT i = 8 AND true", "true"),
        ("-o.k", "-1"),
    ]);
}
