//! A migrated database, a running seeder, and the questions that every test asks.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use testkit::Binary;
use tokio_postgres::Client;

/// A seeder on a database of its own.
pub(crate) struct Shop {
    pub(crate) seeder: Binary,
    pub(crate) client: Client,
    pub(crate) url: String,
    http: reqwest::Client,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let server = testkit::postgres().await;
        let name = testkit::fresh_database().await;
        let mut client = server.connect(&name).await;
        let role = testkit::fresh_name("debezium");
        let placeholders = [
            ("debezium_user", role.as_str()),
            ("debezium_password", "debezium"),
            ("debezium_storefront_publication_name", "storefront_publication"),
        ];
        let placeholders = placeholders.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        migrate::run(&mut client, &migrations, &placeholders).await.unwrap();

        let port = testkit::free_port();
        let mut seeder = Binary::spawn(
            "seeder",
            &[
                ("HAUS_BIND", "127.0.0.1"),
                ("SEEDER_PORT", &port.to_string()),
                ("POSTGRES_HOST", &server.host),
                ("POSTGRES_PORT", &server.port.to_string()),
                ("POSTGRES_USER", &server.user),
                ("POSTGRES_PASSWORD", &server.password),
                ("STOREFRONT_DB", &name),
            ],
        );
        seeder.wait_port(port).await;
        Self { seeder, client, url: format!("http://127.0.0.1:{port}"), http: reqwest::Client::new() }
    }

    /// `POST`: status code and JSON body.
    pub(crate) async fn post(&self, path: &str) -> (u16, Value) {
        let answer =
            self.http.post(format!("{}{path}", self.url)).timeout(Duration::from_secs(120)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// `GET`: status code and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").await.1).unwrap()
    }

    /// One number.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        self.client.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Rows by table, as `/status` names the tables.
    pub(crate) async fn row_counts(&self) -> [(&'static str, i64); 5] {
        let mut counts = ["customers", "products", "orders", "order_items", "payments"].map(|table| (table, 0));
        for (table, count) in &mut counts {
            *count = self.number(&format!("SELECT count(*) FROM {table}")).await;
        }
        counts
    }

    /// What must hold in every committed state. Foreign keys, checks and unique emails are the database's own.
    pub(crate) async fn assert_whole(&self) {
        for (rule, query) in [
            ("an order's total is the sum of its items",
             "SELECT count(*) FROM orders o WHERE total IS DISTINCT FROM (SELECT sum(quantity * price_at_purchase) FROM order_items WHERE order_id = o.id)"),
            ("an order has one payment of its total",
             "SELECT count(*) FROM orders o WHERE ARRAY[total] IS DISTINCT FROM (SELECT array_agg(amount) FROM payments WHERE order_id = o.id)"),
            ("an order and its payment fit",
             "SELECT count(*) FROM orders o JOIN payments p ON p.order_id = o.id WHERE NOT CASE o.status
                WHEN 'pending' THEN p.status IN ('pending', 'paid') WHEN 'cancelled' THEN p.status = 'failed' ELSE p.status = 'paid' END"),
            ("what is paid has a time, and only that", "SELECT count(*) FROM payments WHERE (status = 'paid') <> (paid_at IS NOT NULL)"),
            ("stock never falls below zero", "SELECT count(*) FROM products WHERE stock_quantity < 0 OR price <= 0"),
            ("an order follows its customer", "SELECT count(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.created_at < c.created_at"),
            ("ids in use lie below the sequences",
             "SELECT count(*) FROM orders WHERE id > (SELECT last_value FROM orders_id_seq)"),
        ] {
            assert_eq!(self.number(query).await, 0, "{rule}");
        }
    }
}
