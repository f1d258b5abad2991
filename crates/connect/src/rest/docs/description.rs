//! The description of the REST API in OpenAPI 3.1, from one table of its calls.

use serde_json::{Map, Value, json};

/// One call: how it is made, what it does, its query and body, and what it answers beside errors.
struct Call {
    method: &'static str,
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    body: Option<&'static str>,
    answers: &'static [(u16, &'static str, Option<&'static str>)],
}

const fn call(method: &'static str, path: &'static str, tag: &'static str, summary: &'static str) -> Call {
    Call { method, path, tag, summary, query: &[], body: None, answers: &[] }
}

impl Call {
    const fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    const fn body(mut self, schema: &'static str) -> Self {
        self.body = Some(schema);
        self
    }

    const fn answers(mut self, answers: &'static [(u16, &'static str, Option<&'static str>)]) -> Self {
        self.answers = answers;
        self
    }
}

const MANY: &str = "Connectors";
const LIFE: &str = "Life of a connector";
const TASKS: &str = "Tasks";
const PLACES: &str = "Topics and offsets";
const PLUGINS: &str = "Plugins";
const WORKER: &str = "Worker";

const UNKNOWN: (u16, &str, Option<&str>) = (404, "No such connector", Some("Error"));
const REFUSED: (u16, &str, Option<&str>) = (400, "Every wrong setting with its reason", Some("Error"));

#[rustfmt::skip]
const CALLS: &[Call] = &[
    call("get", "/connectors", MANY, "Names of all connectors, or more of each")
        .query(&[("expand", "`status`, `info`; may be given twice")]).answers(&[(200, "Names, or an object by name", None)]),
    call("post", "/connectors", MANY, "Create a connector").body("CreateConnector")
        .answers(&[(201, "Created", Some("Connector")), REFUSED, (409, "The name is taken", Some("Error"))]),
    call("get", "/connectors/{name}", MANY, "Configuration and tasks").answers(&[(200, "The connector", Some("Connector")), UNKNOWN]),
    call("delete", "/connectors/{name}", MANY, "Delete; a sink's group keeps its offsets").answers(&[(204, "Deleted", None), UNKNOWN]),
    call("get", "/connectors/{name}/config", MANY, "Configuration, secrets masked").answers(&[(200, "Names and values", Some("Config")), UNKNOWN]),
    call("put", "/connectors/{name}/config", MANY, "Create, or replace the configuration").body("Config")
        .answers(&[(200, "Replaced", Some("Connector")), (201, "Created", Some("Connector")), REFUSED]),
    call("patch", "/connectors/{name}/config", MANY, "Change single settings; null takes one away").body("Config")
        .answers(&[(200, "Changed", Some("Connector")), REFUSED, UNKNOWN]),
    call("get", "/connectors/{name}/status", LIFE, "State of the connector and its tasks, with the traces of failed ones")
        .answers(&[(200, "States", Some("Status")), UNKNOWN]),
    call("put", "/connectors/{name}/pause", LIFE, "Tasks stop and keep their places").answers(&[(202, "Asked for", None), UNKNOWN]),
    call("put", "/connectors/{name}/resume", LIFE, "Run again after a pause or a stop").answers(&[(202, "Asked for", None), UNKNOWN]),
    call("put", "/connectors/{name}/stop", LIFE, "No tasks are left; offsets may be changed").answers(&[(204, "Stopped", None), UNKNOWN]),
    call("post", "/connectors/{name}/restart", LIFE, "Restart the connector, or its tasks with it")
        .query(&[("includeTasks", "the tasks too"), ("onlyFailed", "only what is FAILED")])
        .answers(&[(202, "With the state it has now", Some("Status")), (204, "Restarted", None), UNKNOWN]),
    call("get", "/connectors/{name}/tasks", TASKS, "Configurations of the tasks").answers(&[(200, "The tasks", None), UNKNOWN]),
    call("get", "/connectors/{name}/tasks/{task}/status", TASKS, "State of one task").answers(&[(200, "Its state", Some("TaskStatus")), (404, "No such task", Some("Error"))]),
    call("get", "/connectors/{name}/tasks/{task}/progress", TASKS, "How far the task is (not in Kafka Connect)")
        .answers(&[(200, "Facts by name", None), (404, "The task does not run", Some("Error"))]),
    call("post", "/connectors/{name}/tasks/{task}/restart", TASKS, "Restart one task").answers(&[(204, "Restarted", None), (404, "No such task", Some("Error"))]),
    call("post", "/connectors/{name}/signals", TASKS, "Ask something of the running task, as a Debezium signal does (not in Kafka Connect)").body("Signal")
        .answers(&[(202, "Stored with its position; what it is about", None), REFUSED, UNKNOWN, (409, "The task does not run on this worker", Some("Error"))]),
    call("get", "/connectors/{name}/topics", PLACES, "Topics that the connector used").answers(&[(200, "Topics by connector", None)]),
    call("put", "/connectors/{name}/topics/reset", PLACES, "Forget which topics it used").answers(&[(202, "Forgotten", None), UNKNOWN]),
    call("get", "/connectors/{name}/offsets", PLACES, "Positions: of the source's log, of the sink's group").answers(&[(200, "Offsets", Some("Offsets")), UNKNOWN]),
    call("patch", "/connectors/{name}/offsets", PLACES, "Set positions of a stopped connector; null forgets one").body("Offsets")
        .answers(&[(200, "Set", Some("Message")), (400, "Not stopped, or no offsets", Some("Error")), UNKNOWN]),
    call("delete", "/connectors/{name}/offsets", PLACES, "Forget all positions of a stopped connector: it begins anew")
        .answers(&[(200, "Forgotten", Some("Message")), (400, "Not stopped", Some("Error")), UNKNOWN]),
    call("get", "/connector-plugins", PLUGINS, "Classes that connectors may name")
        .query(&[("connectorsOnly", "`false`: transformations, predicates and converters too")]).answers(&[(200, "The classes", None)]),
    call("get", "/connector-plugins/{class}/config", PLUGINS, "Settings of a class").answers(&[(200, "Definitions", None), (404, "No such class", Some("Error"))]),
    call("put", "/connector-plugins/{class}/config/validate", PLUGINS, "Check a configuration without creating anything").body("Config")
        .answers(&[(200, "Every setting with its value and its errors", None), (400, "It cannot be checked", Some("Error"))]),
    call("get", "/", WORKER, "Version, and which Kafka cluster").answers(&[(200, "Facts", None)]),
    call("get", "/health", WORKER, "Whether the worker and its servers are well")
        .answers(&[(200, "Well", Some("Health")), (500, "A server is away", Some("Health")), (503, "Still starting", Some("Health"))]),
    call("get", "/admin/loggers", WORKER, "Levels of the log").answers(&[(200, "Levels by part", None)]),
    call("get", "/admin/loggers/{logger}", WORKER, "Level of one part").answers(&[(200, "Its level", Some("LoggerLevel")), (404, "No such part", Some("Error"))]),
    call("put", "/admin/loggers/{logger}", WORKER, "Change a level until the worker ends").body("LoggerLevel")
        .query(&[("scope", "`worker`, or `cluster` for all workers")])
        .answers(&[(200, "Parts that changed", None), (204, "Asked of all workers", None), (404, "No such level", Some("Error"))]),
];

/// The document.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for call in CALLS {
        let methods = paths.entry(call.path).or_insert_with(|| json!({}));
        methods[call.method] = operation(call);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Connect API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Kafka Connect's REST API, as both workers serve it. Any worker answers for all connectors.",
        },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn operation(call: &Call) -> Value {
    let in_path = call.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let kind = |name: &str| if name == "task" { "integer" } else { "string" };
    let in_path =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": kind(name) } }));
    let in_query = call.query.iter().map(
        |(name, says)| json!({ "name": name, "in": "query", "description": says, "schema": { "type": "string" } }),
    );
    let answers: Map<String, Value> = call
        .answers
        .iter()
        .map(|(status, says, schema)| {
            let mut answer = json!({ "description": says });
            if let Some(schema) = schema {
                answer["content"] = content(schema);
            }
            (status.to_string(), answer)
        })
        .collect();
    let mut operation = json!({
        "tags": [call.tag], "summary": call.summary, "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": answers,
    });
    if let Some(body) = call.body {
        operation["requestBody"] = json!({ "required": true, "content": content(body) });
    }
    operation
}

fn content(schema: &str) -> Value {
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let state = json!({
        "type": "string", "enum": ["RUNNING", "PAUSED", "STOPPED", "FAILED", "RESTARTING", "UNASSIGNED"],
    });
    let status = json!({ "state": state, "worker_id": text, "version": text, "trace": text });
    let mut task = status.clone();
    task["id"] = json!({ "type": "integer" });
    let object = |properties: Value| json!({ "type": "object", "properties": properties });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let reference = |schema: &str| json!({ "$ref": format!("#/components/schemas/{schema}") });
    let offset = object(json!({
        "partition": { "type": "object", "example": { "kafka_topic": "orders", "kafka_partition": 0 } },
        "offset": { "type": ["object", "null"], "example": { "kafka_offset": 0 } },
    }));
    json!({
        "Config": { "type": "object", "additionalProperties": { "type": ["string", "null"] } },
        "Connector": object(json!({
            "name": text, "config": reference("Config"), "type": { "type": "string", "enum": ["source", "sink"] },
            "tasks": list(object(json!({ "connector": text, "task": { "type": "integer" } }))),
        })),
        "Signal": object(json!({
            "id": {"type": "string"},
            "type": {"type": "string", "example": "execute-snapshot"},
            "data": {"type": "object", "example": {"data-collections": ["public.orders"]}},
        })),
        "CreateConnector": object(json!({
            "name": text, "config": reference("Config"),
            "initial_state": { "type": "string", "enum": ["RUNNING", "PAUSED", "STOPPED"] },
            "initial_offsets": list(offset.clone()),
        })),
        "Error": object(json!({ "error_code": { "type": "integer" }, "message": text })),
        "Health": object(json!({
            "status": { "type": "string", "enum": ["healthy", "starting", "unhealthy"] }, "message": text, "service": text,
            "parts": { "type": "object", "additionalProperties": text },
        })),
        "LoggerLevel": object(json!({
            "level": { "type": "string", "enum": ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "OFF"] },
            "last_modified": { "type": ["integer", "null"], "readOnly": true },
        })),
        "Message": object(json!({ "message": text })),
        "Offsets": object(json!({ "offsets": list(offset) })),
        "Status": object(json!({
            "name": text, "type": text, "connector": object(status), "tasks": list(reference("TaskStatus")),
        })),
        "TaskStatus": object(task),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    /// Every route of the router with its methods, as the source names them.
    fn routes() -> BTreeSet<(String, String)> {
        let route =
            regex::Regex::new(r#"\.route\(\s*"([^"]+)",\s*((?:\.?(?:get|put|post|patch|delete)\([^)]*\)*)+)"#).unwrap();
        let method = regex::Regex::new(r"\b(get|put|post|patch|delete)\(").unwrap();
        let source = include_str!("../../rest.rs");
        let found = route.captures_iter(source).flat_map(|found| {
            let path = found[1].to_owned();
            method.captures_iter(&found[2]).map(move |named| (path.clone(), named[1].to_owned())).collect::<Vec<_>>()
        });
        found.collect()
    }

    #[test]
    fn every_route_is_described_and_no_other() {
        let described: BTreeSet<(String, String)> =
            CALLS.iter().map(|call| (call.path.to_owned(), call.method.to_owned())).collect();
        assert_eq!(routes(), described);
    }

    #[test]
    fn every_schema_that_is_named_exists_and_every_call_says_what_it_answers() {
        let document = openapi();
        let named = document.to_string();
        let named = regex::Regex::new("#/components/schemas/([A-Za-z]+)")
            .unwrap()
            .captures_iter(&named)
            .map(|found| found[1].to_owned())
            .collect::<BTreeSet<_>>();
        for schema in named {
            assert!(document["components"]["schemas"][&schema].is_object(), "{schema}");
        }
        assert!(CALLS.iter().all(|call| !call.answers.is_empty()));
    }
}
