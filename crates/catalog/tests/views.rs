//! Views by plain HTTP.

use serde_json::{Value, json};

use crate::stack::{Stack, schema};

const VIEWS: &str = "/v1/namespaces/shape/views";

fn kind(answer: &Value) -> &str {
    answer["error"]["type"].as_str().unwrap_or_default()
}

fn version(id: i32, sql: &str) -> Value {
    json!({
        "version-id": id, "schema-id": 0, "timestamp-ms": 1_767_225_600_000_i64 + i64::from(id),
        "summary": { "engine-name": "test" }, "default-namespace": ["shape"],
        "representations": [{ "type": "sql", "sql": sql, "dialect": "spark" }],
    })
}

async fn made(stack: &Stack, name: &str) -> (u16, Value) {
    stack.post("/v1/namespaces", &json!({ "namespace": ["shape"] })).await;
    let mut schema = schema();
    schema["schema-id"] = json!(0);
    let body = json!({
        "name": name, "schema": schema, "view-version": version(1, "SELECT 1 AS id"), "properties": { "owner": "test" },
    });
    stack.post(VIEWS, &body).await
}

#[tokio::test]
async fn a_view_is_made_listed_loaded_replaced_renamed_and_dropped() {
    let stack = Stack::start().await;
    let (status, made_view) = made(&stack, "recent").await;
    assert_eq!(status, 200, "{made_view}");
    assert!(stack.has_file(made_view["metadata-location"].as_str().unwrap()).await);
    let path = format!("{VIEWS}/recent");
    let (_, loaded) = stack.get(&path).await;
    assert_eq!(loaded["metadata"], made_view["metadata"]);
    assert_eq!(loaded["metadata"]["versions"][0]["representations"][0]["sql"], "SELECT 1 AS id");
    assert_eq!(loaded["metadata"]["properties"]["owner"], "test");

    let change = |uuid: &Value| {
        json!({
            "requirements": [{ "type": "assert-view-uuid", "uuid": uuid }],
            "updates": [
                { "action": "add-view-version", "view-version": version(2, "SELECT 2 AS id") },
                { "action": "set-current-view-version", "view-version-id": -1 },
                { "action": "set-properties", "updates": { "owner": "somebody" } },
            ],
        })
    };
    let (status, replaced) = stack.post(&path, &change(&loaded["metadata"]["view-uuid"])).await;
    assert_eq!((status, &replaced["metadata"]["current-version-id"]), (200, &json!(2)), "{replaced}");
    assert_eq!(replaced["metadata"]["versions"].as_array().unwrap().len(), 2);
    assert_eq!(by_version(&stack.get(&path).await.1), by_version(&replaced));
    let (status, answer) = stack.post(&path, &change(&json!("00000000-0000-0000-0000-000000000000"))).await;
    assert_eq!((status, kind(&answer)), (409, "CommitFailedException"));

    let identifier = |name: &str| json!({ "namespace": ["shape"], "name": name });
    let rename = json!({ "source": identifier("recent"), "destination": identifier("latest") });
    assert_eq!(stack.post("/v1/views/rename", &rename).await.0, 204);
    assert_eq!(stack.get(VIEWS).await.1["identifiers"], json!([identifier("latest")]));
    let (status, answer) = stack.get(&path).await;
    assert_eq!((status, kind(&answer)), (404, "NoSuchViewException"));
    assert_eq!(stack.http.head(stack.url(&format!("{VIEWS}/latest"))).send().await.unwrap().status(), 204);
    assert_eq!(stack.delete("/v1/namespaces/shape").await.0, 409);
    assert_eq!(stack.delete(&format!("{VIEWS}/latest")).await.0, 204);
    assert_eq!(stack.delete(&format!("{VIEWS}/latest")).await.0, 404);
    let again = json!({ "name": "again", "metadata-location": replaced["metadata-location"] });
    let (status, registered) = stack.post("/v1/namespaces/shape/register-view", &again).await;
    assert_eq!((status, by_version(&registered)), (200, by_version(&replaced)));
    assert_eq!(stack.post("/v1/namespaces/shape/register-view", &again).await.0, 409);
    assert_eq!(stack.delete(&format!("{VIEWS}/again")).await.0, 204);
    assert_eq!(stack.delete("/v1/namespaces/shape").await.0, 204);
}

/// The metadata of an answer; the order of the versions in it says nothing.
fn by_version(answer: &Value) -> Value {
    let mut metadata = answer["metadata"].clone();
    metadata["versions"].as_array_mut().unwrap().sort_by_key(|version| version["version-id"].as_i64());
    metadata
}

#[tokio::test]
async fn views_and_tables_share_their_names_and_neither_is_the_other() {
    let stack = Stack::start().await;
    stack.create_table("orders", json!({})).await;
    let (status, answer) = made(&stack, "orders").await;
    assert_eq!((status, kind(&answer)), (409, "AlreadyExistsException"));
    assert_eq!(made(&stack, "recent").await.0, 200);
    let table = json!({ "name": "recent", "schema": schema() });
    let (status, answer) = stack.post("/v1/namespaces/shape/tables", &table).await;
    assert_eq!((status, kind(&answer)), (409, "AlreadyExistsException"));
    assert_eq!(stack.get("/v1/namespaces/shape/tables/recent").await.0, 404);
    assert_eq!(stack.get(&format!("{VIEWS}/orders")).await.0, 404);
    assert_eq!(stack.delete("/v1/namespaces/shape/tables/recent").await.0, 404);
    let name = |name: &str| json!([{ "namespace": ["shape"], "name": name }]);
    assert_eq!(stack.get("/v1/namespaces/shape/tables").await.1["identifiers"], name("orders"));
    assert_eq!(stack.get(VIEWS).await.1["identifiers"], name("recent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_are_replaced_at_once_lose_no_version() {
    let stack = Stack::start().await;
    made(&stack, "recent").await;
    let changes = (2..12).map(|id| {
        let body = json!({ "requirements": [], "updates": [
            { "action": "add-view-version", "view-version": version(id, &format!("SELECT {id} AS id")) },
            { "action": "set-properties", "updates": { format!("p{id}"): "1" } },
        ] });
        let stack = &stack;
        async move { stack.post(&format!("{VIEWS}/recent"), &body).await }
    });
    for (status, answer) in futures::future::join_all(changes).await {
        assert_eq!(status, 200, "{answer}");
    }
    let (_, view) = stack.get(&format!("{VIEWS}/recent")).await;
    let properties = view["metadata"]["properties"].as_object().unwrap();
    assert_eq!((2..12).filter(|id| properties.contains_key(&format!("p{id}"))).count(), 10);
}
