//! A catalog that asks for a token: a lake with it works as ever, one without it or with another says what is wrong.

use std::process::Command;

use model::{cell::Cell, envelope::Op};
use objects::Metadata;
use serde_json::json;
use testkit::Binary;

use crate::{killed::COLUMNS, rig::Rig, topic::Topic};

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_asks_for_a_token_gets_it() {
    let rig = Rig::start_with(&[("CATALOG_TOKEN", "a-token-of-ours")]).await;
    let _lake = rig.lake().await;
    let mut topic = Topic::new("orders", &COLUMNS);
    topic.event(0, Op::Create, None, Some(&[Cell::Text(b"1"), Cell::Text(b"paid"), Cell::Null, Cell::Null]));
    for (key, object) in topic.flush(0) {
        rig.raw.put_if_absent(&key, object, Metadata::new()).await.unwrap();
    }
    rig.run().await.unwrap();
    assert_eq!(rig.sql("SELECT id, status FROM shape.orders").await, Ok(json!([[1, "paid"]])));
    for token in ["", "a-token-of-theirs"] {
        let output = Command::new(Binary::path("lake"))
            .args(["sql", "SELECT 1 FROM shape.orders"])
            .envs(rig.env.iter().cloned())
            .env("CATALOG_TOKEN", token)
            .current_dir(std::env::temp_dir())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("401") && said.contains("CATALOG_TOKEN"), "{said}");
        assert!(!said.contains("a-token-of"), "{said}");
    }
}
