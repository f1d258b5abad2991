//! TLS to Postgres: every mode against a server that takes nothing else, or nothing of the kind.

use std::path::Path;

use testkit::{
    certificates::{Authority, KEY_PASSWORD},
    own::{OwnPostgres, for_postgres},
};

use crate::rig::Rig;

/// A server with a certificate for 127.0.0.1; `hba` are its access rules.
async fn server(authority: &Authority, hba: &str) -> OwnPostgres {
    let issued = authority.issue("postgres.example", &["127.0.0.1"]);
    let root = authority.pem();
    let hba = hba.to_owned();
    let settings =
        ["ssl = on", "ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'", "ssl_ca_file = 'root.crt'"];
    OwnPostgres::start(&settings, move |data| {
        let files = [
            ("server.crt", &issued.certificate),
            ("server.key", &issued.key),
            ("root.crt", &root),
            ("pg_hba.conf", &hba),
        ];
        for (name, text) in files {
            std::fs::write(data.join(name), text).unwrap();
            for_postgres(&data.join(name));
        }
    })
    .await
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

async fn encrypted(rig: &Rig) -> Vec<bool> {
    let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'cdc-relay%'";
    let rows = rig.sql.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_streams_in_tls_and_checks_what_its_mode_says() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    // The test itself talks in the clear; the relay's role must encrypt, and the other one needs a certificate too.
    let hba = "host all postgres all scram-sha-256\nhostssl all capture all scram-sha-256\n\
               hostssl all certified all cert\n";
    let server = server(&authority, hba).await;
    let rig = Rig::start_on(testkit::kafka().await, &server.server, &[]).await;
    rig.sql
        .batch_execute(
            "CREATE ROLE capture LOGIN REPLICATION PASSWORD 'hunter22'; CREATE ROLE certified LOGIN REPLICATION; \
             CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); \
             GRANT SELECT ON t TO capture, certified; CREATE PUBLICATION everything FOR ALL TABLES",
        )
        .await
        .unwrap();
    let root = written(folder.path(), "root.crt", &authority.pem());
    let other = written(folder.path(), "other.crt", &stranger.pem());
    let user = [("database.user", "capture"), ("database.password", "hunter22")];
    let refused = async |more: &[(&str, &str)], expected: &str| {
        let why = rig.refusal(&[&user, more].concat()).await;
        assert!(why.contains(expected) && !why.contains("hunter22"), "{why}");
    };
    refused(&[("database.sslmode", "disable")], "no encryption").await;
    refused(&[("database.sslmode", "verify-ca"), ("database.sslrootcert", &other)], "certificate is not accepted")
        .await;
    refused(&[("database.sslmode", "verify-ca"), ("database.sslrootcert", "/nowhere.crt")], "/nowhere.crt").await;
    refused(
        &[("database.sslmode", "verify-full"), ("database.sslrootcert", &root), ("database.hostname", "localhost")],
        "certificate is not accepted",
    )
    .await;

    let mut inserted = 1;
    for more in [
        &[("database.sslmode", "verify-full"), ("database.sslrootcert", root.as_str())][..],
        &[("database.sslmode", "verify-ca"), ("database.sslrootcert", &root), ("database.hostname", "localhost")],
        // Nothing is checked.
        &[("database.sslmode", "require"), ("database.sslrootcert", &other)],
        &[("database.sslmode", "prefer")],
        &[("database.sslmode", "allow")],
    ] {
        rig.connect(&[&user, more].concat()).await;
        inserted += 1;
        rig.sql.batch_execute(&format!("INSERT INTO t VALUES ({inserted}, 'x')")).await.unwrap();
        rig.wait_for_records("t", inserted).await;
        let connections = encrypted(&rig).await;
        assert!(connections.len() >= 2 && connections.iter().all(|ssl| *ssl), "{more:?}: {connections:?}");
    }

    let client = authority.issue("certified", &[]);
    let certificate = written(folder.path(), "client.crt", &client.certificate);
    for (name, key) in [("client.key", &client.key), ("client-encrypted.key", &client.encrypted_key)] {
        let key = written(folder.path(), name, key);
        rig.connect(&[
            ("database.user", "certified"),
            ("database.sslmode", "verify-full"),
            ("database.sslrootcert", &root),
            ("database.sslcert", &certificate),
            ("database.sslkey", &key),
            ("database.sslpassword", KEY_PASSWORD),
        ])
        .await;
        inserted += 1;
        rig.sql.batch_execute(&format!("INSERT INTO t VALUES ({inserted}, 'x')")).await.unwrap();
        rig.wait_for_records("t", inserted).await;
    }
    rig.clean().await;
}
