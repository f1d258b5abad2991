//! Kafka behind TLS and SASL: every mechanism, from the worker's settings and from the connector's own.

use testkit::{certificates::Authority, free_port, own::OwnKafka};

use crate::rig::Rig;

fn jaas(module: &str, user: &str, password: &str) -> String {
    format!(
        "org.apache.kafka.common.security.{module}LoginModule required username=\"{user}\" password=\"{password}\";"
    )
}

/// A broker with a listener in the clear, for the test and the registry, and one that wants TLS and a name.
async fn broker(authority: &Authority, port: u16) -> OwnKafka {
    let issued = authority.issue("kafka.example", &["127.0.0.1"]);
    OwnKafka::start(|kafka| {
        let store = kafka.dir.join("broker.pem");
        std::fs::write(&store, format!("{}{}", issued.key, issued.certificate)).unwrap();
        let (plain, controller, store) = (kafka.port, kafka.controller_port, store.display());
        format!(
            "listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SECURE://127.0.0.1:{port}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_worker=\"worker-secret\";
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={store}
"
        )
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_writes_through_tls_and_sasl() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority");
    let port = free_port();
    let kafka = broker(&authority, port).await;
    // Kafka takes one credential of a user in a request.
    for credential in ["SCRAM-SHA-256=[password=relay-secret]", "SCRAM-SHA-512=[password=relay-secret]"] {
        let server = kafka.server.bootstrap.as_str();
        let user = ["--entity-type", "users", "--entity-name", "relay"];
        let alter = ["--bootstrap-server", server, "--alter", "--add-config", credential];
        kafka.tool("kafka.admin.ConfigCommand", &[&alter[..], &user[..]].concat()).await;
    }
    let root = folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    let rig = Rig::start_on(
        &kafka.server,
        testkit::postgres().await,
        &[
            ("KAFKA_BOOTSTRAP_SERVERS", &format!("127.0.0.1:{port}")),
            ("CONNECT_SECURITY_PROTOCOL", "SASL_SSL"),
            ("CONNECT_SASL_MECHANISM", "PLAIN"),
            ("CONNECT_SASL_JAAS_CONFIG", &jaas("plain.Plain", "worker", "worker-secret")),
            ("CONNECT_SSL_TRUSTSTORE_LOCATION", &root.display().to_string()),
            ("CONNECT_SSL_TRUSTSTORE_TYPE", "PEM"),
        ],
    )
    .await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    rig.connect(&[]).await;
    rig.wait_for_records("t", 1).await;
    let scram = jaas("scram.Scram", "relay", "relay-secret");
    let token = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                 unsecuredLoginStringClaim_sub=\"relay\";";
    for (row, mechanism, jaas) in
        [(2, "SCRAM-SHA-256", scram.as_str()), (3, "SCRAM-SHA-512", scram.as_str()), (4, "OAUTHBEARER", token)]
    {
        rig.connect(&[("producer.override.sasl.mechanism", mechanism), ("producer.override.sasl.jaas.config", jaas)])
            .await;
        rig.sql.batch_execute(&format!("INSERT INTO t VALUES ({row}, 'x')")).await.unwrap();
        rig.wait_for_records("t", row).await;
    }
    // A name that the broker does not know is waited with, not told around.
    rig.connect(&[("producer.override.security.protocol", "SSLL")]).await;
    let trace = rig.failure().await;
    assert!(trace.contains("security.protocol") && !trace.contains("secret"), "{trace}");
    assert!(!rig.relay_says("worker-secret") && !rig.relay_says("relay-secret"));
    rig.clean().await;
}
