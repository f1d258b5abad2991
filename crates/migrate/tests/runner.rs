//! The runner on real Postgres.

use migrate::{MigrateError, Placeholders, Report, run, validate};

use crate::{database, folder, placeholders, storefront, storefront_placeholders, texts};

fn ran(report: &Report) -> Vec<&str> {
    report.applied.iter().map(|applied| applied.script.as_str()).collect()
}

#[tokio::test]
async fn the_storefront_is_made_once_and_a_second_run_has_nothing_to_do() {
    let (_, mut client) = database().await;
    let placeholders = storefront_placeholders();
    assert_eq!(validate(&client, &storefront()).await.unwrap().pending.len(), 2);

    let report = run(&mut client, &storefront(), &placeholders).await.unwrap();
    assert_eq!(ran(&report), ["V1__create_storefront_schema.sql", "V2__create_debezium_user.sql"]);
    assert_eq!(report.schema_version.unwrap().to_string(), "2");

    let again = run(&mut client, &storefront(), &Placeholders::new()).await.unwrap();
    assert!(again.applied.is_empty() && again.pending.is_empty());
    assert_eq!(again.schema_version.unwrap().to_string(), "2");
    assert!(validate(&client, &storefront()).await.unwrap().pending.is_empty());
}

#[tokio::test]
async fn the_debezium_user_can_replicate_and_read_present_and_future_tables() {
    let (name, mut client) = database().await;
    let placeholders = storefront_placeholders();
    run(&mut client, &storefront(), &placeholders).await.unwrap();
    client.batch_execute("CREATE TABLE later (id int PRIMARY KEY)").await.unwrap();

    let user = &placeholders["debezium_user"];
    let rights = client
        .query_one(
            "SELECT rolreplication AND rolcanlogin
                AND has_database_privilege(rolname, current_database(), 'CONNECT')
                AND has_database_privilege(rolname, current_database(), 'CREATE')
                AND has_schema_privilege(rolname, 'public', 'USAGE')
                AND has_table_privilege(rolname, 'orders', 'SELECT')
                AND has_table_privilege(rolname, 'later', 'SELECT')
                AND NOT has_table_privilege(rolname, 'later', 'INSERT')
             FROM pg_roles WHERE rolname = $1",
            &[user],
        )
        .await
        .unwrap();
    assert!(rights.get::<_, bool>(0));
    assert_eq!(
        texts(&client, "SELECT pubname::text FROM pg_publication WHERE puballtables").await,
        ["storefront_publication"]
    );

    let server = testkit::postgres().await;
    let mut login = tokio_postgres::Config::new();
    login.host(&server.host).port(server.port).user(user).password(&placeholders["debezium_password"]).dbname(&name);
    let (login, connection) = login.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(login.query_one("SELECT count(*) FROM later", &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn databases_of_one_cluster_are_migrated_at_once_with_one_role() {
    let placeholders = storefront_placeholders();
    let runs = (0..4).map(|_| {
        let placeholders = placeholders.clone();
        tokio::spawn(async move {
            let (_, mut client) = database().await;
            run(&mut client, &storefront(), &placeholders).await.unwrap().applied.len()
        })
    });
    for run in runs.collect::<Vec<_>>() {
        assert_eq!(run.await.unwrap(), 2);
    }
}

#[tokio::test]
async fn two_runners_on_one_database_run_each_migration_once() {
    let (name, _) = database().await;
    let dir = folder(&[("V1__a.sql", "CREATE TABLE a (); SELECT pg_sleep(0.3);"), ("V2__b.sql", "CREATE TABLE b ();")]);
    let runs = (0..3).map(|_| {
        let (name, dir) = (name.clone(), dir.path().to_owned());
        tokio::spawn(async move {
            let mut client = testkit::postgres().await.connect(&name).await;
            run(&mut client, &dir, &Placeholders::new()).await.unwrap().applied.len()
        })
    });
    let mut applied = 0;
    for run in runs.collect::<Vec<_>>() {
        applied += run.await.unwrap();
    }
    assert_eq!(applied, 2);
}

#[tokio::test]
async fn an_edited_file_is_refused_by_name_and_nothing_runs() {
    let (_, mut client) = database().await;
    let dir = folder(&[("V1__a.sql", "CREATE TABLE a ();")]);
    run(&mut client, dir.path(), &Placeholders::new()).await.unwrap();
    std::fs::write(dir.path().join("V1__a.sql"), "CREATE TABLE a (id int);").unwrap();
    std::fs::write(dir.path().join("V2__b.sql"), "CREATE TABLE b ();").unwrap();

    for error in [
        run(&mut client, dir.path(), &Placeholders::new()).await.unwrap_err(),
        validate(&client, dir.path()).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("V1__a.sql was edited after it ran"), "{text}");
    }
    assert_eq!(texts(&client, "SELECT to_regclass('b')::text WHERE to_regclass('b') IS NOT NULL").await, [""; 0]);
}

#[tokio::test]
async fn a_failing_script_leaves_nothing_and_says_its_line() {
    let (_, mut client) = database().await;
    let dir = folder(&[
        ("V1__a.sql", "CREATE TABLE a ();"),
        ("V2__b.sql", "CREATE TABLE b ();\n\nINSERT INTO nowhere VALUES (1);\n"),
    ]);
    let error = run(&mut client, dir.path(), &Placeholders::new()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "V2__b.sql failed at line 3: relation \"nowhere\" does not exist [42P01]. \
         Nothing of it was kept: correct the file and run again"
    );
    assert_eq!(texts(&client, "SELECT script FROM flyway_schema_history").await, ["V1__a.sql"]);

    std::fs::write(dir.path().join("V2__b.sql"), "CREATE TABLE b ();").unwrap();
    assert_eq!(ran(&run(&mut client, dir.path(), &Placeholders::new()).await.unwrap()), ["V2__b.sql"]);
}

#[tokio::test]
async fn a_missing_placeholder_is_named_before_anything_runs() {
    let (_, mut client) = database().await;
    let dir = folder(&[("V1__a.sql", "CREATE TABLE a ();"), ("V2__b.sql", "--\nSELECT '${who}';")]);
    let error = run(&mut client, dir.path(), &Placeholders::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "V2__b.sql: no value for placeholder ${who} on line 2");
    assert!(texts(&client, "SELECT script FROM flyway_schema_history").await.is_empty());
}

#[tokio::test]
async fn a_password_in_a_broken_script_stays_out_of_the_error() {
    let (_, mut client) = database().await;
    let dir = folder(&[("V1__a.sql", "ALTER ROLE x ${db_password};")]);
    let error =
        run(&mut client, dir.path(), &placeholders(&[("db_password", "hunter2")])).await.unwrap_err().to_string();
    assert!(error.contains("****") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn what_a_script_sets_for_its_session_does_not_reach_the_next() {
    let (_, mut client) = database().await;
    let dir = folder(&[
        ("V1__a.sql", "CREATE SCHEMA other; SET search_path = other; CREATE TABLE a (); SET ROLE pg_read_all_data;"),
        ("V2__b.sql", "CREATE TABLE b ();"),
    ]);
    run(&mut client, dir.path(), &Placeholders::new()).await.unwrap();
    assert_eq!(
        texts(
            &client,
            "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname IN ('a', 'b') ORDER BY relname"
        )
        .await,
        ["other", "public"]
    );
    assert_eq!(texts(&client, "SELECT DISTINCT installed_by FROM flyway_schema_history").await, ["postgres"]);
}

#[tokio::test]
async fn a_failed_row_of_flyway_stops_the_run() {
    let (_, mut client) = database().await;
    let dir = folder(&[("V1__a.sql", "CREATE TABLE a ();")]);
    run(&mut client, dir.path(), &Placeholders::new()).await.unwrap();
    client.batch_execute("UPDATE flyway_schema_history SET success = false").await.unwrap();
    let error = run(&mut client, dir.path(), &Placeholders::new()).await.unwrap_err();
    assert!(matches!(error, MigrateError::Contradiction(_)));
    assert!(error.to_string().contains("installed_rank = 1"), "{error}");
}
