//! Rule documents: reading the forms in which AWS IoT's own tools write them.
//!
//! | Form | Where it comes from | Recognised by |
//! | --- | --- | --- |
//! | payload | the body of CreateTopicRule, the file given to `--topic-rule-payload` | `sql` |
//! | wrapped | the developer guide's action pages | `topicRulePayload` |
//! | described | the output of GetTopicRule | `rule` |
//! | CloudFormation | a resource `AWS::IoT::TopicRule`, or its properties | `Type`, `Properties` or `TopicRulePayload` |

use forebay_core::limits::{RULE_ACTIONS_MAX, RULE_DOCUMENT_BYTES_MAX, RULE_NAME_BYTES_MAX};
use forebay_sql::SqlVersion;
use serde_json::{Map, Value, json};

use crate::action::{Action, intrinsic};

/// A rule as its document says it, checked for shape. The SQL and the templates are still text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDocument {
    /// The rule's name: 1 to 128 of `a-z A-Z 0-9 _`.
    pub name: String,
    /// The SQL statement.
    pub sql: String,
    /// Free text.
    pub description: Option<String>,
    /// Disabled rules are kept and never run.
    pub disabled: bool,
    /// The SQL version.
    pub version: SqlVersion,
    /// At most ten actions.
    pub actions: Vec<Action>,
    /// What runs when an action fails.
    pub error_action: Option<Action>,
}

/// Why a document is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON.
    #[error("not JSON: {reason}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// JSON, but not an object, or an object of none of the known forms.
    #[error("not a rule document: {reason}")]
    Form {
        /// What is wrong with it.
        reason: String,
    },
    /// No name in the document and none given.
    #[error("the document names no rule and no name was given")]
    NoName,
    /// A name that AWS IoT would refuse.
    #[error("rule name {name:?} is not 1 to {RULE_NAME_BYTES_MAX} of the characters a-z A-Z 0-9 _")]
    Name {
        /// The name.
        name: String,
    },
    /// The document and whoever holds it disagree.
    #[error("the document is for rule {document:?}, but it is stored as {stored:?}")]
    NameMismatch {
        /// The name in the document.
        document: String,
        /// The name given.
        stored: String,
    },
    /// A required member is missing.
    #[error("{field} is missing")]
    Missing {
        /// The member.
        field: String,
    },
    /// A member of the wrong type.
    #[error("{field} is not {expected}")]
    Type {
        /// The member.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Too many bytes.
    #[error("document too large: {bytes} > {RULE_DOCUMENT_BYTES_MAX} bytes")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Too many actions.
    #[error("too many actions: {count} > {RULE_ACTIONS_MAX}")]
    TooManyActions {
        /// Their number.
        count: usize,
    },
    /// An action entry without exactly one key.
    #[error("{field} has {count} keys; an action has exactly one, its name")]
    ActionKeys {
        /// The entry.
        field: String,
        /// Its keys.
        count: usize,
    },
    /// An unknown member of an action that Forebay carries out.
    #[error("unknown member {name:?} in {field}")]
    UnknownMember {
        /// The action.
        field: String,
        /// The member.
        name: String,
        /// The member that was probably meant.
        suggestion: Option<String>,
    },
    /// A quality of service that no rule can publish with.
    #[error("{field} is {value}; a rule publishes with 0 or 1")]
    QoS {
        /// The member.
        field: String,
        /// Its value.
        value: String,
    },
    /// A header of a republished message that is too long.
    #[error("{field} is too long: {chars} > {max} characters")]
    HeaderLength {
        /// The member.
        field: String,
        /// Its length.
        chars: usize,
        /// The limit.
        max: usize,
    },
    /// A list of user properties that is empty or too long.
    #[error("{field} has {count} entries; it needs 1 to {max}")]
    UserProperties {
        /// The member.
        field: String,
        /// Its length.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// An unknown SQL version.
    #[error("unknown awsIotSqlVersion {value:?}")]
    Version {
        /// The text.
        value: String,
    },
    /// A CloudFormation function where only CloudFormation could know the value.
    #[error(
        "{field} holds the CloudFormation function {function:?}, which only CloudFormation can resolve"
    )]
    Intrinsic {
        /// The member.
        field: String,
        /// The function.
        function: String,
    },
}

impl DocumentError {
    pub(crate) fn missing(field: &str) -> Self {
        Self::Missing {
            field: field.to_owned(),
        }
    }

    pub(crate) fn wrong_type(field: &str, expected: &'static str) -> Self {
        Self::Type {
            field: field.to_owned(),
            expected,
        }
    }

    /// A value that is not what it should be: a function of CloudFormation, or of the wrong type.
    pub(crate) fn not(value: &Value, field: &str, expected: &'static str) -> Self {
        match intrinsic(value) {
            Some(function) => Self::Intrinsic {
                field: field.to_owned(),
                function: function.to_owned(),
            },
            None => Self::wrong_type(field, expected),
        }
    }

    /// The stable code of the diagnostic.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json { .. } => "R101",
            Self::Form { .. } => "R102",
            Self::NoName | Self::Name { .. } => "R103",
            Self::NameMismatch { .. } => "R104",
            Self::Missing { .. } => "R105",
            Self::Type { .. } => "R106",
            Self::TooLarge { .. } => "R107",
            Self::TooManyActions { .. } => "R108",
            Self::ActionKeys { .. } => "R109",
            Self::UnknownMember { .. } => "R110",
            Self::Version { .. } => "R111",
            Self::Intrinsic { .. } => "R112",
            Self::QoS { .. } => "R113",
            Self::HeaderLength { .. } | Self::UserProperties { .. } => "R114",
        }
    }

    /// What to do about it, when there is something to say.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownMember { suggestion: Some(name), .. } => Some(format!("did you mean {name:?}?")),
            Self::Version { .. } => Some(format!("known are {}", SqlVersion::ALL.map(|v| format!("{v:?}", v = v.as_str())).join(", "))),
            Self::Form { .. } => Some("a rule document is what `aws iot create-topic-rule --topic-rule-payload` takes: an object with \"sql\" and \"actions\"".to_owned()),
            Self::Intrinsic { .. } => Some("write the value that the deployed rule has; `aws iot get-topic-rule` prints it".to_owned()),
            Self::NameMismatch { .. } => Some("name the file after the rule, or remove \"ruleName\" from the document".to_owned()),
            Self::Missing { field } if field.ends_with("roleArn") => Some("AWS IoT requires it; Forebay keeps it and uses its own credentials".to_owned()),
            _ => None,
        }
    }
}

impl RuleDocument {
    /// Reads a document in any of the forms. `name` is the name under which it is stored, such as the stem of its
    /// file; without it the document must name the rule. Unknown members of the document are ignored, unknown members
    /// of an action that Forebay carries out are refused.
    ///
    /// # Errors
    /// The first check that fails, in the order in which AWS IoT makes them.
    pub fn from_json(bytes: &[u8], name: Option<&str>) -> Result<Self, DocumentError> {
        let Form {
            payload,
            name: own_name,
        } = Form::recognise(read(bytes)?)?;
        let name = match (name, own_name) {
            (Some(stored), Some(document)) if stored != document => {
                return Err(DocumentError::NameMismatch {
                    document,
                    stored: stored.to_owned(),
                });
            }
            (Some(name), _) => name.to_owned(),
            (None, Some(name)) => name,
            (None, None) => return Err(DocumentError::NoName),
        };
        Self::named(&name, &payload)
    }

    /// Reads the rule's members, of a rule of this name.
    pub(crate) fn named(name: &str, payload: &Map<String, Value>) -> Result<Self, DocumentError> {
        if !is_rule_name(name) {
            return Err(DocumentError::Name {
                name: name.chars().take(160).collect(),
            });
        }
        Self::from_payload(name.to_owned(), payload)
    }

    /// The rule as the body of CreateTopicRule has it, the SQL version and whether it is disabled always among it.
    pub fn to_payload(&self) -> Map<String, Value> {
        let actions: Vec<Value> = self.actions.iter().map(Action::to_json).collect();
        let members = [
            ("sql", Some(json!(self.sql))),
            ("awsIotSqlVersion", Some(json!(self.version.as_str()))),
            ("ruleDisabled", Some(json!(self.disabled))),
            ("actions", Some(json!(actions))),
            (
                "description",
                self.description.as_ref().map(|text| json!(text)),
            ),
            (
                "errorAction",
                self.error_action.as_ref().map(Action::to_json),
            ),
        ];
        let members = members.into_iter();
        let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        members.collect()
    }

    /// The actions and, last, the error action.
    pub fn all_actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter().chain(&self.error_action)
    }

    /// The texts of all actions that may be templates, each with its place, such as
    /// `actions[0].kinesis.partitionKey`.
    pub fn templates(&self) -> Vec<(String, &str)> {
        let actions = self.actions.iter().enumerate();
        let actions = actions.map(|(place, action)| (format!("actions[{place}]"), action));
        let error_action = self.error_action.iter();
        let error_action = error_action.map(|action| ("errorAction".to_owned(), action));
        let texts = actions.chain(error_action).flat_map(|(entry, action)| {
            let texts = action.texts().into_iter();
            texts.map(move |(field, text)| (format!("{entry}.{field}"), text))
        });
        texts.collect()
    }

    /// The TopicRulePayload of a document in any of the forms: AWS's member names, members that Forebay does not know
    /// included, and without what GetTopicRule adds to it.
    ///
    /// # Errors
    /// When the document has none of the forms.
    pub fn payload(bytes: &[u8]) -> Result<Map<String, Value>, DocumentError> {
        let mut payload = Form::recognise(read(bytes)?)?.payload;
        for added in ["ruleName", "createdAt"] {
            payload.remove(added);
        }
        Ok(payload)
    }

    fn from_payload(name: String, payload: &Map<String, Value>) -> Result<Self, DocumentError> {
        let sql = text(payload, "sql")?.ok_or_else(|| DocumentError::missing("sql"))?;
        let actions = match payload.get("actions") {
            None | Some(Value::Null) => return Err(DocumentError::missing("actions")),
            Some(Value::Array(actions)) => actions,
            Some(other) => return Err(DocumentError::not(other, "actions", "an array")),
        };
        let bytes = serde_json::to_string(payload).map_or(usize::MAX, |text| text.len());
        if bytes > RULE_DOCUMENT_BYTES_MAX {
            return Err(DocumentError::TooLarge { bytes });
        }
        if actions.len() > RULE_ACTIONS_MAX {
            return Err(DocumentError::TooManyActions {
                count: actions.len(),
            });
        }
        let actions = actions
            .iter()
            .enumerate()
            .map(|(index, action)| Action::from_value(action, &format!("actions[{index}]")))
            .collect::<Result<_, _>>()?;
        let error_action = match payload.get("errorAction") {
            None | Some(Value::Null) => None,
            Some(action) => Some(Action::from_value(action, "errorAction")?),
        };
        Ok(Self {
            name,
            sql,
            description: text(payload, "description")?,
            disabled: disabled(payload)?,
            version: version(payload)?,
            actions,
            error_action,
        })
    }
}

fn read(bytes: &[u8]) -> Result<Value, DocumentError> {
    serde_json::from_slice(bytes).map_err(|error| DocumentError::Json {
        line: error.line(),
        column: error.column(),
        reason: error.to_string(),
    })
}

fn disabled(payload: &Map<String, Value>) -> Result<bool, DocumentError> {
    match payload.get("ruleDisabled") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(disabled)) => Ok(*disabled),
        // YAML templates of CloudFormation reach their users with quoted booleans.
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(other) => Err(DocumentError::not(other, "ruleDisabled", "a boolean")),
    }
}

fn version(payload: &Map<String, Value>) -> Result<SqlVersion, DocumentError> {
    match text(payload, "awsIotSqlVersion")? {
        None => Ok(SqlVersion::default()),
        Some(value) => value.parse().map_err(|()| DocumentError::Version { value }),
    }
}

fn text(payload: &Map<String, Value>, name: &str) -> Result<Option<String>, DocumentError> {
    match payload.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(DocumentError::not(other, name, "a string")),
    }
}

/// True for what AWS IoT accepts as the name of a rule.
pub(crate) fn is_rule_name(name: &str) -> bool {
    (1..=RULE_NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The known name that `name` was probably meant to be.
pub(crate) fn suggestion(name: &str, known: &[&str]) -> Option<String> {
    known
        .iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| (*candidate).to_owned())
}

/// What is common to the forms: the payload with the API's member names, and the name if the form carries one.
pub(crate) struct Form {
    pub(crate) payload: Map<String, Value>,
    pub(crate) name: Option<String>,
}

impl Form {
    pub(crate) fn recognise(value: Value) -> Result<Self, DocumentError> {
        let Value::Object(mut outer) = value else {
            return Err(DocumentError::Form {
                reason: "it is not a JSON object".to_owned(),
            });
        };
        if outer.contains_key("sql") {
            let name = text(&outer, "ruleName")?;
            return Ok(Self {
                payload: outer,
                name,
            });
        }
        if let Some(inner) = outer.remove("topicRulePayload") {
            let name = text(&outer, "ruleName")?;
            return Ok(Self {
                payload: object(inner, "topicRulePayload")?,
                name,
            });
        }
        if let Some(inner) = outer.remove("rule") {
            let payload = object(inner, "rule")?;
            let name = text(&payload, "ruleName")?;
            return Ok(Self { payload, name });
        }
        if let Some(kind) = outer.get("Type")
            && kind != "AWS::IoT::TopicRule"
        {
            return Err(DocumentError::Form {
                reason: format!("it is a resource of type {kind}, not \"AWS::IoT::TopicRule\""),
            });
        }
        if let Some(inner) = outer.remove("Properties") {
            outer = object(inner, "Properties")?;
        }
        let Some(inner) = outer.remove("TopicRulePayload") else {
            // The payload form without its SQL reads better as a missing member than as an unknown form.
            return if outer.contains_key("actions") {
                Err(DocumentError::missing("sql"))
            } else {
                Err(DocumentError::Form { reason: "it has none of the members \"sql\", \"topicRulePayload\", \"rule\", \"TopicRulePayload\"".to_owned() })
            };
        };
        let name = text(&outer, "RuleName")?;
        Ok(Self {
            payload: lowered(object(inner, "TopicRulePayload")?),
            name,
        })
    }
}

fn object(value: Value, field: &str) -> Result<Map<String, Value>, DocumentError> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(DocumentError::wrong_type(field, "an object")),
    }
}

/// CloudFormation's member names are the API's with a capital first letter, at every level.
fn lowered(object: Map<String, Value>) -> Map<String, Value> {
    let lower_name = |name: String| {
        let mut chars = name.chars();
        match chars.next() {
            // The functions of CloudFormation keep their names, so that they can be told.
            Some(first) if !name.starts_with("Fn::") && name != "Ref" => {
                first.to_lowercase().chain(chars).collect()
            }
            _ => name,
        }
    };
    let lower_value = |value| match value {
        Value::Object(inner) => Value::Object(lowered(inner)),
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| match item {
                    Value::Object(inner) => Value::Object(lowered(inner)),
                    other => other,
                })
                .collect(),
        ),
        other => other,
    };
    object
        .into_iter()
        .map(|(name, value)| (lower_name(name), lower_value(value)))
        .collect()
}
