//! Actions of a rule document: the ones that Forebay carries out and the ones that it only keeps.

use std::borrow::Cow;

use forebay_core::QoS;
use serde_json::{Map, Value, json};

use crate::document::{DocumentError, suggestion};

/// Characters of a header of a republished message, and of a name or value of its user properties, as written.
const HEADER_CHARS_MAX: usize = 1024;
/// User properties that an action may list.
const USER_PROPERTIES_MAX: usize = 100;

/// One entry of `actions`, or `errorAction`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Put the outgoing payload into a Kinesis data stream.
    Kinesis(KinesisAction),
    /// Publish the outgoing payload again, to another topic.
    Republish(RepublishAction),
    /// Any other action of AWS IoT: stored as it is, never carried out, flagged.
    Unsupported {
        /// Its name in the document, such as `lambda`.
        kind: String,
        /// Its members.
        body: Value,
    },
}

/// The Kinesis Data Streams rule action (AWS IoT developer guide, "Kinesis Data Streams").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KinesisAction {
    /// Template of the stream name.
    pub stream_name: String,
    /// Template of the partition key; a random UUID per record when absent.
    pub partition_key: Option<String>,
    /// The role, as text. A CloudFormation function is kept as its JSON.
    pub role_arn: String,
}

/// The republish rule action (AWS IoT developer guide, "Republish").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepublishAction {
    /// Template of the topic; a `$$` at its beginning stands for the `$` of a reserved topic.
    pub topic: String,
    /// The role, as text. A CloudFormation function is kept as its JSON.
    pub role_arn: String,
    /// Quality of service of the published message: 0 or 1.
    pub qos: QoS,
    /// Properties of the published message.
    pub headers: Option<RepublishHeaders>,
}

/// The MQTT 5 properties of a republished message, each a template of at most 1 024 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepublishHeaders {
    /// `UNSPECIFIED_BYTES` or `UTF8_DATA`.
    pub payload_format_indicator: Option<String>,
    /// Any text.
    pub content_type: Option<String>,
    /// A topic name.
    pub response_topic: Option<String>,
    /// Base64.
    pub correlation_data: Option<String>,
    /// Whole seconds.
    pub message_expiry: Option<String>,
    /// Names and values, at most 100 pairs.
    pub user_properties: Vec<(String, String)>,
}

impl Action {
    /// The action's name in documents and metric labels.
    pub fn kind(&self) -> &str {
        match self {
            Self::Kinesis(_) => "kinesis",
            Self::Republish(_) => "republish",
            Self::Unsupported { kind, .. } => kind,
        }
    }

    /// The action's name in error documents, such as `KinesisAction`.
    pub fn failure_name(&self) -> Cow<'static, str> {
        match self {
            Self::Kinesis(_) => Cow::Borrowed(KinesisAction::FAILURE_NAME),
            Self::Republish(_) => Cow::Borrowed(RepublishAction::FAILURE_NAME),
            Self::Unsupported { kind, .. } => {
                let mut chars = kind.chars().take(FAILURE_NAME_CHARS_MAX);
                let first = chars.next().into_iter().flat_map(char::to_uppercase);
                let name: String = first.chain(chars).collect();
                Cow::Owned(format!("{name}Action"))
            }
        }
    }

    /// The role that it names, of an action that Forebay carries out.
    pub fn role_arn(&self) -> Option<&str> {
        match self {
            Self::Kinesis(action) => Some(&action.role_arn),
            Self::Republish(action) => Some(&action.role_arn),
            Self::Unsupported { .. } => None,
        }
    }

    /// The texts that may be templates, each with its place below the entry, such as `kinesis.streamName`.
    pub fn texts(&self) -> Vec<(String, &str)> {
        match self {
            Self::Kinesis(action) => {
                let mut texts = vec![("kinesis.streamName".to_owned(), &*action.stream_name)];
                let key = action.partition_key.as_deref();
                texts.extend(key.map(|key| ("kinesis.partitionKey".to_owned(), key)));
                texts
            }
            Self::Republish(action) => {
                let mut texts = vec![("republish.topic".to_owned(), &*action.topic)];
                if let Some(headers) = &action.headers {
                    texts.extend(headers.texts().map(|(field, text)| {
                        let field = format!("republish.headers.{field}");
                        (field, text)
                    }));
                }
                texts
            }
            Self::Unsupported { .. } => Vec::new(),
        }
    }

    /// The entry as documents have it.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Kinesis(action) => json!({ "kinesis": action.to_json() }),
            Self::Republish(action) => json!({ "republish": action.to_json() }),
            Self::Unsupported { kind, body } => json!({ kind: body }),
        }
    }

    /// Reads the action at `field`: an object with one key, the action's name.
    pub(crate) fn from_value(value: &Value, field: &str) -> Result<Self, DocumentError> {
        let entry = value
            .as_object()
            .ok_or_else(|| DocumentError::wrong_type(field, "an object"))?;
        if intrinsic(value).is_some() {
            return Err(DocumentError::not(value, field, "an action"));
        }
        let mut members = entry.iter();
        let (Some((kind, body)), None) = (members.next(), members.next()) else {
            return Err(DocumentError::ActionKeys {
                field: field.to_owned(),
                count: entry.len(),
            });
        };
        let field = format!("{field}.{kind}");
        Ok(match kind.as_str() {
            "kinesis" => Self::Kinesis(KinesisAction::read(body, &field)?),
            "republish" => Self::Republish(RepublishAction::read(body, &field)?),
            _ => Self::Unsupported {
                kind: kind.clone(),
                body: body.clone(),
            },
        })
    }
}

/// Characters of the name of an unknown action that error documents show.
const FAILURE_NAME_CHARS_MAX: usize = 64;

impl KinesisAction {
    pub(crate) const FAILURE_NAME: &'static str = "KinesisAction";
    const MEMBERS: [&'static str; 3] = ["streamName", "partitionKey", "roleArn"];

    fn read(body: &Value, field: &str) -> Result<Self, DocumentError> {
        let members = Members::read(body, field, &Self::MEMBERS)?;
        Ok(Self {
            stream_name: members.required("streamName")?,
            partition_key: members.text("partitionKey")?,
            role_arn: members.role()?,
        })
    }

    fn to_json(&self) -> Value {
        let mut body = json!({ "streamName": self.stream_name, "roleArn": self.role_arn });
        if let Some(key) = &self.partition_key {
            body["partitionKey"] = json!(key);
        }
        body
    }
}

impl RepublishAction {
    pub(crate) const FAILURE_NAME: &'static str = "RepublishAction";
    const MEMBERS: [&'static str; 4] = ["topic", "roleArn", "qos", "headers"];

    fn read(body: &Value, field: &str) -> Result<Self, DocumentError> {
        let members = Members::read(body, field, &Self::MEMBERS)?;
        Ok(Self {
            topic: members.required("topic")?,
            role_arn: members.role()?,
            qos: members.qos()?,
            headers: match members.get("headers") {
                None => None,
                Some(body) => Some(RepublishHeaders::read(body, &format!("{field}.headers"))?),
            },
        })
    }

    fn to_json(&self) -> Value {
        let mut body = json!({
            "topic": self.topic,
            "roleArn": self.role_arn,
            "qos": self.qos.level(),
        });
        if let Some(headers) = &self.headers {
            body["headers"] = headers.to_json();
        }
        body
    }
}

impl RepublishHeaders {
    const MEMBERS: [&'static str; 6] = [
        "payloadFormatIndicator",
        "contentType",
        "responseTopic",
        "correlationData",
        "messageExpiry",
        "userProperties",
    ];

    fn read(body: &Value, field: &str) -> Result<Self, DocumentError> {
        let members = Members::read(body, field, &Self::MEMBERS)?;
        Ok(Self {
            payload_format_indicator: members.header("payloadFormatIndicator")?,
            content_type: members.header("contentType")?,
            response_topic: members.header("responseTopic")?,
            correlation_data: members.header("correlationData")?,
            message_expiry: members.header("messageExpiry")?,
            user_properties: match members.get("userProperties") {
                None => Vec::new(),
                Some(list) => user_properties(list, &format!("{field}.userProperties"))?,
            },
        })
    }

    /// The five headers that are one text each, by their names in documents.
    fn single(&self) -> [(&'static str, Option<&str>); 5] {
        [
            (
                "payloadFormatIndicator",
                self.payload_format_indicator.as_deref(),
            ),
            ("contentType", self.content_type.as_deref()),
            ("responseTopic", self.response_topic.as_deref()),
            ("correlationData", self.correlation_data.as_deref()),
            ("messageExpiry", self.message_expiry.as_deref()),
        ]
    }

    fn texts(&self) -> impl Iterator<Item = (String, &str)> {
        let single = self.single().into_iter();
        let single = single.filter_map(|(field, text)| Some((field.to_owned(), text?)));
        let pairs = self.user_properties.iter().enumerate();
        single.chain(pairs.flat_map(|(place, (name, value))| {
            let field = |member| format!("userProperties[{place}].{member}");
            [(field("key"), &**name), (field("value"), &**value)]
        }))
    }

    fn to_json(&self) -> Value {
        let single = self.single().into_iter();
        let single = single.filter_map(|(field, text)| Some((field.to_owned(), json!(text?))));
        let mut members: Map<String, Value> = single.collect();
        if !self.user_properties.is_empty() {
            let pairs = self.user_properties.iter();
            let pairs = pairs.map(|(key, value)| json!({ "key": key, "value": value }));
            members.insert("userProperties".to_owned(), pairs.collect());
        }
        Value::Object(members)
    }
}

fn user_properties(list: &Value, field: &str) -> Result<Vec<(String, String)>, DocumentError> {
    let list = list
        .as_array()
        .ok_or_else(|| DocumentError::not(list, field, "an array"))?;
    if !(1..=USER_PROPERTIES_MAX).contains(&list.len()) {
        return Err(DocumentError::UserProperties {
            field: field.to_owned(),
            count: list.len(),
            max: USER_PROPERTIES_MAX,
        });
    }
    let pairs = list.iter().enumerate().map(|(place, pair)| {
        let field = format!("{field}[{place}]");
        let members = Members::read(pair, &field, &["key", "value"])?;
        let required = |name| {
            let text = members.header(name)?;
            text.ok_or_else(|| DocumentError::missing(&format!("{field}.{name}")))
        };
        Ok((required("key")?, required("value")?))
    });
    pairs.collect()
}

/// The members of an object of an action that Forebay carries out.
struct Members<'a> {
    members: &'a Map<String, Value>,
    field: &'a str,
}

impl<'a> Members<'a> {
    fn read(body: &'a Value, field: &'a str, known: &[&str]) -> Result<Self, DocumentError> {
        let members = body
            .as_object()
            .filter(|_| intrinsic(body).is_none())
            .ok_or_else(|| DocumentError::not(body, field, "an object"))?;
        if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(DocumentError::UnknownMember {
                field: field.to_owned(),
                name: name.clone(),
                suggestion: suggestion(name, known),
            });
        }
        Ok(Self { members, field })
    }

    /// A member; null counts as absent.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.field)
    }

    /// A member that holds text which may be a template.
    fn text(&self, name: &str) -> Result<Option<String>, DocumentError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(DocumentError::not(other, &self.path(name), "a string")),
        }
    }

    fn required(&self, name: &str) -> Result<String, DocumentError> {
        self.text(name)?
            .ok_or_else(|| DocumentError::missing(&self.path(name)))
    }

    fn header(&self, name: &str) -> Result<Option<String>, DocumentError> {
        let text = self.text(name)?;
        let chars = text.as_ref().map_or(0, |text| text.chars().count());
        if chars > HEADER_CHARS_MAX {
            return Err(DocumentError::HeaderLength {
                field: self.path(name),
                chars,
                max: HEADER_CHARS_MAX,
            });
        }
        Ok(text)
    }

    fn role(&self) -> Result<String, DocumentError> {
        match self.get("roleArn") {
            Some(other) if intrinsic(other).is_some() => Ok(other.to_string()),
            _ => self.required("roleArn"),
        }
    }

    fn qos(&self) -> Result<QoS, DocumentError> {
        let Some(value) = self.get("qos") else {
            return Ok(QoS::AtMostOnce);
        };
        match value {
            // YAML templates of CloudFormation reach their users with quoted numbers.
            Value::String(text) if text == "0" => Ok(QoS::AtMostOnce),
            Value::String(text) if text == "1" => Ok(QoS::AtLeastOnce),
            Value::Number(number) if number.as_u64() == Some(0) => Ok(QoS::AtMostOnce),
            Value::Number(number) if number.as_u64() == Some(1) => Ok(QoS::AtLeastOnce),
            Value::Number(number) => Err(DocumentError::QoS {
                field: self.path("qos"),
                value: number.to_string(),
            }),
            other => Err(DocumentError::not(other, &self.path("qos"), "0 or 1")),
        }
    }
}

/// The CloudFormation function that a value is, such as `Fn::Sub` or `Ref`.
pub(crate) fn intrinsic(value: &Value) -> Option<&str> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let name = object.keys().next()?;
    (name == "Ref" || name.starts_with("Fn::")).then_some(name)
}
