//! Models over real servers, and on other engines: they are plain SQL, which DuckDB runs as it is.

use std::path::PathBuf;

use model::{cell::Cell, envelope::Op};
use objects::Metadata;
use serde_json::json;

use crate::{
    killed::COLUMNS,
    rig::{Rig, readers_python},
    topic::Topic,
};

const STATES: &str = "/* ---
keys: [id]
columns: {status: {tests: [{accepted_values: [pending]}]}}
--- */
SELECT o.id AS id, o.status AS status FROM shape.orders AS o";

async fn write(rig: &Rig, topic: &mut Topic, id: &str, status: &str) {
    let row = [Cell::Text(id.as_bytes()), Cell::Text(status.as_bytes()), Cell::Null, Cell::Null];
    topic.event(0, Op::Update, None, Some(&row));
    for (key, object) in topic.flush(1) {
        rig.raw.put_if_absent(&key, object, Metadata::new()).await.unwrap();
    }
    rig.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dirty_row_is_caught_and_nothing_bad_is_ever_visible() {
    let models = tempfile::tempdir().unwrap();
    std::fs::create_dir(models.path().join("serve")).unwrap();
    std::fs::write(models.path().join("serve/states.sql"), STATES).unwrap();
    let folder = models.path().display().to_string();
    let rig = Rig::start_with(&[("LAKE_MODELS_DIR", &folder)]).await;
    let _lake = rig.lake().await;
    let mut topic = Topic::new("orders", &COLUMNS);
    write(&rig, &mut topic, "1", "pending").await;
    let states = "SELECT id, status FROM serve.states ORDER BY id";
    assert_eq!(rig.sql(states).await.unwrap(), json!([[1, "pending"]]));
    write(&rig, &mut topic, "2", "odd").await;
    assert_eq!(rig.sql(states).await.unwrap(), json!([[1, "pending"]]), "the rows before stand");
    let problems = rig.status().await["problems"].clone();
    assert!(problems.to_string().contains("accepted_values(status)"), "{problems}");
    assert_eq!(
        rig.sql("SELECT model, test, \"row\" FROM serve._rejected").await.unwrap(),
        json!([["serve.states", "accepted_values(status)", r#"{"id":2,"status":"odd"}"#]])
    );
    write(&rig, &mut topic, "2", "pending").await;
    assert_eq!(rig.sql(states).await.unwrap(), json!([[1, "pending"], [2, "pending"]]));
    assert_eq!(rig.status().await["problems"], json!([]));
    assert_eq!(rig.command(&["plan", "--json"], &[])[0]["action"], "none");
    let tests = rig.command(&["test", "--json"], &[]);
    assert!(tests.as_array().unwrap().iter().all(|test| test["result"] == "passed"), "{tests}");
}

#[test]
fn duckdb_finds_the_same_rows_in_every_model() {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let output = std::process::Command::new(readers_python(&tests.join("readers")))
        .arg(tests.join("models/engines.py"))
        .arg("duckdb")
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("10 checks, 0 differ"), "{text}");
}
