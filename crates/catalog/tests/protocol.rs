//! The protocol's corners, by plain HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::wait_until;

use crate::stack::{Stack, schema};

fn kind(answer: &Value) -> &str {
    answer["error"]["type"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_client_is_told_what_it_needs_and_nothing_it_must_not_know() {
    let stack = Stack::start().await;
    let (status, config) = stack.get("/v1/config?warehouse=lakehouse").await;
    assert_eq!(status, 200);
    assert_eq!(config["defaults"]["s3.path-style-access"], "true");
    assert_eq!(config["defaults"]["s3.endpoint"], format!("http://127.0.0.1:{}", stack.s3_port));
    assert!(config["endpoints"].as_array().unwrap().contains(&json!("POST /v1/{prefix}/transactions/commit")));
    assert_eq!(stack.get("/v1/config?warehouse=other").await.0, 404);

    let table = stack.create_table("t", json!({ "format-version": "2" })).await;
    assert_eq!(table["config"]["s3.region"], "us-east-1");
    assert_eq!(table["metadata"]["format-version"], 2);
    // With a prefix and without it is the same catalog.
    assert_eq!(
        stack.get("/v1/lakehouse/namespaces/shape/tables/t").await.1["metadata-location"],
        table["metadata-location"]
    );
    for path in ["/health", "/metrics", "/v1/namespaces/shape"] {
        assert!(!stack.get(path).await.1.to_string().contains("minio123"), "{path}");
    }
}

#[tokio::test]
async fn errors_have_the_bodies_of_the_specification() {
    let stack = Stack::start().await;
    stack.create_table("t", json!({})).await;
    let (status, answer) = stack.get("/v1/namespaces/nowhere/tables/t").await;
    assert_eq!((status, kind(&answer), &answer["error"]["code"]), (404, "NoSuchTableException", &json!(404)));
    let (status, answer) = stack.get("/v1/namespaces/nowhere").await;
    assert_eq!((status, kind(&answer)), (404, "NoSuchNamespaceException"));
    let (status, answer) = stack.post("/v1/namespaces", &json!({ "namespace": ["shape"] })).await;
    assert_eq!((status, kind(&answer)), (409, "AlreadyExistsException"));
    let (status, answer) = stack.post("/v1/namespaces", &json!({ "namespace": ["a.b"] })).await;
    assert_eq!((status, kind(&answer)), (400, "BadRequestException"));
    let (status, answer) = stack.post("/v1/namespaces", &json!({ "name": 1 })).await;
    assert_eq!((status, kind(&answer)), (400, "BadRequestException"));
    let (status, answer) = stack.delete("/v1/namespaces/shape").await;
    assert_eq!((status, kind(&answer)), (409, "NamespaceNotEmptyException"));
    let both = json!({ "removals": ["p"], "updates": { "p": "1" } });
    let (status, answer) = stack.post("/v1/namespaces/shape/properties", &both).await;
    assert_eq!((status, kind(&answer)), (422, "UnprocessableEntityException"));
    let stale = json!({ "requirements": [{ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 7 }], "updates": [] });
    let (status, answer) = stack.post("/v1/namespaces/shape/tables/t", &stale).await;
    assert_eq!((status, kind(&answer)), (409, "CommitFailedException"));
    let report = json!({ "report-type": "scan-report" });
    assert_eq!(stack.post("/v1/namespaces/shape/tables/t/metrics", &report).await.0, 204);
    assert_eq!(stack.get("/v1/nonsense/x").await.0, 400);
}

#[tokio::test]
async fn a_staged_table_appears_with_its_first_commit() {
    let stack = Stack::start().await;
    stack.post("/v1/namespaces", &json!({ "namespace": ["shape"] })).await;
    let (status, staged) = stack
        .post("/v1/namespaces/shape/tables", &json!({ "name": "t", "schema": schema(), "stage-create": true }))
        .await;
    assert_eq!((status, staged.get("metadata-location").is_none_or(Value::is_null)), (200, true));
    assert_eq!(stack.get("/v1/namespaces/shape/tables/t").await.0, 404);

    let metadata = &staged["metadata"];
    let create = json!({
        "requirements": [{ "type": "assert-create" }],
        "updates": [
            { "action": "assign-uuid", "uuid": metadata["table-uuid"] },
            { "action": "upgrade-format-version", "format-version": 2 },
            { "action": "add-schema", "schema": metadata["schemas"][0], "last-column-id": 1 },
            { "action": "set-current-schema", "schema-id": -1 },
            { "action": "add-spec", "spec": metadata["partition-specs"][0] },
            { "action": "set-default-spec", "spec-id": -1 },
            { "action": "add-sort-order", "sort-order": metadata["sort-orders"][0] },
            { "action": "set-default-sort-order", "sort-order-id": -1 },
            { "action": "set-location", "location": metadata["location"] },
            { "action": "set-properties", "updates": { "made": "staged" } },
        ],
    });
    let (status, created) = stack.post("/v1/namespaces/shape/tables/t", &create).await;
    assert_eq!(status, 200, "{created}");
    let loaded = stack.load("t").await["metadata"].clone();
    assert_eq!((&loaded["table-uuid"], &loaded["location"]), (&metadata["table-uuid"], &metadata["location"]));
    assert_eq!((&loaded["schemas"], &loaded["properties"]["made"]), (&metadata["schemas"], &json!("staged")));
    let (status, answer) = stack.post("/v1/namespaces/shape/tables/t", &create).await;
    assert_eq!((status, kind(&answer)), (409, "CommitFailedException"));
}

#[tokio::test]
async fn old_metadata_is_removed_when_the_table_says_so_and_a_purge_removes_the_rest() {
    let stack = Stack::start().await;
    let tidy =
        json!({ "write.metadata.delete-after-commit.enabled": "true", "write.metadata.previous-versions-max": "2" });
    let mut locations = vec![stack.create_table("t", tidy).await["metadata-location"].as_str().unwrap().to_owned()];
    for at in 0..4 {
        let change = json!({ "requirements": [], "updates": [{ "action": "set-properties", "updates": { "at": at.to_string() } }] });
        let (status, answer) = stack.post("/v1/namespaces/shape/tables/t", &change).await;
        assert_eq!(status, 200, "{answer}");
        locations.push(answer["metadata-location"].as_str().unwrap().to_owned());
    }
    let mut kept = Vec::new();
    for location in &locations {
        kept.push(stack.has_file(location).await);
    }
    assert_eq!(kept, [false, false, true, true, true]);

    assert_eq!(stack.delete("/v1/namespaces/shape/tables/t?purgeRequested=true").await.0, 204);
    wait_until("the files are gone", Duration::from_secs(20), async || !stack.has_file(&locations[4]).await).await;
}

#[tokio::test]
async fn a_dropped_table_can_be_registered_again() {
    let stack = Stack::start().await;
    let location = stack.create_table("t", json!({ "a": "b" })).await["metadata-location"].clone();
    assert_eq!(stack.delete("/v1/namespaces/shape/tables/t").await.0, 204);
    let again = json!({ "name": "again", "metadata-location": location });
    let (status, table) = stack.post("/v1/namespaces/shape/register", &again).await;
    assert_eq!((status, &table["metadata"]["properties"]["a"]), (200, &json!("b")));
    assert_eq!(stack.post("/v1/namespaces/shape/register", &again).await.0, 409);
    let missing = json!({ "name": "x", "metadata-location": "s3://lakehouse/none.metadata.json" });
    assert_eq!(stack.post("/v1/namespaces/shape/register", &missing).await.0, 400);
}

#[tokio::test]
async fn lists_come_in_pages_and_nested_namespaces_below_their_parents() {
    let stack = Stack::start().await;
    for name in ["c", "a", "b"] {
        stack.create_table(name, json!({})).await;
    }
    let (_, page) = stack.get("/v1/namespaces/shape/tables?pageSize=2").await;
    assert_eq!(
        page["identifiers"],
        json!([{ "namespace": ["shape"], "name": "a" }, { "namespace": ["shape"], "name": "b" }])
    );
    let (_, rest) = stack.get("/v1/namespaces/shape/tables?pageSize=2&pageToken=b").await;
    assert_eq!((&rest["identifiers"][0]["name"], &rest["next-page-token"]), (&json!("c"), &Value::Null));
    stack.post("/v1/namespaces", &json!({ "namespace": ["stage", "storefront"] })).await;
    assert_eq!(stack.get("/v1/namespaces").await.1["namespaces"], json!([["shape"], ["stage"]]));
    assert_eq!(stack.get("/v1/namespaces?parent=stage").await.1["namespaces"], json!([["stage", "storefront"]]));
    assert_eq!(stack.get("/v1/namespaces/stage%1Fstorefront").await.0, 200);
    assert_eq!(stack.get("/v1/namespaces?parent=none").await.0, 404);
}

#[tokio::test]
async fn without_postgres_it_says_try_again_and_goes_on_when_it_is_back() {
    let mut stack = Stack::start().await;
    stack.create_table("t", json!({})).await;
    stack.gate.shut();
    let (status, answer) = stack.get("/v1/namespaces/shape/tables/t").await;
    assert_eq!((status, kind(&answer)), (503, "ServiceUnavailableException"));
    let change = json!({ "requirements": [], "updates": [{ "action": "set-properties", "updates": { "a": "b" } }] });
    assert_eq!(stack.post("/v1/namespaces/shape/tables/t", &change).await.0, 503);
    stack.gate.reopen();
    stack.wait_healthy().await;
    assert_eq!(stack.post("/v1/namespaces/shape/tables/t", &change).await.0, 200);
}
