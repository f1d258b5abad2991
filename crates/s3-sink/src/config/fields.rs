//! Reads settings one by one and collects what does not fit, in Connect's words.

use std::collections::BTreeMap;
use std::str::FromStr;

use connect::FieldError;

use crate::rotation::Millis;

/// See the module documentation.
pub struct Fields<'a> {
    config: &'a BTreeMap<String, String>,
    /// What does not fit.
    pub errors: Vec<FieldError>,
}

/// Whether a value is resolved only where the task runs.
pub fn is_reference(value: &str) -> bool {
    value.contains("${")
}

impl<'a> Fields<'a> {
    pub fn new(config: &'a BTreeMap<String, String>) -> Self {
        Self { config, errors: Vec::new() }
    }

    /// The value; an empty one counts as not given.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.config.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The value as it was given, with its blanks.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.config.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value, unless it is a reference.
    pub fn known(&self, name: &str) -> Option<&'a str> {
        self.text(name).filter(|value| !is_reference(value))
    }

    pub fn required(&mut self, name: &str) -> String {
        let value = self.text(name).map(str::to_owned);
        value.unwrap_or_else(|| {
            self.errors.push(FieldError::missing(name));
            String::new()
        })
    }

    pub fn refuse(&mut self, name: &str, value: &str, why: &str) {
        self.errors.push(FieldError::invalid(name, value, why));
    }

    pub fn number<T: FromStr + PartialOrd + Copy + std::fmt::Display>(&mut self, name: &str, default: T, min: T) -> T {
        let Some(text) = self.known(name) else { return default };
        match text.parse::<T>() {
            Ok(number) if number >= min => number,
            Ok(_) => {
                self.refuse(name, text, &format!("Value must be at least {min}"));
                default
            }
            Err(_) => {
                let kind = if size_of::<T>() > 4 && name.ends_with(".ms") { "LONG" } else { "INT" };
                self.refuse(name, text, &format!("Not a number of type {kind}"));
                default
            }
        }
    }

    /// An interval in ms; -1 (Confluent's default) and 0 mean none.
    pub fn interval(&mut self, name: &str) -> Option<Millis> {
        Some(self.number(name, -1_i64, -1)).filter(|ms| *ms > 0)
    }

    pub fn boolean(&mut self, name: &str, default: bool) -> bool {
        match self.known(name) {
            None => default,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(text) => {
                self.refuse(name, text, "Expected value to be either true or false");
                default
            }
        }
    }

    /// One of some words; the first is the default.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let default = choices[0].1;
        let Some(text) = self.known(name) else { return default };
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
            return *chosen;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
        self.refuse(name, text, &format!("String must be one of: {}", words.join(", ")));
        default
    }

    /// One of some classes, by full or short name; the first is the default.
    pub fn class<T: Copy>(&mut self, name: &str, choices: &[(&str, T)], why: &str) -> T {
        let default = choices[0].1;
        let Some(text) = self.known(name) else { return default };
        let short = |class: &str| class.rsplit(['.', '$']).next().map(str::to_owned);
        if let Some((_, chosen)) =
            choices.iter().find(|(class, _)| *class == text || short(class).as_deref() == Some(text))
        {
            return *chosen;
        }
        self.refuse(name, text, why);
        default
    }
}
