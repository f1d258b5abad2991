//! The properties `transforms.*`, `predicates.*` and those of the converters.

use std::{collections::BTreeMap, str::FromStr};

use regex::Regex;

use super::{
    condition::{self, Filter, Tombstones},
    convert::Converter,
    outbox_event::{Additional, OutboxRouter, Placement},
    predicate::{Condition, Predicate},
    route::{LogicalTableRouter, RegexRouter, replacement},
    unwrap::{Deletes, Extra, Unwrap},
};
use crate::naming::BadProperty;

/// Transformations in their order, and converters.
#[derive(Debug, Clone, Default)]
pub struct PipelineSettings {
    pub(super) steps: Vec<Step>,
    pub(super) key: Converter,
    pub(super) value: Converter,
}

/// One transformation and the records it is for.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub transform: Transform,
    pub condition: Option<Condition>,
}

#[derive(Debug, Clone)]
pub(super) enum Transform {
    Unwrap(Unwrap),
    Outbox(Box<OutboxRouter>),
    Regex(RegexRouter),
    LogicalTable(LogicalTableRouter),
    Filter(Filter),
}

impl PipelineSettings {
    /// Reads the properties; `None` when records go their usual way. What is wrong comes beside.
    #[must_use]
    pub fn read(config: &BTreeMap<String, String>) -> (Option<Self>, Vec<BadProperty>) {
        let mut read = Reader { config, prefix: String::new(), errors: Vec::new() };
        let settings = Self {
            key: read.converter("key.converter"),
            value: read.converter("value.converter"),
            steps: read.steps(),
        };
        let usual = settings.steps.is_empty() && (settings.key, settings.value) == (Converter::Avro, Converter::Avro);
        ((!usual).then_some(settings), read.errors)
    }
}

/// Reads the properties that begin with a prefix.
struct Reader<'a> {
    config: &'a BTreeMap<String, String>,
    prefix: String,
    errors: Vec<BadProperty>,
}

impl Reader<'_> {
    fn converter(&mut self, property: &str) -> Converter {
        let converter = self.parsed(property, Converter::Avro);
        let schemas = self.flag(&format!("{property}.schemas.enable"), true);
        match converter {
            Converter::Json { .. } => Converter::Json { schemas },
            Converter::Avro => Converter::Avro,
        }
    }

    fn steps(&mut self) -> Vec<Step> {
        let names: Vec<String> = self.list("transforms");
        let mut steps = Vec::new();
        for name in names {
            self.prefix = format!("transforms.{name}.");
            let transform = self.transform();
            let predicate = self.text("predicate");
            let negate = self.flag("negate", false);
            let condition = predicate.and_then(|predicate| {
                self.prefix = format!("predicates.{predicate}.");
                Some(Condition { predicate: self.predicate()?, negate })
            });
            steps.extend(transform.map(|transform| Step { transform, condition }));
        }
        self.prefix.clear();
        steps
    }

    fn transform(&mut self) -> Option<Transform> {
        let class = self.text("type");
        Some(match class.as_deref().unwrap_or_default() {
            "io.debezium.transforms.ExtractNewRecordState" => Transform::Unwrap(self.unwrap()),
            "io.debezium.transforms.outbox.EventRouter" => Transform::Outbox(Box::new(self.outbox()?)),
            "io.debezium.transforms.ByLogicalTableRouter" => Transform::LogicalTable(self.logical_table()?),
            "org.apache.kafka.connect.transforms.RegexRouter" => {
                Transform::Regex(self.router("regex", None, "replacement", None)?)
            }
            "io.debezium.transforms.Filter" => Transform::Filter(self.filter()?),
            _ => {
                self.refuse(
                    "type",
                    "this connector has ExtractNewRecordState, outbox.EventRouter, ByLogicalTableRouter and Filter of \
                     io.debezium.transforms, and org.apache.kafka.connect.transforms.RegexRouter",
                );
                return None;
            }
        })
    }

    fn predicate(&mut self) -> Option<Predicate> {
        let class = self.text("type").unwrap_or_default();
        match class.strip_prefix("org.apache.kafka.connect.transforms.predicates.") {
            Some("TopicNameMatches") => Some(Predicate::TopicNameMatches(self.regex("pattern", None)?)),
            Some("HasHeaderKey") => Some(Predicate::HasHeaderKey(self.text("name").unwrap_or_default())),
            Some("RecordIsTombstone") => Some(Predicate::RecordIsTombstone),
            _ => {
                self.refuse("type", "this connector has TopicNameMatches, HasHeaderKey and RecordIsTombstone");
                None
            }
        }
    }

    fn unwrap(&mut self) -> Unwrap {
        let extras = |list: &str| {
            let prefix = self.text(&format!("{list}.prefix")).unwrap_or_else(|| "__".to_owned());
            self.list(list).iter().map(|text| Extra::read(text, &prefix)).collect()
        };
        let (fields, headers) = (extras("add.fields"), extras("add.headers"));
        Unwrap {
            deletes: self.parsed("delete.tombstone.handling.mode", Deletes::Tombstone),
            fields,
            headers,
            route_by: self.text("route.by.field"),
        }
    }

    fn outbox(&mut self) -> Option<OutboxRouter> {
        let named = |property: &str, default: &str| self.text(property).unwrap_or_else(|| default.to_owned());
        let (id, key) = (named("table.field.event.id", "id"), named("table.field.event.key", "aggregateid"));
        let payload = named("table.field.event.payload", "payload");
        let route_by = named("route.by.field", "aggregatetype");
        let invalid = named("table.op.invalid.behavior", "warn");
        let route = ("(?<routedByValue>.*)", "outbox.event.${routedByValue}");
        let route = self.router("route.topic.regex", Some(route.0), "route.topic.replacement", Some(route.1))?;
        Some(OutboxRouter {
            id,
            key,
            payload,
            route_by,
            route,
            timestamp: self.text("table.field.event.timestamp"),
            additional: self.additional(),
            expand_json: self.flag("table.expand.json.payload", false),
            tombstone_on_empty: self.flag("route.tombstone.on.empty.payload", false),
            fatal_updates: invalid == "fatal",
        })
    }

    /// `column:header:alias,column:envelope`
    fn additional(&mut self) -> Vec<Additional> {
        let property = "table.fields.additional.placement";
        let mut all = Vec::new();
        for text in self.list(property) {
            let mut parts = text.split(':').map(str::trim);
            let column = parts.next().unwrap_or_default().to_owned();
            let placement = match parts.next() {
                Some("header") => Placement::Header,
                Some("envelope") => Placement::Envelope,
                _ => {
                    self.refuse(property, "each is column:header or column:envelope, and perhaps :alias");
                    continue;
                }
            };
            let alias = parts.next().map_or_else(|| column.clone(), str::to_owned);
            all.push(Additional { column, placement, alias });
        }
        all
    }

    fn logical_table(&mut self) -> Option<LogicalTableRouter> {
        let topics = self.router("topic.regex", None, "topic.replacement", None)?;
        let field = self.text("key.field.name").unwrap_or_else(|| "__dbz__physicalTableIdentifier".to_owned());
        let key_field = self.flag("key.enforce.uniqueness", true).then_some(field);
        let key_value = match self.text("key.field.regex") {
            Some(_) => Some(self.router("key.field.regex", None, "key.field.replacement", None)?),
            None => None,
        };
        Some(LogicalTableRouter { topics, key_field, key_value })
    }

    fn filter(&mut self) -> Option<Filter> {
        let tombstones = match self.text("null.handling.mode").as_deref() {
            None | Some("keep") => Tombstones::Keep,
            Some("drop") => Tombstones::Drop,
            Some("evaluate") => Tombstones::Evaluate,
            Some(_) => {
                self.refuse("null.handling.mode", "Value must be one of keep, drop, evaluate");
                Tombstones::Keep
            }
        };
        let topics = self.text("topic.regex").is_some().then(|| self.regex("topic.regex", None)).flatten();
        match condition::parse(&self.text("condition").unwrap_or_default()) {
            Ok(expression) => Some(Filter { expression, topics, tombstones }),
            Err(why) => {
                self.refuse("condition", &format!("{why}; only comparisons joined by &&, || and ! can be used"));
                None
            }
        }
    }

    fn router(
        &mut self,
        regex: &str,
        default: Option<&str>,
        replaced: &str,
        replaced_default: Option<&str>,
    ) -> Option<RegexRouter> {
        let pattern = self.regex(regex, default);
        let Some(text) = self.text(replaced).or_else(|| replaced_default.map(str::to_owned)) else {
            self.refuse(replaced, "A value is required");
            return None;
        };
        Some(RegexRouter { regex: pattern?, replacement: replacement(&text) })
    }

    /// An expression that must match the whole of a name.
    fn regex(&mut self, property: &str, default: Option<&str>) -> Option<Regex> {
        let text = self.text(property).or_else(|| default.map(str::to_owned));
        match text.map(|text| Regex::new(&format!("^(?:{text})$"))) {
            Some(Ok(regex)) => Some(regex),
            Some(Err(error)) => {
                self.refuse(property, &error.to_string());
                None
            }
            None => {
                self.refuse(property, "A value is required");
                None
            }
        }
    }

    fn text(&self, property: &str) -> Option<String> {
        let value = self.config.get(&format!("{}{property}", self.prefix))?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn list(&self, property: &str) -> Vec<String> {
        let text = self.text(property).unwrap_or_default();
        text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    }

    fn parsed<T: FromStr<Err = &'static str>>(&mut self, property: &str, default: T) -> T {
        let Some(text) = self.text(property).filter(|text| !text.contains("${")) else { return default };
        text.parse().unwrap_or_else(|why| {
            self.refuse(property, why);
            default
        })
    }

    fn flag(&mut self, property: &str, default: bool) -> bool {
        match self.text(property).map(|text| text.to_ascii_lowercase()).as_deref() {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(_) => {
                self.refuse(property, "Expected value to be either true or false");
                default
            }
        }
    }

    fn refuse(&mut self, property: &str, why: &str) {
        let property = format!("{}{property}", self.prefix);
        let value = self.config.get(&property).cloned().unwrap_or_default();
        self.errors.push(BadProperty { property, value, why: why.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<PipelineSettings>, Vec<String>) {
        let config = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (settings, errors) = PipelineSettings::read(&config);
        (settings, errors.into_iter().map(|error| error.property).collect())
    }

    #[test]
    fn the_usual_converters_need_no_pipeline() {
        let (settings, errors) = read(&[("value.converter", "io.confluent.connect.avro.AvroConverter")]);
        assert!(settings.is_none() && errors.is_empty());
    }

    #[test]
    fn transformations_keep_their_order_and_their_predicates() {
        let (settings, errors) = read(&[
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
            ("value.converter.schemas.enable", "false"),
            ("transforms", "route, unwrap"),
            ("transforms.unwrap.type", "io.debezium.transforms.ExtractNewRecordState"),
            ("transforms.route.type", "org.apache.kafka.connect.transforms.RegexRouter"),
            ("transforms.route.regex", "a(.*)"),
            ("transforms.route.replacement", "b$1"),
            ("transforms.route.predicate", "mine"),
            ("transforms.route.negate", "true"),
            ("predicates", "mine"),
            ("predicates.mine.type", "org.apache.kafka.connect.transforms.predicates.TopicNameMatches"),
            ("predicates.mine.pattern", "x.*"),
        ]);
        assert!(errors.is_empty(), "{errors:?}");
        let settings = settings.unwrap();
        assert_eq!(settings.value, Converter::Json { schemas: false });
        assert!(matches!(settings.steps[0].transform, Transform::Regex(_)));
        assert!(settings.steps[0].condition.as_ref().unwrap().negate);
        assert!(matches!(settings.steps[1].transform, Transform::Unwrap(_)));
    }

    #[test]
    fn wrong_properties_are_named() {
        let (_, errors) = read(&[
            ("value.converter", "org.apache.kafka.connect.storage.StringConverter"),
            ("transforms", "a,b,c"),
            ("transforms.a.type", "io.debezium.transforms.ContentBasedRouter"),
            ("transforms.b.type", "io.debezium.transforms.Filter"),
            ("transforms.b.condition", "value.op.startsWith('x')"),
            ("transforms.c.type", "org.apache.kafka.connect.transforms.RegexRouter"),
            ("transforms.c.regex", "("),
        ]);
        let expected = [
            "value.converter",
            "transforms.a.type",
            "transforms.b.condition",
            "transforms.c.regex",
            "transforms.c.replacement",
        ];
        assert_eq!(errors, expected);
    }
}
