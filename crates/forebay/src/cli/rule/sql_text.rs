//! One form for statements that mean the same: white space and the case of keywords and functions carry no meaning.

/// The words that can never be names (AWS IoT developer guide, "Reserved keywords").
const KEYWORDS: [&str; 17] = [
    "SELECT",
    "FROM",
    "WHERE",
    "AND",
    "OR",
    "NOT",
    "IN",
    "AS",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "TRUE",
    "FALSE",
    "NULL",
    "UNDEFINED",
];

/// The statement with one blank between tokens, keywords in capitals and functions in small letters. Text in quotes
/// stays as it is.
pub(super) fn normal_form(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql.trim();
    let mut previous = "";
    while let Some(first) = rest.chars().next() {
        let len = token_len(rest, first);
        let (token, after) = rest.split_at(len);
        rest = after.trim_start();
        if !out.is_empty() {
            out.push(' ');
        }
        if is_keyword(token, previous, rest) {
            out.push_str(&token.to_ascii_uppercase());
        } else if is_word(first) && rest.starts_with('(') {
            out.push_str(&token.to_ascii_lowercase());
        } else {
            out.push_str(token);
        }
        previous = token;
    }
    out
}

/// True for a word that is no name. Behind a dot all words are names; two of them are keywords in one place only.
fn is_keyword(token: &str, previous: &str, rest: &str) -> bool {
    let is = |word: &str| token.eq_ignore_ascii_case(word);
    if is("SET") {
        return previous.is_empty();
    }
    if is("VALUE") {
        let next = rest
            .split(|character| !is_word(character))
            .next()
            .unwrap_or_default();
        let ends = ["AS", "FROM", "IN", "AND", "OR"]
            .iter()
            .any(|word| next.eq_ignore_ascii_case(word));
        let has_value = !ends && rest.starts_with(|c| is_word(c) || "*('\"[{".contains(c));
        return previous.eq_ignore_ascii_case("SELECT") && has_value;
    }
    previous != "." && KEYWORDS.into_iter().any(is)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '@')
}

/// Bytes of the token that the text begins with.
fn token_len(text: &str, first: char) -> usize {
    if matches!(first, '\'' | '"' | '`') {
        // A doubled quote inside is two texts side by side, which compare the same.
        return text
            .char_indices()
            .skip(1)
            .find(|(_, character)| *character == first)
            .map_or(text.len(), |(at, _)| at + first.len_utf8());
    }
    if is_word(first) {
        return text
            .find(|character| !is_word(character))
            .unwrap_or(text.len());
    }
    for operator in ["<>", "<=", ">="] {
        if text.starts_with(operator) {
            return operator.len();
        }
    }
    first.len_utf8()
}

#[cfg(test)]
mod tests {
    use super::normal_form;

    #[test]
    fn what_means_the_same_reads_the_same() {
        let normal = "SELECT * , topic ( 2 ) AS d FROM 'dt/+' WHERE t >= 50 AND s = 'a  b'";
        for sql in [
            "SELECT *, topic(2) AS d FROM 'dt/+' WHERE t >= 50 AND s = 'a  b'",
            "select *,Topic( 2 ) as d\n from 'dt/+'  where t>=50 and s='a  b' ",
        ] {
            assert_eq!(normal_form(sql), normal);
        }
        assert_eq!(
            normal_form("select value a.from from 'x'"),
            "SELECT VALUE a . from FROM 'x'"
        );
        assert_eq!(
            normal_form("SELECT value, set FROM 'x'"),
            "SELECT value , set FROM 'x'"
        );
    }

    #[test]
    fn what_may_mean_something_else_reads_differently() {
        for (a, b) in [
            ("SELECT a FROM 'x'", "SELECT A FROM 'x'"),
            ("SELECT 'a b' AS a FROM 'x'", "SELECT 'a  b' AS a FROM 'x'"),
            ("SELECT a FROM 'x'", "SELECT a FROM 'X'"),
            ("SELECT value FROM 'x'", "SELECT VALUE FROM 'x'"),
            ("SELECT a.select FROM 'x'", "SELECT a.SELECT FROM 'x'"),
        ] {
            assert_ne!(normal_form(a), normal_form(b));
        }
    }
}
