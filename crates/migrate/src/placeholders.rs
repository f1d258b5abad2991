//! Replacement of `${name}` in a script's text, as Flyway does it: everywhere, comments and quotes included.

use std::collections::BTreeMap;

/// Values by placeholder name. Names compare without regard to case, as Flyway's do, because it takes them from
/// upper-case environment variables as well.
pub type Placeholders = BTreeMap<String, String>;

/// Why a text's placeholders cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// The caller gave no value.
    #[error("no value for placeholder ${{{name}}} on line {line}")]
    Missing {
        /// The name between the braces.
        name: String,
        /// Counted from 1.
        line: usize,
    },
    /// A `${` without a `}` behind it.
    #[error("placeholder opened on line {line} is never closed")]
    Unclosed {
        /// Counted from 1.
        line: usize,
    },
    /// Flyway reads `$` and the character behind it as a pair, so it passes over the placeholder of `$${name}` and runs
    /// the script with the name in place of the value. What the two would run differently is refused.
    #[error("on line {line} a placeholder stands right behind a $, where Flyway does not see it; put a blank between")]
    Hidden {
        /// Counted from 1.
        line: usize,
    },
}

/// Replaces every `${name}` of `text` by its value. Values are taken as they are and not searched again.
pub fn replace_placeholders(text: &str, values: &Placeholders) -> Result<String, PlaceholderError> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let line = || text[..text.len() - rest.len() + start].matches('\n').count() + 1;
        let after = &rest[start + 2..];
        let dollars_before = rest[..start].bytes().rev().take_while(|byte| *byte == b'$').count();
        if dollars_before % 2 == 1 {
            return Err(PlaceholderError::Hidden { line: line() });
        }
        let end = after.find('}').ok_or_else(|| PlaceholderError::Unclosed { line: line() })?;
        let name = &after[..end];
        let value = values
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .ok_or_else(|| PlaceholderError::Missing { name: name.to_owned(), line: line() })?;
        replaced.push_str(&rest[..start]);
        replaced.push_str(value);
        rest = &after[end + 1..];
    }
    replaced.push_str(rest);
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn values(pairs: &[(&str, &str)]) -> Placeholders {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_placeholder_that_flyway_would_pass_over_is_refused() {
        let values = values(&[("who", "heron")]);
        assert_eq!(replace_placeholders("a\n$q$${who}$q$", &values).unwrap_err(), PlaceholderError::Hidden { line: 2 });
        assert_eq!(replace_placeholders("$q$ ${who} $q$ $$${who}", &values).unwrap(), "$q$ heron $q$ $$heron");
    }

    #[test]
    fn placeholders_are_replaced_everywhere_and_in_any_case() {
        let values = values(&[("who", "debezium"), ("db", "shop")]);
        assert_eq!(
            replace_placeholders("-- ${who}\nGRANT '${WHO}' $$${db}$$ $1 { }", &values).unwrap(),
            "-- debezium\nGRANT 'debezium' $$shop$$ $1 { }"
        );
    }

    #[test]
    fn a_missing_value_is_named_with_its_line() {
        assert_eq!(
            replace_placeholders("a\nb ${who}", &values(&[])).unwrap_err().to_string(),
            "no value for placeholder ${who} on line 2"
        );
    }

    #[test]
    fn an_open_placeholder_is_refused() {
        assert_eq!(
            replace_placeholders("a\n\n${who", &values(&[])).unwrap_err(),
            PlaceholderError::Unclosed { line: 3 }
        );
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_stays_as_it_is() {
        assert_eq!(replace_placeholders("${a}", &values(&[("a", "${b}")])).unwrap(), "${b}");
    }

    proptest! {
        #[test]
        fn text_without_a_placeholder_stays_as_it_is(text in "[^{]{0,200}") {
            prop_assert_eq!(replace_placeholders(&text, &Placeholders::new()).unwrap(), text);
        }

        #[test]
        fn any_text_is_replaced_or_refused_without_a_crash(text in r"(\$\{|\}|\$|a|é|\n){0,50}") {
            let _ = replace_placeholders(&text, &values(&[("a", "1")]));
        }
    }
}
