//! YAML as CloudFormation writes it, as JSON values: the short forms of its functions become the long ones.
//!
//! Scalars are read as YAML 1.2 does, so a date or a number with leading zeros stays the text that it is. Aliases are
//! followed, within a bound on what they may grow to.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Value, json};

/// Units of one input, copies by aliases included: one for each value, and one for each [`UNIT_BYTES`] of its text.
const UNITS_MAX: usize = 1_000_000;
const UNIT_BYTES: usize = 32;
/// Collections in collections.
const DEPTH_MAX: usize = 128;

/// Why an input is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum YamlError {
    #[error("line {line}, column {column}: {reason}")]
    Syntax {
        line: usize,
        column: usize,
        reason: String,
    },
    #[error("larger than a template can be, with its aliases followed")]
    TooLarge,
}

impl YamlError {
    fn at(marker: &Marker, reason: impl Into<String>) -> Self {
        Self::Syntax {
            line: marker.line(),
            column: marker.col() + 1,
            reason: reason.into(),
        }
    }
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        Self::at(error.marker(), error.info())
    }
}

/// Reads the documents of an input.
pub(super) fn read(text: &str) -> Result<Vec<Value>, YamlError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        builder.event(event, &span.start)?;
    }
    Ok(builder.documents)
}

/// A value and its units.
type Counted = (Value, usize);

#[derive(Default)]
struct Builder {
    documents: Vec<Value>,
    open: Vec<Open>,
    anchors: HashMap<usize, Counted>,
    /// Units of all values that were made.
    made: usize,
}

/// A collection that has begun.
struct Open {
    contents: Contents,
    function: Option<String>,
    anchor: usize,
    units: usize,
}

enum Contents {
    Sequence(Vec<Value>),
    Mapping {
        members: Map<String, Value>,
        key: Option<String>,
    },
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: &Marker) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let units = 1 + text.len() / UNIT_BYTES;
                if let Some(key) = self.missing_key() {
                    *key = Some(text.into_owned());
                    return self.count(units);
                }
                let tag = tag.as_deref();
                let value = match function(tag) {
                    Some(function) => call(&function, Value::String(text.into_owned())),
                    None => scalar(&text, style, tag),
                };
                self.add((value, units), anchor, at)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(Contents::Sequence(Vec::new()), anchor, tag.as_deref(), at)
            }
            Event::MappingStart(anchor, tag) => {
                let (members, key) = (Map::new(), None);
                let contents = Contents::Mapping { members, key };
                self.open(contents, anchor, tag.as_deref(), at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor);
                let (value, units) = known
                    .ok_or_else(|| YamlError::at(at, "an alias inside of what it stands for"))?;
                // Judged before it is copied.
                if self.made + units > UNITS_MAX {
                    return Err(YamlError::TooLarge);
                }
                let copy = (value.clone(), *units);
                self.add(copy, 0, at)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    /// The place of the key that the innermost mapping waits for.
    fn missing_key(&mut self) -> Option<&mut Option<String>> {
        match &mut self.open.last_mut()?.contents {
            Contents::Mapping { key, .. } if key.is_none() => Some(key),
            _ => None,
        }
    }

    fn open(
        &mut self,
        contents: Contents,
        anchor: usize,
        tag: Option<&Tag>,
        at: &Marker,
    ) -> Result<(), YamlError> {
        if self.missing_key().is_some() {
            return Err(YamlError::at(at, "a key that is no text"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(YamlError::at(at, format!("nested deeper than {DEPTH_MAX}")));
        }
        self.open.push(Open {
            contents,
            function: function(tag),
            anchor,
            units: 1,
        });
        Ok(())
    }

    fn close(&mut self, at: &Marker) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.contents {
            Contents::Sequence(items) => Value::Array(items),
            Contents::Mapping { members, .. } => Value::Object(members),
        };
        let value = match open.function {
            Some(function) => call(&function, value),
            None => value,
        };
        // Its parts were counted when they were added.
        self.made -= open.units - 1;
        self.add((value, open.units), open.anchor, at)
    }

    fn count(&mut self, units: usize) -> Result<(), YamlError> {
        self.made += units;
        if self.made > UNITS_MAX {
            return Err(YamlError::TooLarge);
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn add(
        &mut self,
        (value, units): Counted,
        anchor: usize,
        at: &Marker,
    ) -> Result<(), YamlError> {
        self.count(units)?;
        if anchor > 0 {
            self.count(units)?;
            self.anchors.insert(anchor, (value.clone(), units));
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(value);
            return Ok(());
        };
        open.units += units;
        match &mut open.contents {
            Contents::Sequence(items) => items.push(value),
            Contents::Mapping { members, key } => {
                let Some(name) = key.take() else {
                    return Err(YamlError::at(at, "a key that is no text"));
                };
                if name == "<<" {
                    return Err(YamlError::at(at, "merge keys (<<) are not read"));
                }
                if members.contains_key(&name) {
                    return Err(YamlError::at(at, format!("the key {name:?} comes twice")));
                }
                members.insert(name, value);
            }
        }
        Ok(())
    }
}

/// The function that a tag such as `!Sub` stands for.
fn function(tag: Option<&Tag>) -> Option<String> {
    let tag = tag.filter(|tag| tag.handle == "!" && !tag.suffix.is_empty())?;
    Some(match tag.suffix.as_str() {
        "Ref" | "Condition" => tag.suffix.clone(),
        name => format!("Fn::{name}"),
    })
}

fn call(function: &str, argument: Value) -> Value {
    let argument = match (function, &argument) {
        // The short form joins by a dot what the long one has as a list.
        ("Fn::GetAtt", Value::String(text)) => match text.split_once('.') {
            Some((resource, attribute)) => json!([resource, attribute]),
            None => argument,
        },
        _ => argument,
    };
    json!({ function: argument })
}

/// What a scalar means by the core schema. Numbers that would lose their looks stay text.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = match tag {
        Some(tag) => tag.suffix == "str" || tag.handle == "!",
        None => style != ScalarStyle::Plain,
    };
    if is_text {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let keeps_looks = digits == "0" || !digits.starts_with(['0', '+']);
            let number = text.parse::<i64>().ok().filter(|_| keeps_looks);
            let number = number.map(|number| json!(number));
            number.unwrap_or_else(|| Value::String(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        let mut documents = read(text).expect("YAML");
        assert_eq!(documents.len(), 1);
        documents.remove(0)
    }

    fn error(text: &str) -> String {
        read(text).expect_err("it is refused").to_string()
    }

    #[test]
    fn scalars_mean_what_the_core_schema_says() {
        let text = "a: 2016-03-23\nb: 12\nc: 012\nd: 'true'\ne: true\nf: ~\ng: 1.50\nh: !!str 7\ni: -3\nl: +3\nj: yes\nk:\n";
        assert_eq!(
            value(text),
            json!({"a": "2016-03-23", "b": 12, "c": "012", "d": "true", "e": true, "f": null, "g": "1.50",
                "h": "7", "i": -3, "l": "+3", "j": "yes", "k": null})
        );
        assert_eq!(
            value("|\n  SELECT *\n  FROM 'a'\n"),
            json!("SELECT *\nFROM 'a'\n")
        );
        assert_eq!(
            value(">-\n  SELECT *\n  FROM 'a'\n"),
            json!("SELECT * FROM 'a'")
        );
    }

    #[test]
    fn short_functions_become_long_ones() {
        let text = "
a: !Ref Stream
b: !GetAtt Role.Arn
c: !GetAtt Nested.Outputs.Arn
d: !GetAtt [Role, Arn]
e: !Sub '${A}-x'
f: !Sub ['${A}', {A: !Ref B}]
g: !Join ['-', [!Ref A, b]]
h: !If [C, !Ref A, !Ref 'AWS::NoValue']
i: {'Fn::Sub': x}
";
        assert_eq!(
            value(text),
            json!({
                "a": {"Ref": "Stream"},
                "b": {"Fn::GetAtt": ["Role", "Arn"]},
                "c": {"Fn::GetAtt": ["Nested", "Outputs.Arn"]},
                "d": {"Fn::GetAtt": ["Role", "Arn"]},
                "e": {"Fn::Sub": "${A}-x"},
                "f": {"Fn::Sub": ["${A}", {"A": {"Ref": "B"}}]},
                "g": {"Fn::Join": ["-", [{"Ref": "A"}, "b"]]},
                "h": {"Fn::If": ["C", {"Ref": "A"}, {"Ref": "AWS::NoValue"}]},
                "i": {"Fn::Sub": "x"},
            })
        );
    }

    #[test]
    fn aliases_are_followed_within_bounds() {
        assert_eq!(
            value("a: &x {k: [1]}\nb: *x\n"),
            json!({"a": {"k": [1]}, "b": {"k": [1]}})
        );
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let before = n - 1;
            let copies = vec![format!("*a{before}"); 10].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{copies}]\n"));
        }
        assert_eq!(read(&bomb), Err(YamlError::TooLarge));
        let long = format!(
            "a: &x '{}'\nb: [{}]\n",
            "x".repeat(100_000),
            ["*x"; 500].join(", ")
        );
        assert_eq!(read(&long), Err(YamlError::TooLarge));
        assert!(error("&a [*a]").contains("an alias inside of what it stands for"));
    }

    #[test]
    fn what_cannot_be_json_is_refused_with_its_place() {
        assert_eq!(
            error("a: 1\na: 2\n"),
            "line 2, column 4: the key \"a\" comes twice"
        );
        assert!(error("? [a]\n: b\n").contains("a key that is no text"));
        assert!(error("a: &x {}\nb:\n  <<: *x\n").contains("merge keys"));
        assert!(error("a: [1\nb: 2\n").starts_with("line "));
        assert!(error(&"- ".repeat(200)).contains("nested deeper than 128"));
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn several_documents_come_one_after_the_other() {
        assert_eq!(
            read("a: 1\n---\nb: 2\n"),
            Ok(vec![json!({"a": 1}), json!({"b": 2})])
        );
        assert_eq!(read(""), Ok(vec![]));
    }
}
