//! A lake and a registry over HTTP, with the answers of the real ones and the content of a test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// What the lake holds. Rows are JSON arrays.
#[derive(Debug, Clone, Default)]
pub(crate) struct LakeContent {
    /// Row columns, then `_op`, `_txid`, `_partition`, `_offset`.
    pub(crate) stage: Vec<Vec<Value>>,
    pub(crate) shape: Vec<Vec<Value>>,
    pub(crate) stage_next: BTreeMap<String, i64>,
    pub(crate) shape_next: BTreeMap<String, i64>,
    /// Rows by mart.
    pub(crate) marts: BTreeMap<&'static str, Vec<Vec<Value>>>,
    /// Rows of the recomputation from shape, by mart.
    pub(crate) again: BTreeMap<&'static str, Vec<Vec<Value>>>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) topic: String,
    pub(crate) schema: String,
    pub(crate) content: LakeContent,
}

pub(crate) type SharedContent = Arc<Mutex<Shared>>;

/// Serves until the test ends; returns the URL.
pub(crate) async fn serve(content: SharedContent) -> String {
    let router = Router::new()
        .route("/status", get(status))
        .route("/sql", post(sql))
        .route("/schemas/ids/{id}", get(schema))
        .with_state(content);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn status(State(shared): State<SharedContent>) -> Json<Value> {
    let shared = shared.lock().unwrap();
    let table = |layer: &str, next: &BTreeMap<String, i64>| json!({"layer": layer, "table": "orders", "name": format!("{layer}.orders"), "snapshot_id": 1, "next_offsets": {&shared.topic: next}});
    Json(
        json!({"tables": [table("stage", &shared.content.stage_next), table("shape", &shared.content.shape_next)], "problems": []}),
    )
}

async fn sql(State(shared): State<SharedContent>, Json(query): Json<Value>) -> String {
    let shared = shared.lock().unwrap();
    let sql = query["sql"].as_str().unwrap();
    let content = &shared.content;
    let rows: Vec<Value> = if sql.contains("FROM stage.orders") {
        content.stage.iter().map(|row| json!(row)).collect()
    } else if let Some((mart, rows)) =
        content.marts.iter().find(|(mart, _)| sql.contains(&format!("FROM serve.{mart}")))
    {
        if sql.contains("UNION ALL") {
            let side = |number: i32, rows: &Vec<Vec<Value>>| -> Vec<Value> {
                rows.iter().map(|row| json!([&[json!(number)], row.as_slice()].concat())).collect()
            };
            [side(0, rows), side(1, &content.again.get(mart).cloned().unwrap_or_default())].concat()
        } else {
            rows.iter().map(|row| json!(row)).collect()
        }
    } else {
        content.shape.iter().map(|row| json!(row)).collect()
    };
    // The first line names the columns; only their number matters here.
    let columns = rows.first().and_then(Value::as_array).map_or(1, Vec::len);
    let head = json!(vec![json!({"name": "x", "type": "x"}); columns]);
    std::iter::once(head).chain(rows).map(|line| format!("{line}\n")).collect()
}

async fn schema(State(shared): State<SharedContent>, Path(_id): Path<u32>) -> Json<Value> {
    Json(json!({"schema": shared.lock().unwrap().schema}))
}
