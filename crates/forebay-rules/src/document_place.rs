//! Where in the text of a rule document an error stands.

use std::ops::Range;

use crate::DocumentError;
use crate::json_text::{Json, Member};

/// Members that hold the payload, or lead to it, in the forms that wrap it.
const WRAPPERS: [&str; 4] = ["topicRulePayload", "rule", "Properties", "TopicRulePayload"];
/// The members of the forms that name the rule.
const NAMES: [&str; 2] = ["ruleName", "RuleName"];

impl DocumentError {
    /// The bytes of the document that the error is about: the value of the member that is wrong, the name of a member
    /// that is unknown, the object in which one is missing. `None` when it is about the document as a whole.
    pub fn place(&self, document: &[u8]) -> Option<Range<usize>> {
        let document = Json::parse(std::str::from_utf8(document).ok()?).ok()?;
        match self {
            Self::Json { .. } | Self::Form { .. } | Self::NoName | Self::TooLarge { .. } => None,
            Self::Name { .. } | Self::NameMismatch { .. } => name(&document),
            Self::TooManyActions { .. } => at_path(payload(&document), "actions"),
            Self::Version { .. } => at_path(payload(&document), "awsIotSqlVersion"),
            Self::UnknownMember { field, name, .. } => {
                let Json::Object(members) = value_at(payload(&document), field)? else {
                    return None;
                };
                let member = members.iter().find(|member| is_called(member, name));
                member.map(|member| member.name_at.clone())
            }
            Self::Missing { field }
            | Self::Type { field, .. }
            | Self::ActionKeys { field, .. }
            | Self::QoS { field, .. }
            | Self::HeaderLength { field, .. }
            | Self::UserProperties { field, .. }
            | Self::Intrinsic { field, .. } => at_path(payload(&document), field),
        }
    }
}

/// The value of the member that names the rule, at the level at which the form has it.
fn name(document: &Json) -> Option<Range<usize>> {
    let Json::Object(members) = document else {
        return None;
    };
    let own = members.iter().find(|m| NAMES.contains(&m.name.as_str()));
    match own {
        Some(member) => Some(member.value_at.clone()),
        None => name(wrapped(members)?),
    }
}

fn wrapped(members: &[Member]) -> Option<&Json> {
    let wrapper = members
        .iter()
        .find(|m| WRAPPERS.contains(&m.name.as_str()))?;
    Some(&wrapper.value)
}

/// The payload with the rule's members, whatever is around it.
fn payload(document: &Json) -> &Json {
    match document {
        Json::Object(members) if !members.iter().any(|m| is_called(m, "sql")) => {
            wrapped(members).map_or(document, payload)
        }
        other => other,
    }
}

/// True for a member of this name, or of its CloudFormation form with a capital first letter.
fn is_called(member: &Member, name: &str) -> bool {
    let (mut own, mut asked) = (member.name.chars(), name.chars());
    let (Some(first), Some(asked_first)) = (own.next(), asked.next()) else {
        return member.name == name;
    };
    (first == asked_first || first.to_lowercase().eq([asked_first]))
        && own.as_str() == asked.as_str()
}

/// The place of the value at a path such as `actions[0].kinesis.roleArn`, or of as much of the path as there is.
fn at_path(payload: &Json, path: &str) -> Option<Range<usize>> {
    let mut place = None;
    let mut value = payload;
    for step in steps(path) {
        let Some((inner, at)) = inner(value, step) else {
            break;
        };
        (value, place) = (inner, Some(at));
    }
    place
}

fn value_at<'a>(payload: &'a Json, path: &str) -> Option<&'a Json> {
    steps(path).try_fold(payload, |value, step| Some(inner(value, step)?.0))
}

/// The names and indexes of a path.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[', ']']).filter(|step| !step.is_empty())
}

fn inner<'a>(value: &'a Json, step: &str) -> Option<(&'a Json, Range<usize>)> {
    match value {
        Json::Object(members) => {
            let member = members
                .iter()
                .rev()
                .find(|member| is_called(member, step))?;
            Some((&member.value, member.value_at.clone()))
        }
        Json::Array(elements) => {
            let element = elements.get(step.parse::<usize>().ok()?)?;
            Some((&element.value, element.value_at.clone()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::RuleDocument;

    fn marked(document: &str) -> (&'static str, String) {
        let error = RuleDocument::from_json(document.as_bytes(), Some("n")).unwrap_err();
        let place = error.place(document.as_bytes());
        let text = place.and_then(|place| document.get(place));
        (error.code(), text.unwrap_or_default().to_owned())
    }

    #[test]
    fn errors_stand_at_the_member_that_is_wrong() {
        for (document, code, text) in [
            (r#"{"sql": 1, "actions": []}"#, "R106", "1"),
            (r#"{"sql": "", "actions": {}}"#, "R106", "{}"),
            (
                r#"{"sql": "", "actions": [{"kinesis": {"streamNam": "s"}}]}"#,
                "R110",
                "\"streamNam\"",
            ),
            (
                r#"{"sql": "", "actions": [{"kinesis": {"streamName": "s"}}]}"#,
                "R105",
                r#"{"streamName": "s"}"#,
            ),
            (
                r#"{"sql": "", "actions": [{}, {"a": 1, "b": 2}]}"#,
                "R109",
                "{}",
            ),
            (
                r#"{"sql": "", "actions": [], "awsIotSqlVersion": "x"}"#,
                "R111",
                "\"x\"",
            ),
            (
                r#"{"topicRulePayload": {"sql": 1, "actions": []}}"#,
                "R106",
                "1",
            ),
            (
                r#"{"rule": {"sql": "", "actions": [], "ruleName": "other"}}"#,
                "R104",
                "\"other\"",
            ),
            (
                r#"{"Type": "AWS::IoT::TopicRule", "Properties": {"TopicRulePayload": {"Sql": "", "Actions": [{"Kinesis":
                    {"StreamName": {"Ref": "S"}, "RoleArn": "r"}}]}}}"#,
                "R112",
                r#"{"Ref": "S"}"#,
            ),
            (
                r#"{"TopicRulePayload": {"Sql": "", "Actions": [{"Kinesis": {"Streem": "S", "RoleArn": "r"}}]}}"#,
                "R110",
                "\"Streem\"",
            ),
            (r#"{"actions": []}"#, "R105", ""),
            ("[]", "R102", ""),
        ] {
            assert_eq!(marked(document), (code, text.to_owned()), "{document}");
        }
    }
}
