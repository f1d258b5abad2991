//! Confluent's API over HTTP: paths, codes, bodies.

use reqwest::Method;
use serde_json::{Value, json};
use topics::{RegistryClient, RegistryError};

use super::{Registry, schema};

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_in_confluents_shape() {
    let registry = Registry::start(&testkit::fresh_name("schemas")).await;
    assert_eq!(registry.get("/").await.body, json!({}));
    assert_eq!(registry.get("/schemas/types").await.body, json!(["AVRO"]));
    assert_eq!(registry.get("/subjects").await.body, json!([]));
    assert_eq!(registry.get("/config").await.body, json!({"compatibilityLevel": "BACKWARD"}));
    assert_eq!(registry.get("/mode").await.body, json!({"mode": "READWRITE"}));

    let (one, two) = (schema(1), format!(" {} ", schema(2)));
    assert_eq!(registry.register("a-value", &one).await.body, json!({"id": 1}));
    assert_eq!(registry.register("a-value", &one).await.body, json!({"id": 1}));
    assert_eq!(registry.register("a-value", &two).await.body, json!({"id": 2}));
    assert_eq!(registry.register("b%2Fvalue", &one).await.body, json!({"id": 1}));

    let version = json!({"subject": "a-value", "version": 2, "id": 2, "schema": two});
    for (path, expected) in [
        ("/subjects", json!(["a-value", "b/value"])),
        ("/subjects?subjectPrefix=b", json!(["b/value"])),
        ("/subjects/a-value/versions", json!([1, 2])),
        ("/subjects/a-value/versions/2", version.clone()),
        ("/subjects/a-value/versions/latest", version.clone()),
        ("/subjects/a-value/versions/-1", version.clone()),
        ("/subjects/a-value/versions/1/schema", serde_json::from_str::<Value>(&one).unwrap()),
        ("/subjects/a-value/versions/1/referencedby", json!([])),
        ("/schemas/ids/2", json!({"schema": two})),
        ("/schemas/ids/1/schema", serde_json::from_str::<Value>(&one).unwrap()),
        ("/schemas/ids/1?fetchMaxId=true", json!({"schema": one, "maxId": 2})),
        ("/schemas/ids/1/subjects", json!(["a-value", "b/value"])),
        (
            "/schemas/ids/1/versions",
            json!([{"subject": "a-value", "version": 1}, {"subject": "b/value", "version": 1}]),
        ),
        ("/schemas?subjectPrefix=a&latestOnly=true", json!([version])),
    ] {
        let answer = registry.get(path).await;
        assert_eq!((answer.status, answer.body), (200, expected), "{path}");
        assert_eq!(answer.content_type, "application/vnd.schemaregistry.v1+json");
    }
    let found = registry.post("/subjects/a-value", json!({"schema": schema(2)})).await;
    assert_eq!(found.body, version);
    let normalized = registry.post("/subjects/n/versions?normalize=true", json!({"schema": " {\"type\": \"long\"} "}));
    let id = normalized.await.body["id"].clone();
    assert_eq!(registry.get(&format!("/schemas/ids/{id}")).await.body, json!({"schema": "\"long\""}));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_confluents_codes() {
    let registry = Registry::start(&testkit::fresh_name("schemas")).await;
    registry.register("a", r#""int""#).await;
    let schema = |text: &str| Some(json!({ "schema": text }));
    for (method, path, body, status, code) in [
        (Method::GET, "/subjects/none/versions", None, 404, 40401),
        (Method::GET, "/subjects/none/versions/1", None, 404, 40401),
        (Method::GET, "/subjects/a/versions/9", None, 404, 40402),
        (Method::GET, "/subjects/a/versions/0", None, 422, 42202),
        (Method::GET, "/subjects/a/versions/x", None, 422, 42202),
        (Method::GET, "/schemas/ids/99", None, 404, 40403),
        (Method::GET, "/schemas/ids/x", None, 404, 404),
        (Method::GET, "/nowhere", None, 404, 404),
        (Method::PUT, "/subjects", None, 405, 405),
        (Method::POST, "/subjects/a", schema(r#""long""#), 404, 40403),
        (Method::POST, "/subjects/none", schema(r#""int""#), 404, 40401),
        (Method::POST, "/subjects/a/versions", schema(r#""string""#), 409, 409),
        (Method::POST, "/subjects/a/versions", schema("{"), 422, 42201),
        (Method::POST, "/subjects/a/versions", Some(json!({"schema": "{}", "schemaType": "JSON"})), 422, 42201),
        (Method::POST, "/subjects/a/versions", Some(json!([1])), 400, 400),
        (Method::PUT, "/config", Some(json!({"compatibility": "SOME"})), 422, 42203),
        (Method::PUT, "/mode", Some(json!({"mode": "SOME"})), 422, 42204),
        (Method::GET, "/config/a", None, 404, 40408),
        (Method::GET, "/mode/a", None, 404, 40409),
        (Method::DELETE, "/subjects/none", None, 404, 40401),
        (Method::DELETE, "/subjects/a?permanent=true", None, 404, 40405),
    ] {
        let answer = registry.ask(method.clone(), path, body).await;
        assert_eq!((answer.status, &answer.body["error_code"]), (status, &json!(code)), "{method} {path}");
        assert!(answer.body["message"].is_string());
        assert_eq!(answer.content_type, "application/vnd.schemaregistry.v1+json");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_modes_and_deletes_are_set_answered_and_undone() {
    let registry = Registry::start(&testkit::fresh_name("schemas")).await;
    let put = async |path: &str, body: Value| registry.ask(Method::PUT, path, Some(body)).await.body;
    let delete = async |path: &str| registry.ask(Method::DELETE, path, None).await.body;
    assert_eq!(put("/config", json!({"compatibility": "full"})).await, json!({"compatibility": "FULL"}));
    assert_eq!(put("/config/a", json!({"compatibility": "NONE"})).await, json!({"compatibility": "NONE"}));
    assert_eq!(registry.get("/config/a").await.body, json!({"compatibilityLevel": "NONE"}));
    assert_eq!(registry.get("/config/b?defaultToGlobal=true").await.body, json!({"compatibilityLevel": "FULL"}));
    assert_eq!(delete("/config/a").await, json!({"compatibility": "NONE"}));
    assert_eq!(registry.get("/config/a").await.status, 404);

    registry.register("a", r#""int""#).await;
    let checked = async |path: &str, text: &str| registry.post(path, json!({ "schema": text })).await.body;
    let path = "/compatibility/subjects/a/versions/latest";
    assert_eq!(checked(path, r#""int""#).await, json!({"is_compatible": true}));
    assert_eq!(checked(path, r#""long""#).await, json!({"is_compatible": false}));
    let verbose = checked("/compatibility/subjects/a/versions?verbose=true", r#""long""#).await;
    assert!(verbose["messages"][0].as_str().unwrap().contains("TYPE_MISMATCH"), "{verbose}");

    assert_eq!(put("/mode/a", json!({"mode": "READONLY"})).await, json!({"mode": "READONLY"}));
    assert_eq!(registry.register("a", r#""long""#).await.body["error_code"], 42205);
    assert_eq!(delete("/mode/a").await, json!({"mode": "READONLY"}));

    assert_eq!(delete("/subjects/a").await, json!([1]));
    assert_eq!(registry.get("/subjects?deleted=true").await.body, json!(["a"]));
    assert_eq!(registry.get("/subjects").await.body, json!([]));
    assert_eq!(registry.get("/schemas/ids/1").await.status, 200);
    assert_eq!(delete("/subjects/a?permanent=true").await, json!([1]));
    assert_eq!(registry.get("/schemas/ids/1").await.status, 404);
    assert_eq!(registry.register("a", r#""bytes""#).await.body, json!({"id": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_registers_finds_and_explains() {
    let registry = Registry::start(&testkit::fresh_name("schemas")).await;
    let client = RegistryClient::new(&format!("http://127.0.0.1:{}", registry.port));
    let id = client.register("orders-value", &schema(1)).await.unwrap();
    assert_eq!(client.register("orders-value", &schema(1)).await.unwrap(), id);
    assert_eq!(*client.schema_by_id(id).await.unwrap(), schema(1));
    assert_eq!(client.latest("orders-value").await.unwrap().version, 1);
    assert!(client.compatibility("orders-value", &schema(2)).await.unwrap().is_compatible);
    assert!(client.compatibility("nobody", &schema(2)).await.unwrap().is_compatible);
    assert!(!client.compatibility("orders-value", r#""int""#).await.unwrap().is_compatible);
    let refused = client.register("orders-value", r#""int""#).await.unwrap_err();
    assert!(matches!(&refused, RegistryError::Refused { subject, code: 409, .. } if subject == "orders-value"));
    assert!(matches!(client.latest("nobody").await, Err(RegistryError::NotFound { code: 40401, .. })));
    drop(registry);
    let away = client.latest("orders-value").await.unwrap_err();
    assert!(matches!(away, RegistryError::Retry { .. }), "{away}");
}
