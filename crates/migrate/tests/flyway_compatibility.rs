//! Ours and real Flyway take over from each other, in both directions.

use std::path::Path;

use migrate::{Placeholders, run};
use tokio_postgres::Client;

use crate::{database, flyway, folder, placeholders, storefront, storefront_placeholders, texts};

/// File names and contents on which implementations may differ.
const ODD_FILES: [(&str, &str); 5] = [
    ("V01__leading_zero.sql", "\u{feff}-- byte order mark, ä and 🚀\nCREATE TABLE a ();\n"),
    ("V1.10__carriage__returns.sql", "CREATE TABLE b ();\r\n\r\n-- no newline at the end"),
    ("V1_9__under_score.sql", "CREATE TABLE c ();\rCREATE TABLE d ();\r"),
    ("V2.0__Placeholder.sql", "-- ${Word}\nCREATE TABLE ${word} ();\n\n\n"),
    ("V20260131120000__time.sql", "DO $$ BEGIN PERFORM 1; END $$;\n"),
];

async fn run_flyway(database: &str, dir: &Path, placeholders: &Placeholders) -> String {
    let server = testkit::postgres().await;
    let (database, dir, placeholders) = (database.to_owned(), dir.to_owned(), placeholders.clone());
    tokio::task::spawn_blocking(move || flyway::migrate(&database, &dir, &placeholders, server)).await.unwrap()
}

/// Everything of the history but the times.
async fn history(client: &Client) -> Vec<String> {
    texts(
        client,
        "SELECT concat_ws('|', installed_rank, version, description, type, script, checksum, installed_by, success)
         FROM flyway_schema_history ORDER BY installed_rank",
    )
    .await
}

/// Columns, constraints and indexes of everything in schema public.
async fn catalog(client: &Client) -> Vec<String> {
    texts(
        client,
        "SELECT concat_ws('|', table_name, ordinal_position, column_name, data_type, character_maximum_length,
                          numeric_precision, numeric_scale, is_nullable, column_default)
         FROM information_schema.columns WHERE table_schema = 'public'
         UNION ALL
         SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
         UNION ALL
         SELECT concat_ws('|', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace
         ORDER BY 1",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn flyway_after_ours_and_ours_after_flyway_find_nothing_to_do_in_the_storefront() {
    let placeholders = storefront_placeholders();
    let (ours_name, mut ours) = database().await;
    run(&mut ours, &storefront(), &placeholders).await.unwrap();
    let (theirs_name, mut theirs) = database().await;
    let first = run_flyway(&theirs_name, &storefront(), &placeholders).await;
    assert!(first.contains("Successfully applied 2 migrations"), "{first}");

    assert_eq!(history(&ours).await, history(&theirs).await);
    assert_eq!(catalog(&ours).await, catalog(&theirs).await);

    let after_ours = run_flyway(&ours_name, &storefront(), &placeholders).await;
    assert!(after_ours.contains("is up to date. No migration necessary"), "{after_ours}");
    let after_theirs = run(&mut theirs, &storefront(), &placeholders).await.unwrap();
    assert!(after_theirs.applied.is_empty() && after_theirs.pending.is_empty());
}

/// Roles belong to the whole cluster: only a role that nobody made before shows what Flyway makes of the placeholders.
#[tokio::test(flavor = "multi_thread")]
async fn the_replication_user_that_flyway_makes_can_log_in() {
    let placeholders = storefront_placeholders();
    let (name, _client) = database().await;
    run_flyway(&name, &storefront(), &placeholders).await;

    let server = testkit::postgres().await;
    let value = |name: &str| placeholders.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    let mut config = tokio_postgres::Config::new();
    config.host(&server.host).port(server.port).dbname(&name);
    config.user(value("debezium_user")).password(value("debezium_password"));
    let (_client, _connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_line_endings_and_placeholders_mean_the_same_to_both() {
    let dir = folder(&ODD_FILES);
    let placeholders = placeholders(&[("word", "stork")]);
    let (_, mut ours) = database().await;
    run(&mut ours, dir.path(), &placeholders).await.unwrap();
    let (name, mut theirs) = database().await;
    run_flyway(&name, dir.path(), &placeholders).await;

    assert_eq!(history(&ours).await, history(&theirs).await);
    assert_eq!(catalog(&ours).await, catalog(&theirs).await);
    assert!(run(&mut theirs, dir.path(), &placeholders).await.unwrap().applied.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn flyway_waits_for_our_lock() {
    let dir = folder(&[("V1__slow.sql", "CREATE TABLE a (); SELECT pg_sleep(600);")]);
    let (name, mut client) = database().await;
    let runner = {
        let dir = dir.path().to_owned();
        tokio::spawn(async move { run(&mut client, &dir, &Placeholders::new()).await })
    };
    let server = testkit::postgres().await;
    let watcher = server.connect(&name).await;
    let at_work = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
    testkit::wait_until("our script runs", std::time::Duration::from_secs(10), async || {
        !texts(&watcher, at_work).await.is_empty()
    })
    .await;

    let path = dir.path().to_owned();
    let (succeeded, output) = tokio::task::spawn_blocking(move || {
        flyway::try_migrate(&name, &path, &Placeholders::new(), server, &["-lockRetryCount=1"])
    })
    .await
    .unwrap();
    assert!(
        !succeeded
            && output.contains("Number of retries exceeded while attempting to acquire PostgreSQL advisory lock"),
        "{output}"
    );

    watcher.batch_execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND datname = current_database() AND pid <> pg_backend_pid()").await.unwrap();
    let error = runner.await.unwrap().unwrap_err().to_string();
    assert!(error.starts_with("V1__slow.sql failed: canceling statement"), "{error}");
}
