//! What the API does rules with: the program keeps them, this crate answers for them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A tag of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// 1 to 128 characters.
    #[serde(rename = "Key")]
    pub key: String,
    /// 0 to 256 characters.
    #[serde(rename = "Value", default)]
    pub value: String,
}

/// One rule in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSummary {
    /// Its name.
    pub name: String,
    /// The filter of its FROM clause, if it has one.
    pub topic_pattern: Option<String>,
    /// When it was created, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// True when it is kept and not run.
    pub disabled: bool,
}

/// A rule with everything that was given when it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleDescription {
    /// As in a list.
    pub summary: RuleSummary,
    /// The SQL version in force, also where the document names none.
    pub sql_version: String,
    /// The TopicRulePayload, members that Forebay does not know included.
    pub payload: Map<String, Value>,
    /// What the configuration says of the rule that AWS's document has no place for.
    pub settings: Value,
    /// What works as written and probably not as meant.
    pub warnings: Vec<String>,
}

/// What a change did: fingerprints of the stored rule, for the audit trail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleChange {
    /// Of the rule as it was; `None` when there was none.
    pub before: Option<String>,
    /// Of the rule as it is now; `None` when there is none.
    pub after: Option<String>,
}

/// Why a change was refused. Nothing was changed, except after [`Storage`](Self::Storage), when that is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// The document is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// The statement does not compile.
    #[error("{0}")]
    Sql(String),
    /// There is a rule of this name.
    #[error("the rule exists")]
    Exists,
    /// There is no rule of this name.
    #[error("there is no such rule")]
    Missing,
    /// The rule is written in the configuration file.
    #[error("{0}")]
    ReadOnly(String),
    /// A limit on what may be kept.
    #[error("{0}")]
    Limit(String),
    /// The change could not be written.
    #[error("{0}")]
    Storage(String),
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Rules in force now, disabled ones included.
    pub rules: usize,
    /// Names of rules that were added, changed or removed.
    pub changed_rules: Vec<String>,
    /// Other keys that were applied, such as `log.level`.
    pub applied: Vec<String>,
    /// Keys that were changed in the configuration and only count after a restart.
    pub needs_restart: Vec<String>,
    /// What works as written and probably not as meant.
    pub warnings: Vec<String>,
}

/// Keeps the rules, puts them in force and reads the configuration again. Every call may take as long as compiling all
/// rules and writing one to disk; calls come from several threads. A change that returned is in force for the next
/// message.
pub trait RuleControl: Send + Sync {
    /// All rules, by name.
    fn list(&self) -> Vec<RuleSummary>;

    /// The rule of this name.
    fn get(&self, name: &str) -> Option<RuleDescription>;

    /// Adds a rule.
    ///
    /// # Errors
    /// When the document is refused, the rule exists, or the change cannot be written.
    fn create(&self, name: &str, payload: &[u8], tags: Vec<Tag>) -> Result<RuleChange, RuleFault>;

    /// Replaces a rule's document; creation time and tags stay.
    ///
    /// # Errors
    /// When the document is refused, the rule is missing or read-only, or the change cannot be written.
    fn replace(&self, name: &str, payload: &[u8]) -> Result<RuleChange, RuleFault>;

    /// Enables or disables a rule.
    ///
    /// # Errors
    /// When the rule is missing or read-only, or the change cannot be written.
    fn set_disabled(&self, name: &str, disabled: bool) -> Result<RuleChange, RuleFault>;

    /// Removes a rule with its tags.
    ///
    /// # Errors
    /// As [`set_disabled`](Self::set_disabled).
    fn delete(&self, name: &str) -> Result<RuleChange, RuleFault>;

    /// The tags of a rule in the order in which they were set; `None` when there is no such rule.
    fn tags(&self, name: &str) -> Option<Vec<Tag>>;

    /// Sets tags; those with the same key are replaced.
    ///
    /// # Errors
    /// As [`set_disabled`](Self::set_disabled), and beyond the limit on tags.
    fn tag(&self, name: &str, tags: Vec<Tag>) -> Result<RuleChange, RuleFault>;

    /// Removes tags by key; keys that are not there are ignored.
    ///
    /// # Errors
    /// As [`set_disabled`](Self::set_disabled).
    fn untag(&self, name: &str, keys: &[String]) -> Result<RuleChange, RuleFault>;

    /// Reads the configuration and the rule files again and applies what can change while the process runs.
    ///
    /// # Errors
    /// What is wrong, as text for people. Everything stays as it was.
    fn reload(&self) -> Result<Reloaded, String>;
}
