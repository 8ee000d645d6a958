//! Reading files of cases.

use std::ops::Range;

use bytes::Bytes;

use super::case::{Case, Expect, Field, Published, Subject};
use super::{CaseFile, Finding, validation_tool};
use crate::document::suggestion;
use crate::json_text::{Json, Member, Unreadable};

/// Members of a case.
const CASE_MEMBERS: [&str; 20] = [
    "id",
    "sql",
    "template",
    "field",
    "sqlVersion",
    "topic",
    "ruleName",
    "payload",
    "payloadBase64",
    "clientId",
    "principal",
    "sourceIp",
    "accountId",
    "protocol",
    "timestampMs",
    "traceId",
    "seed",
    "mqttProperties",
    "expect",
    "tol",
];
/// A member that says where a case comes from: read by people.
const SOURCE: &str = "source";
const EXPECT_MEMBERS: [&str; 7] = [
    "json",
    "text",
    "base64",
    "noMatch",
    "error",
    "string",
    "actionFails",
];
const PROPERTY_MEMBERS: [&str; 5] = [
    "contentType",
    "payloadFormatIndicator",
    "responseTopic",
    "correlationData",
    "userProperties",
];
/// Members of a case of the validation tool; further ones are for its reader.
const TOOL_MEMBERS: [&str; 5] = [
    "sqlVersion",
    "topic",
    "inputPayload",
    "inputSql",
    "expectedOutput",
];
/// The dialect of a case of the validation tool that says none.
const TOOL_VERSION: &str = "2016-03-23";

/// Something that is no case.
const NO_CASE: &str = "R130";
/// A member that nobody reads.
const UNKNOWN_MEMBER: &str = "R131";

impl CaseFile {
    /// Reads one case per line. Empty lines are skipped.
    pub fn read_lines(text: &str) -> Self {
        let mut file = Self::default();
        let mut base = 0;
        for line in text.split_inclusive('\n') {
            if !line.trim().is_empty() {
                file.read(line, base, |fields| fields.case());
            }
            base += line.len();
        }
        file
    }

    /// Reads a document that is one case of AWS's validation tool, or one case of our own form. `name` stands for a
    /// case of the tool, which has no name itself.
    pub fn read_document(name: &str, text: &str) -> Self {
        let mut file = Self::default();
        file.read(text, 0, |fields| {
            if fields.get("inputSql").is_none() && fields.get("expect").is_some() {
                fields.case()
            } else {
                fields.tool_case(name)
            }
        });
        file
    }

    fn read(
        &mut self,
        text: &str,
        base: usize,
        read: impl FnOnce(&mut Fields<'_>) -> Option<Case>,
    ) {
        let whole = base..base + text.trim_end().len();
        let members = match Json::parse(text) {
            Ok(Json::Object(members)) => members,
            Ok(other) => {
                let message = format!("a case is a JSON object, not {}", other.kind());
                self.findings.push(error(message, whole));
                return;
            }
            Err(Unreadable { at, reason }) => {
                let at = base + at;
                let message = format!("not JSON: {reason}");
                self.findings.push(error(message, at..at));
                return;
            }
        };
        let errors_before = self.errors();
        let case = read(&mut Fields {
            members: &members,
            base,
            whole,
            findings: &mut self.findings,
        });
        if self.errors() == errors_before {
            self.cases.extend(case);
        }
    }

    fn errors(&self) -> usize {
        self.findings.iter().filter(|f| f.is_error).count()
    }
}

fn error(message: String, span: Range<usize>) -> Finding {
    Finding {
        code: NO_CASE,
        is_error: true,
        message,
        span,
        label: None,
    }
}

/// The members of an object of a case file, and where what is wrong with them is noted.
struct Fields<'a> {
    members: &'a [Member],
    /// Where the text begins in which the members have their places.
    base: usize,
    whole: Range<usize>,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Fields<'a> {
    /// A member that is not null. Of several the last counts.
    fn get(&self, name: &str) -> Option<&'a Member> {
        let members = self.members.iter().rev();
        members
            .into_iter()
            .find(|member| member.name == name)
            .filter(|member| !matches!(member.value, Json::Null))
    }

    fn place(&self, span: &Range<usize>) -> Range<usize> {
        self.base + span.start..self.base + span.end
    }

    fn error(&mut self, message: impl Into<String>, span: Range<usize>) {
        self.findings.push(error(message.into(), span));
    }

    fn wrong_type(&mut self, member: &Member, expected: &str) {
        let message = format!(
            "`{}` is {}, not {expected}",
            member.name,
            member.value.kind()
        );
        self.error(message, self.place(&member.value_at));
    }

    /// Notes the members that nobody reads.
    fn finish(&mut self, known: &[&str], ignored: &[&str], is_error: bool) {
        for member in self.members {
            let name = member.name.as_str();
            if known.contains(&name) || ignored.contains(&name) {
                continue;
            }
            let label = suggestion(name, known).map(|known| format!("did you mean `{known}`?"));
            self.findings.push(Finding {
                code: UNKNOWN_MEMBER,
                is_error,
                message: format!("unknown member `{name}` in a case"),
                span: self.place(&member.name_at),
                label,
            });
        }
    }

    fn required<T>(&mut self, name: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && self.get(name).is_none() {
            self.error(format!("a case has no `{name}`"), self.whole.clone());
        }
        value
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let member = self.get(name)?;
        match &member.value {
            Json::Text(text) => Some(text.clone()),
            _ => {
                self.wrong_type(member, "a string");
                None
            }
        }
    }

    /// A string that is read as something else.
    fn parsed<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let member = self.get(name)?;
        let parsed = match &member.value {
            Json::Text(text) | Json::Number(text) => parse(text),
            _ => None,
        };
        if parsed.is_none() {
            let message = format!("`{name}` is not {expected}");
            self.error(message, self.place(&member.value_at));
        }
        parsed
    }

    fn base64(&mut self, name: &str) -> Option<Vec<u8>> {
        self.parsed(name, "base64 with padding", |text| {
            base64_simd::STANDARD.decode_to_vec(text).ok()
        })
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        let member = self.get(name)?;
        match member.value {
            Json::Bool(value) => Some(value),
            _ => {
                self.wrong_type(member, "a boolean");
                None
            }
        }
    }

    /// The members of a member that is an object.
    fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> Option<T> {
        let member = self.get(name)?;
        let Json::Object(members) = &member.value else {
            self.wrong_type(member, "an object");
            return None;
        };
        Some(read(&mut Fields {
            members,
            base: self.base,
            whole: self.place(&member.value_at),
            findings: self.findings,
        }))
    }

    fn case(&mut self) -> Option<Case> {
        self.finish(&CASE_MEMBERS, &[SOURCE], false);
        let id = self.text("id");
        let id = self.required("id", id);
        let subject = self.subject();
        let published = self.published();
        let expect = self.object("expect", |fields| fields.expect());
        let expect = self.required("expect", expect);
        let tolerance = self.parsed("tol", "a number", |text| text.parse().ok());
        Some(Case {
            id: id?,
            subject: subject?,
            version: self.text("sqlVersion"),
            rule_name: self.text("ruleName"),
            published,
            expect: expect?,
            tolerance,
        })
    }

    fn subject(&mut self) -> Option<Subject> {
        let sql = self.text("sql");
        let field = self.get("field");
        let Some(text) = self.text("template") else {
            if let Some(field) = field {
                let place = self.place(&field.name_at);
                self.error("`field` belongs to a case with a `template`", place);
            }
            if sql.is_none() && self.get("sql").is_none() {
                let message = "a case has no `sql` and no `template`";
                self.error(message, self.whole.clone());
            }
            return sql.map(Subject::Statement);
        };
        let names = Field::ALL.map(|(name, _)| name).join(", ");
        let field = self.parsed("field", &format!("one of {names}"), |text| {
            let field = Field::ALL.iter().find(|(name, _)| *name == text);
            field.map(|(_, field)| *field)
        });
        Some(Subject::Template {
            text,
            field: field.unwrap_or(Field::Any),
            sql,
        })
    }

    fn published(&mut self) -> Published {
        let topic = self.text("topic");
        let protocol = self.parsed("protocol", "\"MQTT\" or \"HTTP\"", |text| {
            ["MQTT", "HTTP"].contains(&text).then(|| text == "HTTP")
        });
        let mut published = Published {
            topic: self.required("topic", topic).unwrap_or_default(),
            payload: self.payload(),
            client_id: self.text("clientId"),
            http: protocol == Some(true),
            principal: self.text("principal"),
            source_ip: self.parsed("sourceIp", "an IP address", |text| text.parse().ok()),
            account_id: self.text("accountId"),
            timestamp_ms: self.parsed("timestampMs", "a whole number", |text| text.parse().ok()),
            trace_id: self.parsed("traceId", "a UUID", uuid),
            seed: self.parsed("seed", "a whole number", |text| text.parse().ok()),
            ..Published::default()
        };
        self.object("mqttProperties", |properties| {
            properties.properties(&mut published);
        });
        published
    }

    fn payload(&mut self) -> Bytes {
        if let Some(bytes) = self.base64("payloadBase64") {
            return bytes.into();
        }
        if self.get("payloadBase64").is_some() {
            return Bytes::new();
        }
        let text = self.text("payload");
        self.required("payload", text).unwrap_or_default().into()
    }

    fn properties(&mut self, published: &mut Published) {
        self.finish(&PROPERTY_MEMBERS, &[], true);
        published.content_type = self.text("contentType");
        published.response_topic = self.text("responseTopic");
        published.correlation_data = self.base64("correlationData");
        let expected = "\"UTF8_DATA\" or \"UNSPECIFIED_BYTES\"";
        let is_utf8 = self.parsed("payloadFormatIndicator", expected, |text| match text {
            "UTF8_DATA" | "1" => Some(true),
            "UNSPECIFIED_BYTES" | "0" => Some(false),
            _ => None,
        });
        published.is_utf8 = is_utf8 == Some(true);
        published.user_properties = self.user_properties();
    }

    /// A list of objects whose members are the properties.
    fn user_properties(&mut self) -> Vec<(String, String)> {
        let Some(member) = self.get("userProperties") else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        let items = match &member.value {
            Json::Array(items) => items.as_slice(),
            _ => &[],
        };
        let mut well_formed = matches!(member.value, Json::Array(_));
        for item in items {
            let Json::Object(members) = &item.value else {
                well_formed = false;
                continue;
            };
            for Member { name, value, .. } in members {
                match value {
                    Json::Text(value) => pairs.push((name.clone(), value.clone())),
                    _ => well_formed = false,
                }
            }
        }
        if !well_formed {
            let message = "`userProperties` is not a list of objects with strings";
            self.error(message, self.place(&member.value_at));
        }
        pairs
    }

    fn expect(&mut self) -> Expect {
        // What is expected and not judged would pass unseen.
        self.finish(&EXPECT_MEMBERS, &[], true);
        if !self
            .members
            .iter()
            .any(|m| EXPECT_MEMBERS.contains(&m.name.as_str()))
        {
            self.error("`expect` says nothing", self.whole.clone());
        }
        let json = self.members.iter().rev().find(|m| m.name == "json");
        Expect {
            json: json.map(|member| member.value.clone()),
            text: self.text("text"),
            base64: self.base64("base64"),
            no_match: self.boolean("noMatch"),
            error: self.text("error"),
            string: self.text("string"),
            action_fails: self.boolean("actionFails"),
        }
    }

    fn tool_case(&mut self, name: &str) -> Option<Case> {
        self.finish(&TOOL_MEMBERS, &["description"], false);
        let topic = self.text("topic");
        let topic = self.required("topic", topic);
        let sql = self.text("inputSql");
        let sql = self.required("inputSql", sql);
        let payload = self.value("inputPayload");
        let expected = self.value("expectedOutput");
        let version = self.text("sqlVersion").filter(|text| !text.is_empty());
        Some(Case {
            id: name.to_owned(),
            subject: Subject::Statement(sql?),
            version: Some(version.unwrap_or_else(|| TOOL_VERSION.to_owned())),
            rule_name: None,
            published: Published {
                topic: topic?,
                payload: payload?.into(),
                ..Published::default()
            },
            expect: Expect {
                text: Some(expected?),
                ..Expect::default()
            },
            tolerance: None,
        })
    }

    /// A value as the validation tool turns it into text.
    fn value(&mut self, name: &str) -> Option<String> {
        let member = self.members.iter().rev().find(|m| m.name == name);
        let text = member.map(|member| validation_tool::text_of(&member.value));
        if text.is_none() {
            self.error(format!("a case has no `{name}`"), self.whole.clone());
        }
        text
    }
}

/// The bits of a UUID, written with or without dashes.
fn uuid(text: &str) -> Option<u128> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u128::from_str_radix(&digits, 16).ok()
    } else {
        None
    }
}
