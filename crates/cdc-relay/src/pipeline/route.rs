//! Routers: `RegexRouter` renames topics, `ByLogicalTableRouter` gathers the topics of several tables in one.

use std::sync::Arc;

use model::connect_record::{Datum, Field, Kind, Schema, Value};
use regex::Regex;

use super::Record;

/// A topic whose whole name matches gets a new one.
#[derive(Debug, Clone)]
pub struct RegexRouter {
    pub regex: Regex,
    /// In the syntax of the crate `regex`; see [`replacement`].
    pub replacement: String,
}

impl RegexRouter {
    pub fn apply(&self, mut record: Record) -> Record {
        if let Some(topic) = self.renamed(&record.topic) {
            record.topic = topic;
        }
        record
    }

    /// The new name; `None` when the old one does not match.
    fn renamed(&self, topic: &str) -> Option<String> {
        self.regex.is_match(topic).then(|| self.regex.replace(topic, self.replacement.as_str()).into_owned())
    }
}

/// Java's `$1x` means group 1 and an `x`; here it would be a group called `1x`.
#[must_use]
pub fn replacement(java: &str) -> String {
    let mut out = String::new();
    let mut rest = java.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => out
                .extend(rest.next().map(|escaped| if escaped == '$' { "$$".to_owned() } else { escaped.to_string() })),
            '$' if rest.peek().is_some_and(char::is_ascii_digit) => {
                let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
                out.push_str(&format!("${{{digits}}}"));
            }
            c => out.push(c),
        }
    }
    out
}

/// As [`RegexRouter`], and the records' names follow the topic. A field in the key keeps rows of different tables apart.
#[derive(Debug, Clone)]
pub struct LogicalTableRouter {
    pub topics: RegexRouter,
    /// Name of the key's field, if there is to be one (`key.enforce.uniqueness`).
    pub key_field: Option<String>,
    /// What of the old topic goes into the field (`key.field.regex`, `key.field.replacement`).
    pub key_value: Option<RegexRouter>,
}

impl LogicalTableRouter {
    pub fn apply(&self, mut record: Record) -> Record {
        let Some(topic) = self.topics.renamed(&record.topic) else { return record };
        if let (Some(key), Some(field)) = (&mut record.key, &self.key_field) {
            let old = self.key_value.as_ref().and_then(|rule| rule.renamed(&record.topic));
            add_text(key, field, old.unwrap_or_else(|| record.topic.clone()));
        }
        let name = |part: &str| Some(format!("{topic}.{part}"));
        if let Some(key) = &mut record.key {
            Arc::make_mut(&mut key.schema).name = name("Key");
        }
        if let Some(value) = &mut record.value {
            let schema = Arc::make_mut(&mut value.schema);
            schema.name = name("Envelope");
            if let Kind::Struct(fields) = &mut schema.kind {
                for field in fields.iter_mut().filter(|field| matches!(field.name.as_str(), "before" | "after")) {
                    Arc::make_mut(&mut field.schema).name = name("Value");
                }
            }
        }
        record.topic = topic;
        record
    }
}

/// Adds a required string to a record.
fn add_text(datum: &mut Datum, name: &str, text: String) {
    let schema = Arc::make_mut(&mut datum.schema);
    if let (Kind::Struct(fields), Value::Struct(values)) = (&mut schema.kind, &mut datum.value) {
        fields.push(Field { name: name.to_owned(), schema: Arc::new(Schema::of(Kind::String)) });
        values.push(Value::String(text));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_topic_that_matches_wholly_is_renamed() {
        let router =
            RegexRouter { regex: Regex::new(r"^(?:(.*)sh_(.*))$").unwrap(), replacement: replacement("$1all_shards") };
        assert_eq!(router.renamed("rout.public.sh_1").as_deref(), Some("rout.public.all_shards"));
        assert_eq!(router.renamed("rout.public.people"), None);
    }

    #[test]
    fn javas_groups_are_understood() {
        assert_eq!(replacement(r"a-$1b\$2$x"), "a-${1}b$$2$x");
    }
}
