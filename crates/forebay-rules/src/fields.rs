//! The fields of an action for one message: fixed texts and templates become what the action needs, or a fault that
//! says why they do not.

use forebay_core::{
    HashKey, HashKeyError, PartitionKey, PartitionKeyError, StreamName, StreamNameError,
};
use forebay_sql::{EvalError, Evaluation, Template};

use crate::evaluated::ErrorKind;
use crate::republish_headers::HeaderError;
use crate::republish_topic::RepublishTopicError;

/// A field of an action: known when the rule is made, or written anew for each message.
#[derive(Debug)]
pub(crate) enum Value<T> {
    Fixed(T),
    /// A fixed text that is no `T`, and why.
    Unusable(Box<Unusable>),
    Template(Template),
}

/// A fixed text that no message can make usable.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) text: String,
    pub(crate) reason: FieldError,
}

/// Why a text is of no use in its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error(transparent)]
    StreamName(#[from] StreamNameError),
    #[error(transparent)]
    PartitionKey(#[from] PartitionKeyError),
    #[error(transparent)]
    HashKey(#[from] HashKeyError),
    #[error(transparent)]
    RepublishTopic(#[from] RepublishTopicError),
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl FieldError {
    /// The code in error documents, for the fields of records.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self {
            Self::StreamName(_) => Some("bad_stream_name"),
            Self::PartitionKey(_) => Some("bad_partition_key"),
            Self::HashKey(_) => Some("bad_hash_key"),
            Self::RepublishTopic(_) | Self::Header(_) => None,
        }
    }
}

/// Why an action has no usable field.
#[derive(Debug)]
pub(crate) struct Fault<'a> {
    /// The field's name.
    pub(crate) field: &'static str,
    pub(crate) cause: Cause<'a>,
}

#[derive(Debug)]
pub(crate) enum Cause<'a> {
    /// Its template cannot be evaluated.
    Evaluation(EvalError),
    /// The document says something unusable.
    Fixed(&'a Unusable),
    /// Its template wrote something unusable, which is in [`Fields::text`].
    Written(Box<FieldError>),
    /// The outgoing payloads of the message are longer than the limit.
    OutputBytes,
}

impl Fault<'_> {
    /// The fault of an action for which the message has no bytes left.
    pub(crate) const OUTPUT_BYTES: Fault<'static> = Fault {
        field: "payload",
        cause: Cause::OutputBytes,
    };

    pub(crate) fn kind(&self) -> ErrorKind {
        match &self.cause {
            Cause::Evaluation(EvalError::Steps | EvalError::OutputBytes) | Cause::OutputBytes => {
                ErrorKind::Limit
            }
            // AWS IoT fails the action when a function of a template does; a statement it would end.
            Cause::Evaluation(EvalError::Function(..)) => ErrorKind::Template,
            Cause::Evaluation(EvalError::Undefined | EvalError::Variables) => ErrorKind::Eval,
            Cause::Fixed(_) | Cause::Written(_) => ErrorKind::Template,
        }
    }

    /// The code in error documents.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match &self.cause {
            Cause::Fixed(unusable) => unusable.reason.code(),
            Cause::Written(reason) => reason.code(),
            Cause::Evaluation(_) | Cause::OutputBytes => None,
        }
    }

    /// The text that turned out to be of no use, where there is one. `written` is what the template wrote.
    pub(crate) fn unusable_text<'b>(&'b self, written: &'b [u8]) -> &'b str {
        match &self.cause {
            Cause::Fixed(unusable) => &unusable.text,
            Cause::Written(reason) if let FieldError::RepublishTopic(error) = &**reason => {
                error.topic()
            }
            Cause::Written(_) => std::str::from_utf8(written).unwrap_or_default(),
            Cause::Evaluation(_) | Cause::OutputBytes => "",
        }
    }

    /// What is wrong, in words.
    pub(crate) fn reason(&self) -> String {
        let field = self.field;
        match &self.cause {
            Cause::Evaluation(error) => format!("{field}: {error}"),
            Cause::Fixed(unusable) => format!("{field}: {}", unusable.reason),
            Cause::Written(reason) => format!("{field}: {reason}"),
            Cause::OutputBytes => {
                "the outgoing payloads of the message are longer than the limit".to_owned()
            }
        }
    }
}

/// Evaluates fields on one message.
pub(crate) struct Fields<'b, 'a> {
    pub(crate) evaluation: &'b mut Evaluation<'a>,
    /// What the template wrote that was evaluated last.
    pub(crate) text: &'b mut Vec<u8>,
}

impl<'a> Fields<'_, 'a> {
    /// The value of the field of this name.
    pub(crate) fn value<T: Clone, E: Into<FieldError>>(
        &mut self,
        field: &'static str,
        value: &'a Value<T>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Fault<'a>> {
        match value {
            Value::Fixed(value) => Ok(value.clone()),
            Value::Unusable(unusable) => {
                let cause = Cause::Fixed(unusable);
                Err(Fault { field, cause })
            }
            Value::Template(template) => {
                self.evaluation
                    .template(template, self.text)
                    .map_err(|error| {
                        self.text.clear();
                        let cause = Cause::Evaluation(error);
                        Fault { field, cause }
                    })?;
                // A template writes whole UTF-8.
                let text = std::str::from_utf8(self.text).unwrap_or_default();
                parse(text).map_err(|error| {
                    let cause = Cause::Written(Box::new(error.into()));
                    Fault { field, cause }
                })
            }
        }
    }
}

/// The Kinesis action, compiled.
#[derive(Debug)]
pub(crate) struct CompiledKinesis {
    pub(crate) stream: Value<StreamName>,
    /// `None`: a random UUID per record.
    pub(crate) partition_key: Option<Value<PartitionKey>>,
}

impl CompiledKinesis {
    pub(crate) fn stream<'a>(
        &'a self,
        fields: &mut Fields<'_, 'a>,
    ) -> Result<StreamName, Fault<'a>> {
        fields.value("streamName", &self.stream, StreamName::new)
    }

    pub(crate) fn partition_key<'a>(
        &'a self,
        fields: &mut Fields<'_, 'a>,
    ) -> Result<PartitionKey, Fault<'a>> {
        match &self.partition_key {
            Some(key) => fields.value("partitionKey", key, PartitionKey::new),
            None => {
                let bits = fields.evaluation.entropy().uuid_bits();
                Ok(PartitionKey::from_uuid_bits(bits))
            }
        }
    }
}

/// The explicit hash key of a record.
pub(crate) fn hash_key<'a>(
    key: &'a Value<HashKey>,
    fields: &mut Fields<'_, 'a>,
) -> Result<HashKey, Fault<'a>> {
    fields.value("explicit_hash_key", key, str::parse)
}

/// At most the first `max` bytes of a text, cut between characters.
pub(crate) fn clipped(text: &str, max: usize) -> &str {
    match text.get(..text.floor_char_boundary(max)) {
        Some(clipped) => clipped,
        None => text,
    }
}
