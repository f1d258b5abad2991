//! Predicates of Kafka Connect: which records a transformation is applied to.

use regex::Regex;

use super::Record;

/// One predicate, perhaps turned around by `negate`.
#[derive(Debug, Clone)]
pub struct Condition {
    pub predicate: Predicate,
    pub negate: bool,
}

/// Kafka's own predicates.
#[derive(Debug, Clone)]
pub enum Predicate {
    /// The whole name must match.
    TopicNameMatches(Regex),
    HasHeaderKey(String),
    RecordIsTombstone,
}

impl Condition {
    /// Whether the transformation is applied.
    pub fn holds(&self, record: &Record) -> bool {
        let is = match &self.predicate {
            Predicate::TopicNameMatches(pattern) => pattern.is_match(&record.topic),
            Predicate::HasHeaderKey(name) => record.headers.iter().any(|(known, _)| known == name),
            Predicate::RecordIsTombstone => record.value.as_ref().is_none_or(|value| value.value.is_null()),
        };
        is != self.negate
    }
}
