//! The `errors.*` settings of a connector, read and checked. Pure.

use std::time::Duration;

use crate::plugin::{Config, ConnectorKind, FieldError};

/// How a connector takes errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRules {
    /// `errors.tolerance=all`: bad records are passed over.
    pub tolerates: bool,
    /// How long something passing is retried; `None`: for ever. Kafka Connect's default is not at all; ours is for ever,
    /// since servers come back.
    pub retry_timeout: Option<Duration>,
    /// Longest wait between two tries.
    pub retry_delay_max: Option<Duration>,
    /// Whether each error is logged.
    pub log: bool,
    /// Whether the log names the record.
    pub log_messages: bool,
    /// Where a sink keeps bad records.
    pub dead_letters: Option<DeadLetters>,
}

/// The topic of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// Topic.
    pub topic: String,
    /// Copies, when it is to be made.
    pub replication: i32,
    /// Whether headers tell what was wrong.
    pub context_headers: bool,
}

impl ErrorRules {
    /// Reads the settings.
    ///
    /// # Errors
    /// Every refused setting, in Connect's words.
    pub fn parse(config: &Config, kind: ConnectorKind) -> Result<Self, Vec<FieldError>> {
        let mut read = Read { config, errors: Vec::new() };
        let rules = Self {
            tolerates: read.tolerates(),
            retry_timeout: read
                .number("errors.retry.timeout", -1)
                .and_then(|ms| u64::try_from(ms).ok())
                .map(Duration::from_millis),
            retry_delay_max: read
                .number("errors.retry.delay.max.ms", 0)
                .and_then(|ms| u64::try_from(ms).ok())
                .map(Duration::from_millis),
            log: read.flag("errors.log.enable"),
            log_messages: read.flag("errors.log.include.messages"),
            dead_letters: if kind == ConnectorKind::Sink { read.dead_letters() } else { None },
        };
        if read.errors.is_empty() { Ok(rules) } else { Err(read.errors) }
    }
}

struct Read<'a> {
    config: &'a Config,
    errors: Vec<FieldError>,
}

impl Read<'_> {
    fn given(&self, name: &str) -> Option<&str> {
        let value = self.config.get(name)?.trim();
        // A reference is resolved where the task runs.
        (!value.is_empty() && !value.starts_with("${")).then_some(value)
    }

    fn refuse(&mut self, name: &str, value: &str, why: &str) {
        self.errors.push(FieldError::invalid(name, value, why));
    }

    fn tolerates(&mut self) -> bool {
        match self.given("errors.tolerance").map(str::to_owned) {
            Some(value) if value.eq_ignore_ascii_case("all") => true,
            Some(value) if !value.eq_ignore_ascii_case("none") => {
                self.refuse("errors.tolerance", &value, "String must be one of (case insensitive): ALL, NONE");
                false
            }
            _ => false,
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.given(name).map(str::to_owned) {
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if !value.eq_ignore_ascii_case("false") => {
                self.refuse(name, &value, "Expected value to be either true or false");
                false
            }
            _ => false,
        }
    }

    fn number(&mut self, name: &str, min: i64) -> Option<i64> {
        let value = self.given(name)?.to_owned();
        match value.parse::<i64>() {
            Err(_) => self.refuse(name, &value, "Not a number of type LONG"),
            Ok(number) if number < min => self.refuse(name, &value, &format!("Value must be at least {min}")),
            Ok(number) => return Some(number),
        }
        None
    }

    fn dead_letters(&mut self) -> Option<DeadLetters> {
        let context_headers = self.flag("errors.deadletterqueue.context.headers.enable");
        let replication = self.number("errors.deadletterqueue.topic.replication.factor", -1).unwrap_or(3);
        let topic = self.given("errors.deadletterqueue.topic.name")?.to_owned();
        let topics = self.given("topics").unwrap_or_default();
        if topics.split(',').any(|consumed| consumed.trim() == topic) {
            let message = format!(
                "The DLQ topic '{topic}' may not be included in the list of topics ('topics={topics}') consumed by the connector"
            );
            self.errors.push(FieldError::new("topics", None, message));
        }
        let pattern =
            self.given("topics.regex").and_then(|pattern| regex::Regex::new(&format!("^(?:{pattern})$")).ok());
        if pattern.is_some_and(|pattern| pattern.is_match(&topic)) {
            let message = format!(
                "The DLQ topic '{topic}' may not be included in the regex matching the topics consumed by the connector"
            );
            self.errors.push(FieldError::new("topics.regex", None, message));
        }
        Some(DeadLetters { topic, replication: i32::try_from(replication).unwrap_or(3), context_headers })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<ErrorRules, Vec<String>> {
        let config = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ErrorRules::parse(&config, ConnectorKind::Sink)
            .map_err(|errors| errors.into_iter().map(|error| error.message).collect())
    }

    #[test]
    fn nothing_given_tolerates_nothing_and_retries_for_ever() {
        let rules = parse(&[]).unwrap();
        assert!(!rules.tolerates && rules.retry_timeout.is_none() && rules.dead_letters.is_none() && !rules.log);
        assert_eq!(parse(&[("errors.retry.timeout", "-1")]).unwrap().retry_timeout, None);
        assert_eq!(parse(&[("errors.retry.timeout", "0")]).unwrap().retry_timeout, Some(Duration::ZERO));
    }

    #[test]
    fn dead_letters_are_kept_with_as_many_copies_as_asked() {
        let rules = parse(&[
            ("errors.tolerance", "ALL"),
            ("errors.deadletterqueue.topic.name", "bad"),
            ("errors.deadletterqueue.topic.replication.factor", "1"),
            ("errors.deadletterqueue.context.headers.enable", "true"),
        ]);
        let rules = rules.unwrap();
        assert!(rules.tolerates);
        let expected = DeadLetters { topic: "bad".into(), replication: 1, context_headers: true };
        assert_eq!(rules.dead_letters, Some(expected));
        let rules = parse(&[("errors.deadletterqueue.topic.name", "bad")]).unwrap();
        assert_eq!(rules.dead_letters.unwrap().replication, 3, "Connect's default");
    }

    #[test]
    fn what_does_not_fit_is_refused_in_connects_words() {
        let refused =
            parse(&[("errors.tolerance", "some"), ("errors.log.enable", "x"), ("errors.retry.timeout", "-2")]);
        assert_eq!(
            refused.unwrap_err(),
            [
                "Invalid value some for configuration errors.tolerance: String must be one of (case insensitive): ALL, NONE",
                "Invalid value -2 for configuration errors.retry.timeout: Value must be at least -1",
                "Invalid value x for configuration errors.log.enable: Expected value to be either true or false",
            ]
        );
    }

    #[test]
    fn a_sink_does_not_read_its_own_dead_letters() {
        let refused = parse(&[("topics", "a, bad"), ("errors.deadletterqueue.topic.name", "bad")]).unwrap_err();
        assert!(refused[0].starts_with("The DLQ topic 'bad' may not be included in the list of topics"), "{refused:?}");
        let refused = parse(&[("topics.regex", "b.*"), ("errors.deadletterqueue.topic.name", "bad")]).unwrap_err();
        assert!(refused[0].contains("regex matching the topics"), "{refused:?}");
        assert!(parse(&[("topics.regex", "a"), ("errors.deadletterqueue.topic.name", "bad")]).is_ok());
    }
}
