//! Reading single properties; what is wrong is collected.

use std::{fmt, str::FromStr};

use connect::{Config, FieldError};

/// Collects refusals while it reads, so that a person sees all of them at once.
pub(super) struct Reader<'a> {
    pub(super) config: &'a Config,
    pub(super) errors: Vec<FieldError>,
}

impl Reader<'_> {
    pub(super) fn optional(&self, property: &str) -> Option<String> {
        self.config.get(property).map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    pub(super) fn text(&self, property: &str, default: &str) -> String {
        self.optional(property).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn required(&mut self, property: &str) -> String {
        self.optional(property).unwrap_or_else(|| {
            // Debezium's own words for it, as tools know them.
            let message = format!("The '{property}' value is invalid: A value is required");
            self.errors.push(FieldError::new(property, None, message));
            String::new()
        })
    }

    pub(super) fn parsed<T: FromStr>(&mut self, property: &str, default: T) -> T {
        let Some(value) = self.optional(property) else { return default };
        if unresolved(&value) {
            return default;
        }
        value.parse().unwrap_or_else(|_| {
            self.refuse(property, &value, "Not a number of the expected range");
            default
        })
    }

    pub(super) fn positive(&mut self, property: &str, default: usize) -> usize {
        let value = self.parsed(property, default);
        if value == 0 {
            self.refuse(property, "0", "must be at least 1");
        }
        value.max(1)
    }

    pub(super) fn flag(&mut self, property: &str, default: bool) -> bool {
        match self.optional(property).map(|value| value.to_ascii_lowercase()).as_deref() {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(value) if unresolved(value) => default,
            Some(value) => {
                self.refuse(property, value, "Expected value to be either true or false");
                default
            }
        }
    }

    pub(super) fn worded<T: FromStr<Err: fmt::Display>>(&mut self, property: &str, default: T) -> T {
        let Some(value) = self.optional(property).filter(|value| !unresolved(value)) else { return default };
        match value.parse() {
            Ok(parsed) => parsed,
            Err(why) => {
                self.refuse(property, &value, &why.to_string());
                default
            }
        }
    }

    pub(super) fn refuse(&mut self, property: &str, value: &str, why: &str) {
        self.errors.push(FieldError::invalid(property, value, why));
    }
}

/// A `${provider:…}` value that this worker could not resolve says nothing about the value itself.
pub(super) fn unresolved(value: &str) -> bool {
    value.contains("${")
}
