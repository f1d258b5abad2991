//! The role that captures needs what the shop's migration V2 gives it, and nothing more.

use crate::rig::Rig;

const V2: &str = include_str!("../../../migrations/V2__create_debezium_user.sql");

#[tokio::test(flavor = "multi_thread")]
async fn the_grants_of_v2_are_enough() {
    let rig = Rig::start().await;
    let role = testkit::fresh_name("capture");
    rig.sql
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a')")
        .await
        .unwrap();
    let script = V2
        .replace("${debezium_user}", &role)
        .replace("${debezium_password}", "hunter22")
        .replace("${debezium_storefront_publication_name}", "everything");
    rig.sql.batch_execute(&format!("BEGIN; {script}; COMMIT")).await.unwrap();
    rig.connect(&[
        ("database.user", &role),
        ("database.password", "hunter22"),
        ("skip.messages.without.change", "true"),
        ("column.exclude.list", "public.t.v"),
    ])
    .await;
    rig.wait_for_records("t", 1).await;
    rig.wait_until_streaming().await;
    // Only a column that is left out changes: nothing is written.
    rig.sql.batch_execute("UPDATE t SET v = 'b'; INSERT INTO t VALUES (2, 'c')").await.unwrap();
    let records = rig.wait_for_records("t", 2).await;
    rig.wait_until_drained().await;
    assert_eq!((records.len(), rig.records("t").await.len()), (2, 2));
    let progress = testkit::wait_until("the slot is watched with these rights", crate::rig::LONG, async || {
        let progress = rig.progress().await;
        progress["slot_wal_status"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(progress, "reserved");
    rig.clean().await;
    let _ = testkit::postgres().await.connect("postgres").await.batch_execute(&format!("DROP ROLE {role}")).await;
}
