//! Which tables a snapshot reads, and by which statements.

use std::collections::BTreeMap;

use regex::Regex;

use super::reader::{Reader, unresolved};
use crate::selection::{matches_any, patterns};

/// `snapshot.include.collection.list` and `snapshot.select.statement.overrides`.
#[derive(Debug, Clone, Default)]
pub struct SnapshotSettings {
    /// Of the captured tables, those a snapshot reads; `None`: all.
    included: Option<Vec<Regex>>,
    /// Statements by `schema.table`.
    selects: BTreeMap<String, String>,
}

const INCLUDED: &str = "snapshot.include.collection.list";
const OVERRIDES: &str = "snapshot.select.statement.overrides";

impl SnapshotSettings {
    /// Whether a snapshot reads this captured table.
    #[must_use]
    pub fn includes(&self, schema: &str, table: &str) -> bool {
        self.included.as_ref().is_none_or(|included| matches_any(included, &format!("{schema}.{table}")))
    }

    /// The statement that says which of its rows.
    #[must_use]
    pub fn select(&self, schema: &str, table: &str) -> Option<&str> {
        self.selects.get(&format!("{schema}.{table}")).map(String::as_str)
    }
}

impl Reader<'_> {
    pub(super) fn snapshot(&mut self) -> SnapshotSettings {
        let mut settings = SnapshotSettings::default();
        if let Some(list) = self.optional(INCLUDED).filter(|list| !unresolved(list)) {
            match patterns(&list) {
                Ok(patterns) => settings.included = Some(patterns),
                Err(error) => self.refuse(INCLUDED, &list, &error.to_string()),
            }
        }
        let tables = self.optional(OVERRIDES).filter(|list| !unresolved(list)).unwrap_or_default();
        for table in tables.split(',').map(str::trim).filter(|table| !table.is_empty()) {
            let property = format!("{OVERRIDES}.{table}");
            match self.optional(&property) {
                Some(statement) => {
                    let statement = statement.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
                    settings.selects.insert(table.to_owned(), statement.to_owned());
                }
                None => self.refuse(OVERRIDES, table, &format!("its statement is missing: give {property}")),
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::RelaySettings;

    fn parsed(more: &[(&str, &str)]) -> Result<SnapshotSettings, Vec<String>> {
        let least = ["database.hostname", "database.user", "database.dbname", "topic.prefix"].map(|name| (name, "x"));
        let config = least.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = RelaySettings::parse(&config).map(|settings| settings.snapshot);
        settings.map_err(|errors| errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn without_properties_all_tables_are_read_whole() {
        let settings = parsed(&[]).unwrap();
        assert!(settings.includes("public", "orders"));
        assert_eq!(settings.select("public", "orders"), None);
    }

    #[test]
    fn the_list_is_of_expressions_for_whole_names() {
        let settings = parsed(&[(INCLUDED, r"public\.ord.*,public.items")]).unwrap();
        assert!(settings.includes("public", "orders") && settings.includes("public", "items"));
        assert!(!settings.includes("public", "items_old"));
        assert_eq!(parsed(&[(INCLUDED, "(")]).unwrap_err(), [INCLUDED]);
    }

    #[test]
    fn a_statement_belongs_to_its_table() {
        let more = [
            (OVERRIDES, "public.orders, public.items"),
            ("snapshot.select.statement.overrides.public.orders", "SELECT * FROM orders WHERE id > 5 ; "),
            ("snapshot.select.statement.overrides.public.items", "SELECT * FROM items"),
        ];
        let settings = parsed(&more).unwrap();
        assert_eq!(settings.select("public", "orders"), Some("SELECT * FROM orders WHERE id > 5"));
        assert_eq!(parsed(&more[..2]).unwrap_err(), [OVERRIDES]);
    }
}
