//! Which tables are captured: Debezium's include and exclude lists.
//!
//! Each list holds regular expressions separated by commas; each must match the whole name, without regard to case.
//! A schema expression sees the schema, a table expression sees `schema.table`.

use regex::Regex;

/// Tables taken unless a list says otherwise. Postgres' own schemas are never taken.
#[derive(Debug, Clone, Default)]
pub struct TableSelection {
    schemas_included: Option<Vec<Regex>>,
    schemas_excluded: Vec<Regex>,
    tables_included: Option<Vec<Regex>>,
    tables_excluded: Vec<Regex>,
    /// Taken whatever the lists say, `schema.table`.
    added: Option<String>,
}

impl TableSelection {
    /// The properties [`Self::set`] takes.
    pub const PROPERTIES: [&str; 4] =
        ["schema.include.list", "schema.exclude.list", "table.include.list", "table.exclude.list"];

    /// Takes one of [`Self::PROPERTIES`].
    ///
    /// # Errors
    /// When an expression of the list is none.
    pub fn set(&mut self, property: &str, list: &str) -> Result<(), regex::Error> {
        let patterns = patterns(list)?;
        match property {
            "schema.include.list" => self.schemas_included = Some(patterns),
            "schema.exclude.list" => self.schemas_excluded = patterns,
            "table.include.list" => self.tables_included = Some(patterns),
            _ => self.tables_excluded = patterns,
        }
        Ok(())
    }

    /// Takes one table more, whatever the lists say: the signal table.
    pub fn add(&mut self, table: Option<&str>) {
        self.added = table.map(str::to_owned);
    }

    /// Whether the table is captured.
    #[must_use]
    pub fn includes(&self, schema: &str, table: &str) -> bool {
        let name = format!("{schema}.{table}");
        if self.added.as_ref() == Some(&name) {
            return true;
        }
        schema != "pg_catalog"
            && schema != "information_schema"
            && self.schemas_included.as_ref().is_none_or(|included| matches_any(included, schema))
            && !matches_any(&self.schemas_excluded, schema)
            && self.tables_included.as_ref().is_none_or(|included| matches_any(included, &name))
            && !matches_any(&self.tables_excluded, &name)
    }
}

/// Names taken by one pair of include and exclude lists.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    included: Option<Vec<Regex>>,
    excluded: Vec<Regex>,
}

impl Selection {
    /// Takes the include list, or the exclude list.
    ///
    /// # Errors
    /// When an expression of the list is none.
    pub fn set(&mut self, include: bool, list: &str) -> Result<(), regex::Error> {
        let patterns = patterns(list)?;
        if include {
            self.included = Some(patterns);
        } else {
            self.excluded = patterns;
        }
        Ok(())
    }

    /// Whether the name is taken.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        self.included.as_ref().is_none_or(|included| matches_any(included, name)) && !matches_any(&self.excluded, name)
    }
}

/// The expressions of a list, each to match a whole name without regard to case.
///
/// # Errors
/// When one of them is none.
pub fn patterns(list: &str) -> Result<Vec<Regex>, regex::Error> {
    split_list(list).iter().map(|pattern| anchored(pattern)).collect()
}

/// An expression that must match the whole name, without regard to case.
///
/// # Errors
/// When it is none.
pub fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("(?i)^(?:{pattern})$"))
}

/// Whether one of the expressions matches.
#[must_use]
pub fn matches_any(patterns: &[Regex], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.is_match(name))
}

/// Splits at commas that no backslash stands before.
fn split_list(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in list.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn selection(lists: &[(&str, &str)]) -> TableSelection {
        let mut selection = TableSelection::default();
        for (property, list) in lists {
            selection.set(property, list).unwrap();
        }
        selection
    }

    #[test]
    fn without_lists_all_user_tables_are_taken() {
        let all = selection(&[]);
        assert!(all.includes("public", "orders"));
        assert!(!all.includes("pg_catalog", "pg_class"));
    }

    #[test]
    fn an_expression_must_match_the_whole_name_and_ignores_case() {
        let some = selection(&[("table.include.list", r"public\.orders, public.pay.*")]);
        assert!(some.includes("public", "Orders"));
        assert!(some.includes("public", "payments"));
        assert!(!some.includes("public", "orders_old"));
    }

    #[test]
    fn an_exclusion_takes_away_from_what_is_there() {
        let some = selection(&[("schema.include.list", "public,sales"), ("table.exclude.list", "sales.audit")]);
        assert!(some.includes("sales", "orders"));
        assert!(!some.includes("sales", "audit"));
        assert!(!some.includes("private", "orders"));
    }

    #[test]
    fn an_escaped_comma_belongs_to_the_expression() {
        assert_eq!(split_list(r"a\,b, c{1\,2}"), [r"a\,b", r"c{1\,2}"]);
    }
}
