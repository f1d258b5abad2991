//! Requests that are made again: loads of what did not change, commits whose answer was lost.

use reqwest::header::{ETAG, IF_NONE_MATCH};
use serde_json::{Value, json};

use crate::stack::Stack;

const TABLE: &str = "/v1/namespaces/shape/tables/t";

fn change(name: &str) -> Value {
    json!({ "requirements": [], "updates": [{ "action": "set-properties", "updates": { name: "1" } }] })
}

async fn keyed(stack: &Stack, path: &str, key: &str, body: &Value) -> (u16, Value) {
    let request = stack.http.post(stack.url(path)).header("Idempotency-Key", key).json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_table_is_sent_again_only_when_it_changed() {
    let stack = Stack::start().await;
    stack.create_table("t", json!({})).await;
    let loaded = stack.http.get(stack.url(TABLE)).send().await.unwrap();
    let tag = loaded.headers()[ETAG].clone();
    let again = async |tags: &str| {
        let request = stack.http.get(stack.url(TABLE)).header(IF_NONE_MATCH, tags);
        request.send().await.unwrap()
    };
    let known = again(&format!("\"other\", W/{}", tag.to_str().unwrap())).await;
    assert_eq!((known.status().as_u16(), &known.headers()[ETAG]), (304, &tag));
    assert!(known.bytes().await.unwrap().is_empty());
    assert_eq!(again("\"other\"").await.status(), 200);
    let committed = stack.http.post(stack.url(TABLE)).json(&change("a")).send().await.unwrap();
    let newer = committed.headers()[ETAG].clone();
    assert_ne!(newer, tag);
    let now = again(tag.to_str().unwrap()).await;
    assert_eq!((now.status().as_u16(), &now.headers()[ETAG]), (200, &newer));
}

#[tokio::test]
async fn a_commit_that_is_sent_again_under_its_key_happens_once() {
    let stack = Stack::start().await;
    let table = stack.create_table("t", json!({})).await;
    // A commit that cannot happen twice.
    let once = json!({
        "requirements": [{ "type": "assert-last-assigned-field-id", "last-assigned-field-id": 1 }],
        "updates": [
            { "action": "add-schema", "last-column-id": 2, "schema": { "type": "struct", "fields": [
                { "id": 1, "name": "id", "type": "long", "required": true },
                { "id": 2, "name": "note", "type": "string", "required": false }] } },
            { "action": "set-current-schema", "schema-id": -1 },
        ],
    });
    let key = "0199f0d5-a1b7-7c3c-8f4f-6c1d2e3a4b5c";
    let (status, first) = keyed(&stack, TABLE, key, &once).await;
    assert_eq!(status, 200, "{first}");
    assert_ne!(first["metadata-location"], table["metadata-location"]);
    assert_eq!(keyed(&stack, TABLE, key, &once).await, (200, first.clone()));
    // Without the key it is a new commit, and refused.
    assert_eq!(stack.post(TABLE, &once).await.0, 409);
    assert_eq!(stack.post(TABLE, &change("later")).await.0, 200);
    let (status, later) = keyed(&stack, TABLE, key, &once).await;
    assert_eq!((status, &later["metadata"]["properties"]["later"]), (200, &json!("1")));

    let (status, answer) = keyed(&stack, TABLE, key, &change("other")).await;
    assert_eq!((status, &answer["error"]["type"]), (422, &json!("UnprocessableEntityException")));
    assert_eq!(keyed(&stack, TABLE, "none", &change("other")).await.0, 400);
    assert!(stack.load("t").await["metadata"]["properties"].get("other").is_none());
    assert_eq!(stack.get("/v1/config").await.1["idempotency-key-lifetime"], "PT24H");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_used_at_once_makes_one_commit_and_a_refused_one_may_be_mended() {
    let stack = Stack::start().await;
    stack.create_table("t", json!({})).await;
    let key = "0199f0d5-a1b7-7c3c-8f4f-6c1d2e3a4b5d";
    let several = json!({ "table-changes": [{
        "identifier": { "namespace": ["shape"], "name": "t" }, "requirements": [],
        "updates": [{ "action": "set-properties", "updates": { "a": "b" } }],
    }] });
    let requests = (0..8).map(|_| keyed(&stack, "/v1/transactions/commit", key, &several));
    for (status, answer) in futures::future::join_all(requests).await {
        assert_eq!(status, 204, "{answer}");
    }
    let metadata = stack.load("t").await["metadata"].clone();
    assert_eq!(metadata["metadata-log"].as_array().map_or(0, Vec::len), 1, "{metadata}");

    // What was refused left no receipt.
    let key = "0199f0d5-a1b7-7c3c-8f4f-6c1d2e3a4b5e";
    let mut refused = change("c");
    refused["requirements"] = json!([{ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 7 }]);
    assert_eq!(keyed(&stack, TABLE, key, &refused).await.0, 409);
    assert_eq!(keyed(&stack, TABLE, key, &refused).await.0, 409);
    assert_eq!(keyed(&stack, TABLE, key, &change("c")).await.0, 200);
}
