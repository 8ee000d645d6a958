//! Actions of a rule document: the ones that Forebay carries out and the ones that it only keeps.

use serde_json::{Map, Value};

use crate::document::{DocumentError, suggestion};

/// One entry of `actions`, or `errorAction`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Put the outgoing payload into a Kinesis data stream.
    Kinesis(KinesisAction),
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

impl Action {
    /// The action's name in documents and metric labels.
    pub fn kind(&self) -> &str {
        match self {
            Self::Kinesis(_) => "kinesis",
            Self::Unsupported { kind, .. } => kind,
        }
    }

    /// Reads the action at `field`: an object with one key, the action's name.
    pub(crate) fn from_value(value: &Value, field: &str) -> Result<Self, DocumentError> {
        let entry = value
            .as_object()
            .ok_or_else(|| DocumentError::wrong_type(field, "an object"))?;
        let mut members = entry.iter();
        let (Some((kind, body)), None) = (members.next(), members.next()) else {
            return Err(DocumentError::ActionKeys {
                field: field.to_owned(),
                count: entry.len(),
            });
        };
        if kind != "kinesis" {
            return Ok(Self::Unsupported {
                kind: kind.clone(),
                body: body.clone(),
            });
        }
        let field = format!("{field}.kinesis");
        let body = body
            .as_object()
            .ok_or_else(|| DocumentError::wrong_type(&field, "an object"))?;
        KinesisAction::from_members(body, &field).map(Self::Kinesis)
    }
}

impl KinesisAction {
    const MEMBERS: [&'static str; 3] = ["streamName", "partitionKey", "roleArn"];

    fn from_members(body: &Map<String, Value>, field: &str) -> Result<Self, DocumentError> {
        if let Some(name) = body
            .keys()
            .find(|name| !Self::MEMBERS.contains(&name.as_str()))
        {
            return Err(DocumentError::UnknownMember {
                field: field.to_owned(),
                name: name.clone(),
                suggestion: suggestion(name, &Self::MEMBERS),
            });
        }
        let text = |name: &str| template_text(body, field, name);
        let role = format!("{field}.roleArn");
        Ok(Self {
            stream_name: text("streamName")?
                .ok_or_else(|| DocumentError::missing(&format!("{field}.streamName")))?,
            partition_key: text("partitionKey")?,
            role_arn: match body.get("roleArn") {
                None | Some(Value::Null) => return Err(DocumentError::missing(&role)),
                Some(Value::String(arn)) => arn.clone(),
                Some(other) if intrinsic(other).is_some() => other.to_string(),
                Some(_) => return Err(DocumentError::wrong_type(&role, "a string")),
            },
        })
    }
}

/// A member that holds text which may be a template; null counts as absent.
fn template_text(
    body: &Map<String, Value>,
    field: &str,
    name: &str,
) -> Result<Option<String>, DocumentError> {
    let field = format!("{field}.{name}");
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(match intrinsic(other) {
            Some(function) => DocumentError::Intrinsic {
                field,
                function: function.to_owned(),
            },
            None => DocumentError::wrong_type(&field, "a string"),
        }),
    }
}

/// The CloudFormation function that a value is, such as `Fn::Sub` or `Ref`.
pub(crate) fn intrinsic(value: &Value) -> Option<&str> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let name = object.keys().next()?;
    (name == "Ref" || name.starts_with("Fn::")).then_some(name)
}
