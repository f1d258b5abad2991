//! Checks of a configuration before it is stored, with Connect's texts.
//!
//! Pure. The worker's own settings are checked everywhere; a plugin's own only where the plugin is. Unknown
//! settings are accepted: a template made for the JVM connectors must go in unchanged.

use serde_json::{Value, json};

use crate::classes::{Class, Classes};
use crate::definitions::{COMMON, Definition, SINK};
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
pub fn errors(class: &Class, config: &Config) -> Vec<FieldError> {
    let mut errors = common_errors(class.kind, config);
    if let Some(plugin) = &class.plugin {
        // The plugin sees what its task would see; what cannot be resolved here is told when the task starts.
        let resolved = providers::resolve(config, &providers::Process).unwrap_or_else(|_| config.clone());
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
pub fn message(errors: &[FieldError]) -> String {
    let lines: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    format!(
        "Connector configuration is invalid and contains the following {} error(s):\n{}\nYou can also find the above \
         list of errors at the endpoint `/connector-plugins/{{connectorType}}/config/validate`",
        errors.len(),
        lines.join("\n")
    )
}

/// Settings a connector of this class understands, common ones first.
pub fn definitions(class: &Class) -> Vec<Definition> {
    let mut all = COMMON.to_vec();
    if class.kind == ConnectorKind::Sink {
        all.extend(SINK);
    }
    all.extend(class.plugin.iter().flat_map(|plugin| plugin.definitions()));
    all
}

/// The body of a `validate` answer.
pub fn report(class: &Class, config: &Config, errors: &[FieldError]) -> Value {
    let definitions = definitions(class);
    let mut groups: Vec<&str> = Vec::new();
    for definition in &definitions {
        if !groups.contains(&definition.group) {
            groups.push(definition.group);
        }
    }
    let value = |name: &str, default: Option<&str>| {
        let texts = errors.iter().filter(|error| error.field == name).map(|error| &error.message);
        json!({
            "name": name,
            "value": config.get(name).map(|value| masking::masked(name, value)).or(default.map(Into::into)),
            "recommended_values": [], "errors": texts.collect::<Vec<_>>(), "visible": true,
        })
    };
    let mut configs: Vec<Value> = numbered(&definitions)
        .map(|(order, definition)| {
            json!({ "definition": definition.json(order), "value": value(definition.name, definition.default) })
        })
        .collect();
    // A refused setting without a definition still has to be seen.
    let mut undefined: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    undefined.retain(|field| !definitions.iter().any(|definition| definition.name == *field));
    undefined.dedup();
    configs.extend(undefined.into_iter().map(|field| {
        let definition = json!({
            "name": field, "type": "STRING", "required": false, "default_value": null, "importance": "HIGH",
            "documentation": "", "group": null, "order_in_group": -1, "width": "NONE", "display_name": field, "dependents": [],
        });
        json!({ "definition": definition, "value": value(field, None) })
    }));
    json!({ "name": class.name, "error_count": errors.len(), "groups": groups, "configs": configs })
}

/// Definitions with their number within their group.
pub fn numbered(definitions: &[Definition]) -> impl Iterator<Item = (usize, &Definition)> {
    definitions.iter().enumerate().map(|(index, definition)| {
        let before = definitions[..index].iter().filter(|other| other.group == definition.group).count();
        (before + 1, definition)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn checked(pairs: &[(&str, &str)]) -> Vec<String> {
        let config: Config = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let class = class_of(&Classes::new(Vec::new()), &config).unwrap();
        errors(&class, &config).into_iter().map(|error| error.message).collect()
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
