//! Columns: which are written, what is hidden of them, what makes a table's key. Pure.
//!
//! Debezium's `column.*` properties and `message.key.columns`. Of several rules that match a column the first counts, in
//! the order truncate, mask, propagate, hash. Answers are worked out once per table, never per row.

mod size;

use model::{
    envelope::{ColumnPlan, HashAlgorithm, HashRule, TablePlan, TypeModes, ValueRule},
    table::{Column, TableSchema},
};
use regex::Regex;

use crate::{
    naming::BadProperty,
    selection::{Selection, anchored, matches_any, patterns},
};

/// All of a connector's rules about columns.
#[derive(Debug, Clone, Default)]
pub struct ColumnRules {
    written: Selection,
    /// By rank, then in the order of their properties' names.
    rules: Vec<ColumnRule>,
    keys: Vec<KeyRule>,
}

#[derive(Debug, Clone)]
struct ColumnRule {
    columns: Vec<Regex>,
    /// The expressions are about the type in the place of the column.
    by_type: bool,
    action: Action,
}

#[derive(Debug, Clone)]
enum Action {
    Truncate(usize),
    Mask(usize),
    Propagate,
    Hash { algorithm: HashAlgorithm, salt: Vec<u8>, serialised: bool },
}

impl Action {
    fn rank(&self) -> usize {
        match self {
            Self::Truncate(_) => 0,
            Self::Mask(_) => 1,
            Self::Propagate => 2,
            Self::Hash { .. } => 3,
        }
    }
}

#[derive(Debug, Clone)]
struct KeyRule {
    table: Regex,
    columns: Vec<String>,
}

impl ColumnRules {
    /// Reads the properties that are about columns; what is wrong comes beside.
    #[must_use]
    pub fn read<'a>(config: impl Iterator<Item = (&'a str, &'a str)>) -> (Self, Vec<BadProperty>) {
        let (mut rules, mut errors) = (Self::default(), Vec::new());
        for (property, value) in config {
            if let Err(why) = rules.property(property, value) {
                errors.push(BadProperty { property: property.to_owned(), value: value.to_owned(), why });
            }
        }
        rules.rules.sort_by_key(|rule| rule.action.rank());
        (rules, errors)
    }

    fn property(&mut self, property: &str, value: &str) -> Result<(), String> {
        let text = |error: regex::Error| error.to_string();
        match property {
            "column.include.list" => return self.written.set(true, value).map_err(text),
            "column.exclude.list" => return self.written.set(false, value).map_err(text),
            "message.key.columns" => {
                self.keys = key_rules(value)?;
                return Ok(());
            }
            _ => {}
        }
        if let Some(action) = action(property)? {
            let by_type = property.starts_with("datatype.");
            self.rules.push(ColumnRule { columns: patterns(value).map_err(text)?, by_type, action });
        }
        Ok(())
    }

    /// Gives the table the key that `message.key.columns` asks for, if it asks for one.
    pub fn rekey(&self, table: &mut TableSchema) {
        let name = format!("{}.{}", table.schema, table.name);
        let Some(rule) = self.keys.iter().find(|rule| rule.table.is_match(&name)) else { return };
        let place = |column: &String| table.columns.iter().position(|known| known.name == *column);
        table.key = rule.columns.iter().filter_map(place).collect();
    }

    /// How a table is written.
    #[must_use]
    pub fn plan(&self, table: &TableSchema, modes: &TypeModes, topic: String) -> TablePlan {
        let columns = table.columns.iter().map(|column| self.column(table, column)).collect();
        TablePlan { modes: modes.clone(), columns, topic: Some(topic) }
    }

    fn column(&self, table: &TableSchema, column: &Column) -> ColumnPlan {
        let name = format!("{}.{}.{}", table.schema, table.name, column.name);
        let mut plan = ColumnPlan { left_out: !self.written.takes(&name), ..ColumnPlan::default() };
        let typed = format!("{}.{}.{}", table.schema, table.name, column.type_name);
        let matching = |rule: &&ColumnRule| matches_any(&rule.columns, if rule.by_type { &typed } else { &name });
        let Some(rule) = self.rules.iter().find(matching) else { return plan };
        let length = size::length(column);
        match &rule.action {
            // A column that cannot hold more is left as it is.
            Action::Truncate(most) if length <= *most => {}
            Action::Truncate(most) => {
                plan.rule = Some(ValueRule::Truncate(*most));
                plan.parameters.push(("truncateLength", most.to_string()));
            }
            Action::Mask(count) => {
                plan.rule = size::is_text(column).then(|| ValueRule::Mask("*".repeat(*count)));
                plan.parameters.push(("masked", "true".to_owned()));
            }
            Action::Hash { algorithm, salt, serialised } => {
                let rule = HashRule { algorithm: *algorithm, salt: salt.clone(), serialised: *serialised, length };
                plan.rule = size::is_text(column).then_some(ValueRule::Hash(rule));
                plan.parameters.push(("masked", "true".to_owned()));
            }
            Action::Propagate => plan.parameters.extend([
                ("__debezium.source.column.type", column.type_name.to_uppercase()),
                ("__debezium.source.column.length", length.to_string()),
                ("__debezium.source.column.scale", size::scale(column).to_string()),
                ("__debezium.source.column.name", column.name.clone()),
            ]),
        }
        plan
    }
}

/// What a property's name asks for; `None` when it is about something else.
fn action(property: &str) -> Result<Option<Action>, String> {
    let number = |text: &str| text.parse::<usize>().map_err(|_| "the property's name needs a number".to_owned());
    let between = |start: &str, end: &str| property.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    if let Some(count) = between("column.truncate.to.", ".chars") {
        return Ok(Some(Action::Truncate(number(count)?)));
    }
    if let Some(count) = between("column.mask.with.", ".chars") {
        return Ok(Some(Action::Mask(number(count)?)));
    }
    if matches!(property, "column.propagate.source.type" | "datatype.propagate.source.type") {
        return Ok(Some(Action::Propagate));
    }
    let Some(rest) = property.strip_prefix("column.mask.hash.") else { return Ok(None) };
    let second = rest.strip_prefix("v2.");
    let (algorithm, salt) =
        second.unwrap_or(rest).split_once(".with.salt.").ok_or("the property's name needs .with.salt.<salt>")?;
    let algorithm = algorithm.parse().map_err(str::to_owned)?;
    Ok(Some(Action::Hash { algorithm, salt: salt.as_bytes().to_vec(), serialised: second.is_none() }))
}

/// `table:column,column;table:column`
fn key_rules(text: &str) -> Result<Vec<KeyRule>, String> {
    let rules = text.split(';').map(str::trim).filter(|rule| !rule.is_empty());
    rules
        .map(|rule| {
            let (table, columns) = rule.rsplit_once(':').ok_or("each rule is table:column,column")?;
            let columns: Vec<String> = columns.split(',').map(|column| column.trim().to_owned()).collect();
            if columns.iter().any(String::is_empty) {
                return Err("a rule names no column".to_owned());
            }
            Ok(KeyRule { table: anchored(table.trim()).map_err(|error| error.to_string())?, columns })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(pairs: &[(&str, &str)]) -> ColumnRules {
        let (rules, errors) = ColumnRules::read(pairs.iter().copied());
        assert_eq!(errors, []);
        rules
    }

    fn people() -> TableSchema {
        let column = |name: &str, type_name: &str, typmod| Column {
            name: name.into(),
            type_name: type_name.into(),
            typmod,
            nullable: true,
            ..Column::default()
        };
        let columns = vec![
            column("id", "int4", -1),
            column("email", "varchar", 44),
            column("name", "text", -1),
            column("born", "date", -1),
            column("amount", "numeric", (8 << 16 | 2) + 4),
        ];
        TableSchema { schema: "public".into(), name: "people".into(), columns, key: vec![0], ..TableSchema::default() }
    }

    fn planned(rules: &ColumnRules, column: usize) -> ColumnPlan {
        rules.plan(&people(), &TypeModes::default(), "t".into()).columns.swap_remove(column)
    }

    #[test]
    fn columns_are_left_out_by_either_list() {
        let excluded = rules(&[("column.exclude.list", "public.people.(BORN|amount)")]);
        let left_out: Vec<bool> = (0..5).map(|column| planned(&excluded, column).left_out).collect();
        assert_eq!(left_out, [false, false, false, true, true]);
        let included = rules(&[("column.include.list", r".*\.id")]);
        assert!(!planned(&included, 0).left_out && planned(&included, 1).left_out);
    }

    #[test]
    fn the_first_rule_counts_and_truncation_comes_before_masks() {
        let rules = rules(&[
            ("column.mask.hash.v2.MD5.with.salt.s.a.l.t", "public.people.email"),
            ("column.mask.with.3.chars", "public.people.(name|born)"),
            ("column.propagate.source.type", ".*amount"),
            ("column.truncate.to.4.chars", "public.people.name"),
        ]);
        assert_eq!(planned(&rules, 2).rule, Some(ValueRule::Truncate(4)));
        let born = planned(&rules, 3);
        assert_eq!((born.rule, born.parameters), (None, vec![("masked", "true".to_owned())]));
        let hash = HashRule { algorithm: HashAlgorithm::Md5, salt: b"s.a.l.t".to_vec(), serialised: false, length: 40 };
        assert_eq!(planned(&rules, 1).rule, Some(ValueRule::Hash(hash)));
        let told: Vec<String> = planned(&rules, 4).parameters.into_iter().map(|(_, value)| value).collect();
        assert_eq!(told, ["NUMERIC", "8", "2", "amount"]);
    }

    #[test]
    fn a_key_is_made_of_the_columns_asked_for() {
        let rules = rules(&[("message.key.columns", "inventory.x:id;(.*).people:email, id,nothing")]);
        let mut table = people();
        rules.rekey(&mut table);
        assert_eq!(table.key, [1, 0]);
    }

    #[test]
    fn wrong_properties_are_named() {
        let pairs = [
            ("column.mask.hash.SHA-3.with.salt.x", "a"),
            ("column.truncate.to.many.chars", "a"),
            ("column.include.list", "("),
            ("message.key.columns", "people"),
        ];
        let (_, errors) = ColumnRules::read(pairs.into_iter());
        let properties: Vec<_> = errors.iter().map(|error| error.property.as_str()).collect();
        assert_eq!(properties, pairs.map(|(property, _)| property));
    }
}
