//! Definitions of settings as `/connector-plugins/{class}/config` and `…/validate` show them.

use serde_json::{Value, json};

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

const fn common(
    name: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    documentation: &'static str,
) -> Definition {
    Definition { name, kind, default, required: default.is_none(), importance: "HIGH", documentation, group: "Common" }
}

/// Settings every connector has.
pub const COMMON: [Definition; 5] = [
    common("name", "STRING", None, "Globally unique name to use for this connector."),
    common("connector.class", "STRING", None, "Name or alias of the class for this connector."),
    common("tasks.max", "INT", Some("1"), "Maximum number of tasks to use for this connector."),
    common("key.converter", "CLASS", Some(""), "Converter of record keys."),
    common("value.converter", "CLASS", Some(""), "Converter of record values."),
];

/// Settings every sink has beside [`COMMON`].
pub const SINK: [Definition; 2] = [
    Definition {
        name: "topics",
        kind: "LIST",
        default: Some(""),
        required: false,
        importance: "HIGH",
        documentation: "List of topics to consume, separated by commas",
        group: "Common",
    },
    Definition {
        name: "topics.regex",
        kind: "STRING",
        default: Some(""),
        required: false,
        importance: "HIGH",
        documentation: "Regular expression giving topics to consume. Only one of topics or topics.regex should be specified.",
        group: "Common",
    },
];
