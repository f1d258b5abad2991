//! Slots that cannot be gone on with, and refusals a person must act on.

use testkit::wait_until;

use crate::rig::{LONG, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn dbz_5739_a_slot_made_anew_is_a_definite_error_that_names_the_cure() {
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    rig.connect(&[]).await;
    rig.wait_for_records("t", 1).await;
    rig.wait_until_drained().await;
    rig.relay.kill().await;
    let slot = rig.slot.clone();
    wait_until("the slot is dropped", LONG, async || {
        rig.sql.simple_query(&format!("SELECT pg_drop_replication_slot('{slot}')")).await.is_ok()
    })
    .await;
    rig.sql.batch_execute("INSERT INTO t VALUES (2, 'lost')").await.unwrap();
    rig.kill_and_restart().await;
    let trace = rig.failure().await;
    assert!(trace.contains("does not exist any more") && trace.contains("delete its offsets"), "{trace}");

    let make = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    rig.sql.batch_execute(&make).await.unwrap();
    rig.kill_and_restart().await;
    wait_until("the new slot is refused", LONG, async || {
        rig.task_state()
            .await
            .is_some_and(|(state, trace)| state == "FAILED" && trace.contains("beyond the stored position"))
    })
    .await;

    rig.connect(&[("snapshot.mode", "when_needed")]).await;
    let records = rig.wait_for_records("t", 3).await;
    assert_eq!(records.len(), 3, "one row before, both rows in the new snapshot");
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_not_shown() {
    let rig = Rig::start().await;
    rig.sql.batch_execute(&format!("CREATE ROLE {0} LOGIN PASSWORD 'right'", rig.slot)).await.unwrap();
    let told = rig.refusal(&[("database.user", &rig.slot), ("database.password", "wrong-hunter2")]).await;
    // A server that trusts loopback lets the password pass; then the missing privilege fails the task.
    assert!(told.contains("Postgres at") || told.contains("Error while validating connector config"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    rig.clean().await;
}
