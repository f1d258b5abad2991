//! Definitions of settings as `/connector-plugins/{class}/config` and `…/validate` show them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::plugin::{ConnectorKind, Plugin};

/// One setting a connector understands. Field names follow Connect's `ConfigKeyInfo`.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Name of the setting.
    pub name: &'static str,
    /// BOOLEAN, STRING, INT, LONG, LIST, CLASS, PASSWORD.
    pub kind: &'static str,
    /// Value when not given; `None` where there is none.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// HIGH, MEDIUM or LOW.
    pub importance: &'static str,
    /// What it does.
    pub documentation: &'static str,
    /// Heading it belongs under.
    pub group: &'static str,
}

impl Definition {
    /// As Connect writes it; `order` counts from 1 within the group.
    pub fn json(&self, order: usize) -> Value {
        json!({
            "name": self.name, "type": self.kind, "required": self.required, "default_value": self.default,
            "importance": self.importance, "documentation": self.documentation, "group": self.group,
            "order_in_group": order, "width": "MEDIUM", "display_name": self.name, "dependents": [],
        })
    }
}

/// A definition as it is shown: Connect's fields, and beside them `recommended_values` and `visible`.
pub type Entry = Map<String, Value>;

/// Fields of an [`Entry`] that belong to a value and not to its definition.
const OF_VALUES: [&str; 2] = ["recommended_values", "visible"];
/// Settings that every source has, as Kafka Connect 4.3 defines them.
const SOURCE: &str = include_str!("definitions/source.json");
/// Settings that sinks have beside them.
const SINK: &str = include_str!("definitions/sink.json");
const ONLY_SOURCES: [&str; 3] = ["Topic Creation", "Exactly Once Support", "offsets.topic"];

/// Settings that the worker gives every connector of a kind.
pub fn framework(kind: ConnectorKind) -> Vec<Entry> {
    let mut entries = parsed(SOURCE);
    if kind == ConnectorKind::Sink {
        entries.retain(|entry| !ONLY_SOURCES.iter().any(|group| entry["group"] == *group));
        entries.extend(parsed(SINK));
    }
    entries
}

/// Settings of the plugin: the original connector's, then its own; none twice, and none that the worker has.
pub fn of_plugin(plugin: &dyn Plugin) -> Vec<Entry> {
    let own = plugin.definitions();
    let mut entries = parsed(plugin.reference());
    for entry in &mut entries {
        let same = own.iter().find(|definition| entry["name"] == definition.name);
        if let Some(default) = same.and_then(|definition| definition.default).filter(|default| !default.is_empty()) {
            entry.insert("default_value".into(), default.into());
        }
    }
    let known: BTreeSet<String> = entries
        .iter()
        .chain(&framework(plugin.kind()))
        .filter_map(|entry| Some(entry["name"].as_str()?.into()))
        .collect();
    let further: Vec<Definition> = own.into_iter().filter(|definition| !known.contains(definition.name)).collect();
    for definition in &further {
        let in_group = |group: &Value| *group == definition.group;
        let before = entries.iter().filter(|entry| entry.get("group").is_some_and(in_group)).count();
        entries.extend(definition.json(before + 1).as_object().cloned());
    }
    entries
}

/// The definition alone.
pub fn shown(entry: &Entry) -> Value {
    let fields = entry.iter().filter(|(name, _)| !OF_VALUES.contains(&name.as_str()));
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// A list of definitions; the texts are part of the program, so one that is none is noticed by its test.
fn parsed(text: &str) -> Vec<Entry> {
    if text.is_empty() { Vec::new() } else { serde_json::from_str(text).unwrap_or_default() }
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_has_its_dead_letters_and_nothing_of_sources() {
        let named = |kind| -> Vec<String> {
            framework(kind).iter().map(|entry| entry["name"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let (source, sink) = (named(ConnectorKind::Source), named(ConnectorKind::Sink));
        assert_eq!((source.len(), sink.len()), (24, 24));
        assert!(source.contains(&"topic.creation.groups".into()) && !sink.contains(&"topic.creation.groups".into()));
        assert!(
            sink.contains(&"errors.deadletterqueue.topic.name".into()) && sink.contains(&"errors.tolerance".into())
        );
    }
}
