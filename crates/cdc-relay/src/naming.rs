//! How topics are called and how they are made.

use std::collections::BTreeMap;

use topics::TopicPlan;

use crate::selection::Selection;

/// A property that cannot be used, for the settings to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadProperty {
    pub property: String,
    pub value: String,
    pub why: String,
}

/// Names of this connector's topics (Debezium's default strategy).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    pub prefix: String,
    /// `topic.delimiter`
    pub delimiter: String,
    /// `topic.transaction`
    pub transaction: String,
}

impl TopicNames {
    /// Topic of one table.
    #[must_use]
    pub fn table(&self, schema: &str, table: &str) -> String {
        [self.prefix.as_str(), schema, table].join(&self.delimiter)
    }

    /// Topic of the bounds of transactions.
    #[must_use]
    pub fn transactions(&self) -> String {
        format!("{}{}{}", self.prefix, self.delimiter, self.transaction)
    }

    /// Topic of logical messages.
    #[must_use]
    pub fn messages(&self) -> String {
        format!("{}{}message", self.prefix, self.delimiter)
    }
}

/// How topics are made that do not exist yet (`topic.creation.*`).
#[derive(Debug, Clone, Default)]
pub struct TopicCreation {
    /// In the order they are listed; the first that takes a topic's name counts.
    groups: Vec<TopicGroup>,
    default: TopicSettings,
}

#[derive(Debug, Clone)]
struct TopicGroup {
    names: Selection,
    settings: TopicSettings,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TopicSettings {
    /// -1: the broker's default.
    partitions: i32,
    /// -1: the broker's default.
    replication_factor: i32,
    /// Under Kafka's own names.
    more: Vec<(String, String)>,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self { partitions: -1, replication_factor: -1, more: Vec::new() }
    }
}

impl TopicCreation {
    /// Reads all properties of `topic.creation.`; what is wrong comes beside.
    #[must_use]
    pub fn read(config: &BTreeMap<String, String>) -> (Self, Vec<BadProperty>) {
        let mut errors = Vec::new();
        let default = settings(config, "default", &TopicSettings::default(), &mut errors);
        let listed = config.get("topic.creation.groups").map(String::as_str).unwrap_or_default();
        let names = listed.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "default");
        let groups = names
            .map(|name| {
                let mut selection = Selection::default();
                for (part, include) in [("include", true), ("exclude", false)] {
                    let property = format!("topic.creation.{name}.{part}");
                    let Some(list) = config.get(&property) else {
                        if include {
                            let why = "a group needs it".to_owned();
                            errors.push(BadProperty { property, value: String::new(), why });
                        }
                        continue;
                    };
                    if let Err(error) = selection.set(include, list) {
                        errors.push(BadProperty { property, value: list.clone(), why: error.to_string() });
                    }
                }
                TopicGroup { names: selection, settings: settings(config, name, &default, &mut errors) }
            })
            .collect();
        (Self { groups, default }, errors)
    }

    /// How one topic is to be made.
    #[must_use]
    pub fn plan(&self, topic: &str) -> TopicPlan {
        let group = self.groups.iter().find(|group| group.names.takes(topic));
        let settings = group.map_or(&self.default, |group| &group.settings);
        let plan = TopicPlan::new(topic, settings.partitions);
        TopicPlan { replication: settings.replication_factor, config: settings.more.clone(), ..plan }
    }
}

fn settings(
    config: &BTreeMap<String, String>,
    group: &str,
    default: &TopicSettings,
    errors: &mut Vec<BadProperty>,
) -> TopicSettings {
    let prefix = format!("topic.creation.{group}.");
    let mut settings = TopicSettings { more: Vec::new(), ..default.clone() };
    for (property, value) in config.range(prefix.clone()..) {
        let Some(name) = property.strip_prefix(&prefix) else { break };
        let number = match name {
            "include" | "exclude" => continue,
            "partitions" => &mut settings.partitions,
            "replication.factor" => &mut settings.replication_factor,
            name => {
                settings.more.push((name.to_owned(), value.clone()));
                continue;
            }
        };
        match value.trim().parse() {
            Ok(parsed) => *number = parsed,
            Err(_) if value.contains("${") => {}
            Err(_) => errors.push(BadProperty {
                property: property.clone(),
                value: value.clone(),
                why: "Not a number of the expected range".to_owned(),
            }),
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_first_group_that_takes_a_topic_makes_it() {
        let (creation, errors) = TopicCreation::read(&config(&[
            ("topic.creation.default.partitions", "3"),
            ("topic.creation.default.replication.factor", "1"),
            ("topic.creation.groups", "big, compact"),
            ("topic.creation.big.include", r"p\.public\.orders.*"),
            ("topic.creation.big.exclude", r"p\.public\.orders_old"),
            ("topic.creation.big.partitions", "12"),
            ("topic.creation.compact.include", ".*"),
            ("topic.creation.compact.cleanup.policy", "compact"),
        ]));
        assert_eq!(errors, []);
        let plan = |topic| {
            let plan = creation.plan(topic);
            (plan.partitions, plan.replication, plan.config)
        };
        let compact = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
        assert_eq!(plan("p.public.orders"), (12, 1, vec![]));
        assert_eq!(plan("p.public.orders_old"), (3, 1, compact));
    }

    #[test]
    fn wrong_groups_are_named() {
        let (_, errors) = TopicCreation::read(&config(&[
            ("topic.creation.groups", "a"),
            ("topic.creation.default.partitions", "many"),
        ]));
        let properties: Vec<_> = errors.iter().map(|error| error.property.as_str()).collect();
        assert_eq!(properties, ["topic.creation.default.partitions", "topic.creation.a.include"]);
    }

    #[test]
    fn the_delimiter_stands_between_all_parts() {
        let names = TopicNames { prefix: "p".into(), delimiter: "_".into(), transaction: "tx".into() };
        assert_eq!(
            (names.table("s", "t"), names.transactions(), names.messages()),
            ("p_s_t".into(), "p_tx".into(), "p_message".into())
        );
    }
}
