//! Data of other services from files, for the functions that ask them. Reading the files is left to the caller.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_sql::{DataFault, DataRequest, DataSource, ServiceData};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value};

/// Bytes of one file of descriptors (AWS IoT developer guide, decoding protobuf message payloads).
const DESCRIPTOR_BYTES_MAX: usize = 32 * 1024;

/// Data of other services, in memory.
#[derive(Debug, Default)]
pub struct FunctionData {
    things: Option<HashMap<String, Thing>>,
    secrets: Option<HashMap<String, Secret>>,
    shadows: Option<HashMap<String, Shadows>>,
    /// By bucket and key; those without stand for any.
    descriptors: HashMap<Option<(String, String)>, DescriptorPool>,
}

#[derive(Debug)]
struct Thing {
    description: Option<Arc<str>>,
    groups: Option<Arc<str>>,
}

#[derive(Debug)]
struct Secret {
    text: Option<Arc<str>>,
    binary: Option<Arc<str>>,
}

#[derive(Debug)]
struct Shadows {
    classic: Option<Arc<str>>,
    named: HashMap<String, Arc<str>>,
}

/// Why a file holds no such data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FunctionDataError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// JSON of another shape.
    #[error("{at} is not {expected}")]
    Shape {
        /// The member, by the names that lead to it.
        at: String,
        /// What it should be.
        expected: &'static str,
    },
    /// No set of descriptors.
    #[error("not a FileDescriptorSet: {0}")]
    Descriptors(String),
    /// Descriptors that AWS IoT would not take.
    #[error("descriptors too large: {bytes} > {DESCRIPTOR_BYTES_MAX} bytes")]
    TooLarge {
        /// Their length.
        bytes: usize,
    },
}

type Read<T> = Result<T, FunctionDataError>;

impl FunctionData {
    /// Takes the things of a registry file: an object by the things' names, each with the answers of the API under
    /// `DescribeThing` and `ListThingGroupsForThing`.
    ///
    /// # Errors
    /// When the text is no such object. The data is as it was before.
    pub fn read_registry(&mut self, text: &[u8]) -> Read<()> {
        let mut things = HashMap::new();
        for (name, thing) in entries(text)? {
            let mut members = object(thing, &name)?;
            let mut answer = |operation: &str| {
                let answer = members.remove(operation)?;
                Some(document(answer, &format!("{name}.{operation}")))
            };
            let thing = Thing {
                description: answer("DescribeThing").transpose()?,
                groups: answer("ListThingGroupsForThing").transpose()?,
            };
            things.insert(name, thing);
        }
        self.things = Some(things);
        Ok(())
    }

    /// Takes the secrets of a file: an object by the secrets' names or ARNs, each with `SecretString` or
    /// `SecretBinary` (base64), as GetSecretValue has them.
    ///
    /// # Errors
    /// When the text is no such object. The data is as it was before.
    pub fn read_secrets(&mut self, text: &[u8]) -> Read<()> {
        let mut secrets = HashMap::new();
        for (id, secret) in entries(text)? {
            let mut members = object(secret, &id)?;
            let mut value = |name: &str| match members.remove(name) {
                None => Ok(None),
                Some(Value::String(value)) => Ok(Some(value.into())),
                Some(_) => shape(&format!("{id}.{name}"), "a string"),
            };
            let secret = Secret {
                text: value("SecretString")?,
                binary: value("SecretBinary")?,
            };
            secrets.insert(id, secret);
        }
        self.secrets = Some(secrets);
        Ok(())
    }

    /// Takes the shadows of a file: an object by the things' names, each with the classic shadow under `classic` and
    /// others by their names under `named`.
    ///
    /// # Errors
    /// When the text is no such object. The data is as it was before.
    pub fn read_shadows(&mut self, text: &[u8]) -> Read<()> {
        let mut shadows = HashMap::new();
        for (thing, entry) in entries(text)? {
            let mut members = object(entry, &thing)?;
            let classic = members.remove("classic");
            let classic = classic.map(|shadow| document(shadow, &format!("{thing}.classic")));
            let mut named = HashMap::new();
            if let Some(others) = members.remove("named") {
                for (name, shadow) in object(others, &format!("{thing}.named"))? {
                    let shadow = document(shadow, &format!("{thing}.named.{name}"))?;
                    named.insert(name, shadow);
                }
            }
            let classic = classic.transpose()?;
            shadows.insert(thing, Shadows { classic, named });
        }
        self.shadows = Some(shadows);
        Ok(())
    }

    /// Takes a `FileDescriptorSet`, as `protoc --descriptor_set_out --include_imports` writes it. `object` is the bucket
    /// and the key that rules name; without it the descriptors stand for any.
    ///
    /// # Errors
    /// When the bytes are no such set, or more than 32 KiB.
    pub fn read_descriptors(&mut self, object: Option<(String, String)>, bytes: &[u8]) -> Read<()> {
        if bytes.len() > DESCRIPTOR_BYTES_MAX {
            return Err(FunctionDataError::TooLarge { bytes: bytes.len() });
        }
        let pool = DescriptorPool::decode(bytes)
            .map_err(|error| FunctionDataError::Descriptors(error.to_string()))?;
        self.descriptors.insert(object, pool);
        Ok(())
    }

    fn message(
        &self,
        bucket: &str,
        key: &str,
        file: &str,
        name: &str,
    ) -> Option<MessageDescriptor> {
        let object = Some((bucket.to_owned(), key.to_owned()));
        let pool = self
            .descriptors
            .get(&object)
            .or_else(|| self.descriptors.get(&None))?;
        let path = format!("{file}.proto");
        let file = pool.files().find(|known| known.name() == path)?;
        let found = file
            .messages()
            .find(|message| message.full_name() == name || message.name() == name);
        found.or_else(|| pool.get_message_by_name(name))
    }
}

impl ServiceData for FunctionData {
    fn has(&self, source: DataSource) -> bool {
        match source {
            DataSource::Registry => self.things.is_some(),
            DataSource::Secrets => self.secrets.is_some(),
            DataSource::Shadows => self.shadows.is_some(),
            DataSource::Protobuf => !self.descriptors.is_empty(),
        }
    }

    fn answer(&self, request: &DataRequest<'_>) -> Result<Arc<str>, DataFault> {
        let found = match *request {
            DataRequest::Thing { name } => {
                self.thing(name).and_then(|thing| thing.description.clone())
            }
            DataRequest::ThingGroups { thing } => {
                self.thing(thing).and_then(|thing| thing.groups.clone())
            }
            DataRequest::Secret { id, binary } => {
                let secret = self.secrets.as_ref().and_then(|secrets| secrets.get(id));
                secret.and_then(|secret| {
                    if binary {
                        secret.binary.clone()
                    } else {
                        secret.text.clone()
                    }
                })
            }
            DataRequest::Shadow { thing, name } => {
                let shadows = self.shadows.as_ref().and_then(|shadows| shadows.get(thing));
                shadows.and_then(|shadows| match name {
                    Some(name) => shadows.named.get(name).cloned(),
                    None => shadows.classic.clone(),
                })
            }
            DataRequest::Protobuf {
                descriptor: (bucket, key),
                file,
                message,
                bytes,
            } => {
                let message = self
                    .message(bucket, key, file, message)
                    .ok_or(DataFault::Missing)?;
                return protobuf_json(message, bytes);
            }
        };
        found.ok_or(DataFault::Missing)
    }
}

impl FunctionData {
    fn thing(&self, name: &str) -> Option<&Thing> {
        self.things.as_ref()?.get(name)
    }
}

/// The JSON of an encoded message: field names as they are declared, 64-bit integers as numbers.
fn protobuf_json(message: MessageDescriptor, bytes: &[u8]) -> Result<Arc<str>, DataFault> {
    let message = DynamicMessage::decode(message, bytes)
        .map_err(|_| DataFault::Contract("the bytes are no message of that type"))?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    let mut out = Vec::new();
    let written =
        message.serialize_with_options(&mut serde_json::Serializer::new(&mut out), &options);
    let text = written.ok().and_then(|()| String::from_utf8(out).ok());
    text.map(Into::into)
        .ok_or(DataFault::Contract("the message has no JSON form"))
}

/// The members of a text that is a JSON object.
fn entries(text: &[u8]) -> Read<Map<String, Value>> {
    let value =
        serde_json::from_slice(text).map_err(|error| FunctionDataError::Json(error.to_string()))?;
    object(value, "the document")
}

fn object(value: Value, at: &str) -> Read<Map<String, Value>> {
    match value {
        Value::Object(members) => Ok(members),
        _ => shape(at, "an object"),
    }
}

fn document(value: Value, at: &str) -> Read<Arc<str>> {
    match value {
        Value::Object(_) => Ok(value.to_string().into()),
        _ => shape(at, "an object"),
    }
}

fn shape<T>(at: &str, expected: &'static str) -> Read<T> {
    Err(FunctionDataError::Shape {
        at: at.to_owned(),
        expected,
    })
}
