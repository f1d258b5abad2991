//! Checks of a configuration before it is stored, with Connect's texts.
//!
//! Pure. The worker's own settings are checked everywhere; a plugin's own only where the plugin is. Unknown
//! settings are accepted: a template made for the JVM connectors must go in unchanged.

use serde_json::{Value, json};

use crate::classes::{Class, Classes};
use crate::definitions::{self, Entry};
use crate::errors::ErrorRules;
use crate::masking;
use crate::plugin::{Config, ConnectorKind, FieldError};
use crate::providers;

/// A configuration that cannot even be checked; the text is the REST answer's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Uncheckable(pub String);

/// The class a configuration asks for.
///
/// # Errors
/// When it names none, or one that no worker has.
pub fn class_of(classes: &Classes, config: &Config) -> Result<Class, Uncheckable> {
    let Some(name) = config.get("connector.class") else {
        let shown: Vec<String> = masking::mask(config).iter().map(|(name, value)| format!("{name}={value}")).collect();
        return Err(Uncheckable(format!("Connector config {{{}}} contains no connector type", shown.join(", "))));
    };
    classes.find(name).ok_or_else(|| {
        let described = |class: Class| {
            let Class { name, version, kind, .. } = class;
            let kind = kind.as_str();
            format!("PluginDesc{{klass=class {name}, name='{name}', version='{version}', encodedVersion={version}, type={kind}, typeName='{kind}', location='builtin'}}")
        };
        let available: Vec<String> = classes.all().into_iter().map(described).collect();
        Uncheckable(format!(
            "Failed to find any class that implements Connector and which name matches {name}, available connectors are: {}",
            available.join(", ")
        ))
    })
}

/// All refused settings of a configuration.
pub fn errors(class: &Class, config: &Config, source: &impl providers::Source) -> Vec<FieldError> {
    let mut errors = common_errors(class.kind, config);
    errors.extend(ErrorRules::parse(config, class.kind).err().unwrap_or_default());
    if let Some(plugin) = &class.plugin {
        // The plugin sees what its task would see; what cannot be resolved here is told when the task starts.
        let resolved = providers::resolve(config, source).unwrap_or_else(|_| config.clone());
        errors.extend(plugin.validate(&resolved));
    }
    errors
}

fn common_errors(kind: ConnectorKind, config: &Config) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match config.get("name").map(String::as_str) {
        None => errors.push(FieldError::missing("name")),
        Some("") => errors.push(FieldError::invalid("name", "", "String may not be empty")),
        Some(name) if name.chars().any(char::is_control) => {
            errors.push(FieldError::invalid("name", "", "String may not contain control sequences"));
        }
        Some(_) => {}
    }
    if let Some(value) = config.get("tasks.max") {
        match value.trim().parse::<i32>() {
            Err(_) => errors.push(FieldError::invalid("tasks.max", value, "Not a number of type INT")),
            Ok(tasks) if tasks < 1 => {
                errors.push(FieldError::invalid("tasks.max", value, "Value must be at least 1"));
            }
            Ok(_) => {}
        }
    }
    if kind == ConnectorKind::Sink {
        errors.extend(topics_error(config));
    }
    errors
}

fn topics_error(config: &Config) -> Option<FieldError> {
    let given = |name: &str| config.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    match (given("topics"), given("topics.regex")) {
        (Some(_), Some(_)) => Some(FieldError::new(
            "topics",
            given("topics"),
            "\"topics\" and \"topics.regex\" are mutually exclusive: give one of them",
        )),
        (None, None) => Some(FieldError::new("topics", None, "Must configure one of topics or topics.regex")),
        (_, Some(pattern)) => regex::Regex::new(pattern)
            .err()
            .map(|_| FieldError::invalid("topics.regex", pattern, "Invalid regular expression")),
        (Some(_), None) => None,
    }
}

/// The message of a 400 answer for these errors.
pub fn message(lines: &[String]) -> String {
    format!(
        "Connector configuration is invalid and contains the following {} error(s):\n{}\nYou can also find the above \
         list of errors at the endpoint `/connector-plugins/{{connectorType}}/config/validate`",
        lines.len(),
        lines.join("\n")
    )
}

/// Settings a connector of this class understands: the worker's own, and the connector's where its plugin is.
pub fn definitions(class: &Class) -> (Vec<Entry>, Vec<Entry>) {
    let plugin = class.plugin.as_ref().map(|plugin| definitions::of_plugin(plugin.as_ref()));
    (definitions::framework(class.kind), plugin.unwrap_or_default())
}

/// Converters of a connector that names none: the worker's.
const CONVERTERS: [(&str, &str); 3] = [
    ("key.converter", "io.confluent.connect.avro.AvroConverter"),
    ("value.converter", "io.confluent.connect.avro.AvroConverter"),
    ("header.converter", "org.apache.kafka.connect.storage.SimpleHeaderConverter"),
];

/// The body of a `validate` answer.
pub fn report(class: &Class, config: &Config, errors: &[FieldError]) -> Value {
    let (mut framework, plugin) = definitions(class);
    for entry in &mut framework {
        let of_worker = CONVERTERS.iter().find(|(name, _)| entry["name"] == *name).map(|(_, converter)| *converter);
        let version = (entry["name"] == "connector.plugin.version").then_some(class.version.as_str());
        if let Some(default) = of_worker.or(version) {
            entry.insert("default_value".into(), default.into());
        }
    }
    let mut groups: Vec<&Value> = Vec::new();
    for entry in framework.iter().chain(&plugin) {
        if !groups.contains(&&entry["group"]) {
            groups.push(&entry["group"]);
        }
    }
    // A connector with checks of its own tells values only where they are wrong: so does the original.
    let told = class.plugin.as_ref().is_none_or(|plugin| plugin.reference().is_empty());
    let mut configs: Vec<Value> = framework.iter().map(|entry| configured(entry, config, errors, true)).collect();
    configs.extend(plugin.iter().map(|entry| configured(entry, config, errors, told)));
    // A refused setting without a definition still has to be seen.
    let defined = |field: &str| framework.iter().chain(&plugin).any(|entry| entry["name"] == field);
    let mut undefined: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    undefined.retain(|field| !defined(field));
    undefined.dedup();
    configs.extend(undefined.into_iter().map(|field| {
        let definition = json!({
            "name": field, "type": "STRING", "required": false, "default_value": null, "importance": "HIGH",
            "documentation": "", "group": null, "order_in_group": -1, "width": "NONE", "display_name": field, "dependents": [],
        });
        let entry = definition.as_object().cloned().unwrap_or_default();
        configured(&entry, config, errors, true)
    }));
    json!({ "name": class.name, "error_count": errors.len(), "groups": groups, "configs": configs })
}

/// A definition with the value that the configuration gives it.
fn configured(entry: &Entry, config: &Config, errors: &[FieldError], told: bool) -> Value {
    let name = entry["name"].as_str().unwrap_or_default();
    let texts: Vec<&String> = errors.iter().filter(|error| error.field == name).map(|error| &error.message).collect();
    let given = config.get(name).map(|value| Value::from(masking::masked(name, value)));
    let value = match (given, told || !texts.is_empty()) {
        (Some(given), true) => given,
        (None, true) if told => entry["default_value"].clone(),
        _ => Value::Null,
    };
    json!({ "definition": definitions::shown(entry), "value": {
        "name": name, "value": value,
        "recommended_values": entry.get("recommended_values").cloned().unwrap_or_else(|| json!([])),
        "errors": texts, "visible": entry.get("visible").cloned().unwrap_or(Value::Bool(true)),
    } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn checked(pairs: &[(&str, &str)]) -> Vec<String> {
        let config: Config = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let class = class_of(&Classes::new(Vec::new()), &config).unwrap();
        errors(&class, &config, &providers::Process::default()).into_iter().map(|error| error.message).collect()
    }

    #[test]
    fn a_sink_needs_topics_or_a_pattern_but_not_both() {
        let sink = [("name", "s"), ("connector.class", "io.confluent.connect.s3.S3SinkConnector")];
        assert_eq!(checked(&sink), ["Must configure one of topics or topics.regex"]);
        assert!(checked(&[sink[0], sink[1], ("topics", "a,b")]).is_empty());
        assert_eq!(checked(&[sink[0], sink[1], ("topics", "a"), ("topics.regex", "b")]).len(), 1);
        assert_eq!(checked(&[sink[0], sink[1], ("topics.regex", "b(")]).len(), 1);
    }

    #[test]
    fn tasks_max_must_be_a_number_above_zero() {
        let source = [("name", "s"), ("connector.class", "PostgresConnector")];
        let refused = checked(&[source[0], source[1], ("tasks.max", "x")]);
        assert_eq!(refused, ["Invalid value x for configuration tasks.max: Not a number of type INT"]);
        assert_eq!(checked(&[source[0], source[1], ("tasks.max", "0")]).len(), 1);
    }

    #[test]
    fn a_config_without_class_is_quoted_without_its_password() {
        let config = Config::from([("database.password".to_owned(), "hunter22".to_owned())]);
        let Err(error) = class_of(&Classes::new(Vec::new()), &config) else { unreachable!() };
        assert_eq!(error.0, "Connector config {database.password=********} contains no connector type");
    }
}
