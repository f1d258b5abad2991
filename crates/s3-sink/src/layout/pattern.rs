//! `path.format`: Joda-Time's patterns.
//!
//! Pure. A pattern is compiled once; formatting appends to a buffer. Letters that this sink does not know are refused
//! when the connector is made, with Joda's words.

use std::fmt::Write as _;

use chrono::{Datelike, Timelike};

use crate::rotation::Millis;
use crate::zone::{Civil, Zone};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A pattern that cannot be had; the text completes Connect's sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Joda's text.
    #[error("Illegal pattern component: {0}")]
    Illegal(String),
    /// Names of months and days are known in English.
    #[error("this sink writes names of months and days in English; use numbers or a locale that begins with en")]
    Locale,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(String),
    Field(char, usize),
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

impl Pattern {
    /// Compile a pattern for a locale.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn parse(text: &str, locale: &str) -> Result<Self, PatternError> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(first) = chars.next() {
            if first.is_ascii_alphabetic() {
                let mut count = 1;
                while chars.next_if_eq(&first).is_some() {
                    count += 1;
                }
                tokens.push(field(first, count, locale)?);
            } else if first == '\'' {
                tokens.push(Token::Literal(quoted(&mut chars)));
            } else {
                tokens.push(Token::Literal(first.to_string()));
            }
        }
        Ok(Self(tokens))
    }

    /// Append the text of a local time that is `utc` in `zone`.
    pub fn format(&self, civil: &Civil, zone: Zone, utc: Millis, out: &mut String) {
        for token in &self.0 {
            match token {
                Token::Literal(text) => out.push_str(text),
                Token::Field(letter, count) => write_field(*letter, *count, civil, zone, utc, out),
            }
        }
    }
}

/// The rest of a quoted part; two quotes are one.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    if chars.next_if_eq(&'\'').is_some() {
        return "'".into();
    }
    while let Some(next) = chars.next() {
        if next != '\'' {
            text.push(next);
        } else if chars.next_if_eq(&'\'').is_some() {
            text.push('\'');
        } else {
            break;
        }
    }
    text
}

fn field(letter: char, count: usize, locale: &str) -> Result<Token, PatternError> {
    if !"yYxMdDwehHkKmsSEazZ".contains(letter) {
        return Err(PatternError::Illegal(letter.to_string().repeat(count)));
    }
    let names = letter == 'E' || letter == 'a' || (letter == 'M' && count > 2);
    if names && !locale.starts_with("en") {
        return Err(PatternError::Locale);
    }
    Ok(Token::Field(letter, count))
}

fn write_field(letter: char, count: usize, civil: &Civil, zone: Zone, utc: Millis, out: &mut String) {
    let date = civil.date;
    let number = match letter {
        'y' | 'Y' if count == 2 => date.year().rem_euclid(100).into(),
        'y' | 'Y' => i64::from(date.year()),
        'x' if count == 2 => i64::from(civil.week.0.rem_euclid(100)),
        'x' => i64::from(civil.week.0),
        'M' if count > 2 => return out.push_str(name(MONTHS[date.month0() as usize], count)),
        'M' => date.month().into(),
        'd' => date.day().into(),
        'D' => date.ordinal().into(),
        'w' => civil.week.1.into(),
        'e' => date.weekday().number_from_monday().into(),
        'E' => return out.push_str(name(DAYS[date.weekday().num_days_from_monday() as usize], count)),
        'a' => return out.push_str(if date.hour() < 12 { "AM" } else { "PM" }),
        'H' => date.hour().into(),
        'k' => i64::from(if date.hour() == 0 { 24 } else { date.hour() }),
        'K' => i64::from(date.hour() % 12),
        'h' => civil.hour12().into(),
        'm' => date.minute().into(),
        's' => date.second().into(),
        'S' => return fraction(date.nanosecond() / 1_000_000, count, out),
        _ => return zone_text(letter, count, zone, utc, out),
    };
    // Writing into a String does not fail.
    let _ = write!(out, "{number:0count$}");
}

/// The first three letters, or the whole word from four pattern letters on.
fn name(word: &'static str, count: usize) -> &'static str {
    if count > 3 { word } else { &word[..3] }
}

/// A fraction of a second: digits are cut, not rounded.
fn fraction(millis: u32, count: usize, out: &mut String) {
    let digits = format!("{millis:03}");
    (0..count).for_each(|index| out.push(digits.chars().nth(index).unwrap_or('0')));
}

fn zone_text(letter: char, count: usize, zone: Zone, utc: Millis, out: &mut String) {
    let (name, offset) = zone.names(utc);
    match (letter, count) {
        ('Z', 1) => out.push_str(&offset),
        ('Z', 2) => {
            out.push_str(&offset[..3]);
            out.push(':');
            out.push_str(&offset[3..]);
        }
        _ => out.push_str(&name),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn text(pattern: &str) -> String {
        let mut out = String::new();
        // 2026-03-05 07:08:09.123 UTC, a Thursday.
        let utc = 1_772_694_489_123;
        Pattern::parse(pattern, "en-US").unwrap().format(&Civil::of_local(utc).unwrap(), Zone::UTC, utc, &mut out);
        out
    }

    #[test]
    fn patterns_are_jodas() {
        assert_eq!(text("'year'=YYYY/'month'=MM/'day'=dd/'hour'=HH"), "year=2026/month=03/day=05/hour=07");
        assert_eq!(text("yy-M-d'T'H:m:s.SSS"), "26-3-5T7:8:9.123");
        assert_eq!(text("MMM MMMM E EEEE a hh KK kk"), "Mar March Thu Thursday AM 07 07 07");
        assert_eq!(text("xxxx-'W'ww-e DDD"), "2026-W10-4 064");
        assert_eq!(text("Z ZZ ''SS''"), "+0000 +00:00 '12'");
    }

    #[test]
    fn what_joda_does_not_know_is_refused_in_its_words() {
        assert_eq!(Pattern::parse("YYYY/bb", "en").unwrap_err().to_string(), "Illegal pattern component: bb");
        assert_eq!(Pattern::parse("MMM", "fr-FR"), Err(PatternError::Locale));
        assert!(Pattern::parse("'jour'=dd", "fr-FR").is_ok());
    }

    proptest! {
        #[test]
        fn any_pattern_and_time_are_formatted_without_panic(pattern in "[a-zA-Z'/=]{0,20}", utc in any::<i64>()) {
            if let (Ok(pattern), Some(civil)) = (Pattern::parse(&pattern, "en"), Civil::of_local(utc)) {
                pattern.format(&civil, Zone::UTC, utc, &mut String::new());
            }
        }
    }
}
