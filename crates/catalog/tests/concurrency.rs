//! Many at once: no change is lost, none happens twice.

use std::collections::BTreeSet;

use futures::future::join_all;
use iceberg::{
    NamespaceIdent, TableIdent,
    transaction::{ApplyTransactionAction as _, Transaction},
};
use serde_json::json;

use crate::{
    clients::{client, data_file},
    stack::{Stack, snapshot_commit},
};

const WRITERS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_writers_of_properties_lose_nothing() {
    let stack = Stack::start().await;
    stack.create_table("t", json!({})).await;
    let commits = (0..WRITERS).map(|writer| {
        let body = json!({ "requirements": [], "updates": [{ "action": "set-properties", "updates": { format!("writer-{writer}"): "1" } }] });
        let stack = &stack;
        async move { stack.post("/v1/namespaces/shape/tables/t", &body).await }
    });
    for (status, answer) in join_all(commits).await {
        assert_eq!(status, 200, "{answer}");
    }
    let properties = stack.load("t").await["metadata"]["properties"].as_object().unwrap().clone();
    assert_eq!(properties.keys().filter(|key| key.starts_with("writer-")).count(), WRITERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_writers_of_snapshots_lose_nothing() {
    let stack = Stack::start().await;
    stack.create_table("t", json!({})).await;
    let appends = (1..=WRITERS as i64).map(|id| {
        let stack = &stack;
        async move {
            // Each attempt carries the snapshot it saw; all but one of those that saw the same are refused.
            loop {
                let table = stack.load("t").await;
                let commit = snapshot_commit(&table["metadata"], id);
                match stack.post("/v1/namespaces/shape/tables/t", &commit).await {
                    (200, _) => return,
                    (409, _) => {}
                    (status, answer) => panic!("{status} {answer}"),
                }
            }
        }
    });
    join_all(appends).await;
    let table = stack.load("t").await;
    let snapshots = table["metadata"]["snapshots"].as_array().unwrap();
    let all: BTreeSet<_> = (1..=WRITERS as i64).collect();
    assert_eq!(
        snapshots.iter().map(|snapshot| snapshot["snapshot-id"].as_i64().unwrap()).collect::<BTreeSet<_>>(),
        all
    );
    assert_eq!(
        snapshots.iter().map(|snapshot| snapshot["sequence-number"].as_i64().unwrap()).collect::<BTreeSet<_>>(),
        all
    );
    assert_eq!(snapshots.len(), WRITERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_a_client_library_that_retries_lose_nothing() {
    const APPENDS: usize = 8;
    let stack = Stack::start().await;
    let patient = json!({ "commit.retry.num-retries": "1000", "commit.retry.min-wait-ms": "10", "commit.retry.max-wait-ms": "200" });
    stack.create_table("t", patient).await;
    let catalog = client(&stack).await;
    let ident = TableIdent::new(NamespaceIdent::new("shape".into()), "t".into());
    let appends = (0..APPENDS).map(|writer| {
        let (catalog, ident) = (catalog.clone(), ident.clone());
        tokio::spawn(async move {
            let table = catalog.load_table(&ident).await.unwrap();
            let append = Transaction::new(&table);
            let file = data_file(&format!("s3://lakehouse/{writer}"));
            let append = append.fast_append().add_data_files(vec![file]).apply(append).unwrap();
            append.commit(catalog.as_ref()).await.unwrap();
        })
    });
    for append in join_all(appends).await {
        append.unwrap();
    }
    let table = catalog.load_table(&ident).await.unwrap();
    assert_eq!(table.metadata().snapshots().count(), APPENDS);
    let summary = table.metadata().current_snapshot().unwrap().summary();
    assert_eq!(summary.additional_properties["total-data-files"], APPENDS.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_of_a_namespace_are_not_lost_either() {
    let stack = Stack::start().await;
    stack.post("/v1/namespaces", &json!({ "namespace": ["shape"] })).await;
    let changes = (0..24).map(|writer| {
        let body = json!({ "updates": { format!("p{writer}"): "1" }, "removals": ["never-there"] });
        let stack = &stack;
        async move { stack.post("/v1/namespaces/shape/properties", &body).await }
    });
    for (status, answer) in join_all(changes).await {
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["missing"], json!(["never-there"]));
    }
    let (_, namespace) = stack.get("/v1/namespaces/shape").await;
    assert_eq!(namespace["properties"].as_object().unwrap().len(), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_over_two_tables_happen_wholly_and_without_deadlock() {
    let stack = Stack::start().await;
    stack.create_table("a", json!({})).await;
    stack.create_table("b", json!({})).await;
    let commits = (0..20).map(|writer| {
        let change = |table: &str| {
            json!({ "identifier": { "namespace": ["shape"], "name": table }, "requirements": [],
                    "updates": [{ "action": "set-properties", "updates": { format!("w{writer}"): "1" } }] })
        };
        // Named in different orders.
        let changes = if writer % 2 == 0 { [change("a"), change("b")] } else { [change("b"), change("a")] };
        let stack = &stack;
        async move { stack.post("/v1/transactions/commit", &json!({ "table-changes": changes })).await }
    });
    for (status, answer) in join_all(commits).await {
        assert_eq!(status, 204, "{answer}");
    }
    for table in ["a", "b"] {
        assert_eq!(stack.load(table).await["metadata"]["properties"].as_object().unwrap().len(), 20);
    }
    // One requirement that does not hold stops both.
    let uuid = "00000000-0000-0000-0000-000000000000";
    let body = json!({ "table-changes": [
        { "identifier": { "namespace": ["shape"], "name": "a" }, "requirements": [],
          "updates": [{ "action": "set-properties", "updates": { "x": "1" } }] },
        { "identifier": { "namespace": ["shape"], "name": "b" }, "requirements": [{ "type": "assert-table-uuid", "uuid": uuid }],
          "updates": [{ "action": "set-properties", "updates": { "x": "1" } }] } ] });
    let (status, answer) = stack.post("/v1/transactions/commit", &body).await;
    assert_eq!((status, answer["error"]["type"].as_str()), (409, Some("CommitFailedException")));
    assert!(stack.load("a").await["metadata"]["properties"].get("x").is_none());
}
