//! Numbers of the lake against those of the source database, a real PostgreSQL with the shop's own schema.

use std::time::Duration;

use model::secret::Secret;
use testkit::wait_until;
use tokio_postgres::Client;

use super::{fixture::Lake, shop::Shop};
use crate::{
    error::LakeError,
    models::{checks::Rule, header::Reconcile},
    runner::{
        Runner,
        reconcile::{Finding, Patience, reconcile},
    },
};

const SCHEMA: &str = include_str!("../../../../migrations/V1__create_storefront_schema.sql");
/// The rows of [`Shop::open`].
const ROWS: &str = "
    INSERT INTO customers (id, full_name, email, country) VALUES (1, 'Ada', 'a', 'AT'), (2, 'Bo', 'b', NULL), (3, 'Cy', 'c', 'CH');
    INSERT INTO products (id, name, category, price, stock_quantity)
        VALUES (1, 'Desk', 'home', 10, 100), (2, 'Pen', 'office', 0.1, 3), (3, 'Lamp', NULL, 5, 0);
    INSERT INTO orders VALUES (1, 1, 'shipped', 30.30, '2024-05-05 23:59:59'), (2, 1, 'cancelled', 99, '2024-05-05 10:00:00'),
        (3, 2, 'pending', 0.10, '2024-05-06 00:00:00'), (4, 1, 'pending', NULL, '2024-06-01 01:00:00');
    INSERT INTO order_items VALUES (1, 1, 1, 3, 10.10), (2, 2, 1, 1, 99), (3, 3, 2, 1, 0.10), (4, 1, 2, 1, 0.01);
    INSERT INTO payments VALUES (1, 1, 'card', NULL, 30.31, 'paid'), (2, 3, 'cash', NULL, 0.10, 'pending'), (3, 2, 'card', NULL, 99, 'failed');";
const SHORT: Patience = Patience {
    of_all: Duration::from_millis(600),
    look_again: Duration::from_millis(20),
    stands_still: Duration::from_millis(300),
};
const LONG: Patience = Patience { of_all: Duration::from_secs(60), ..SHORT };

/// A source with the shop's rows, and a lake that holds the same.
struct Both {
    lake: Lake,
    shop: Shop,
    runner: Runner,
    source: Client,
    url: Secret,
}

impl Both {
    async fn new() -> Self {
        let (server, database) = (testkit::postgres().await, testkit::fresh_database().await);
        let source = server.connect(&database).await;
        source.batch_execute(SCHEMA).await.unwrap();
        source.batch_execute(ROWS).await.unwrap();
        let url = format!("postgres://{}:{}@{}:{}/{database}", server.user, server.password, server.host, server.port);
        let lake = Lake::new(100);
        let shop = Shop::open(&lake).await;
        let runner = lake.runner();
        assert!(runner.run().await.unwrap().is_whole());
        Self { lake, shop, runner, source, url: Secret::new(url) }
    }

    /// The test of this name in the repository's models.
    fn test(&self, name: &str) -> Reconcile {
        let rules = self.runner.models.iter().flat_map(|model| &model.checks).map(|check| &check.rule);
        let named = |rule: &Rule| match rule {
            Rule::Reconcile(test) if test.name == name => Some(test.clone()),
            _ => None,
        };
        rules.filter_map(named).next().unwrap()
    }

    async fn found(&self, test: &Reconcile, patience: Patience) -> Finding {
        reconcile(test, &self.lake.engine, Some(&self.url), patience).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_sums_are_the_sources_to_the_cent() {
    let both = Both::new().await;
    for (name, numbers) in [("all revenue", "3, 30.41"), ("all orders", "4, 129.40"), ("what was paid", "3, 30.31")] {
        assert_eq!(both.found(&both.test(name), SHORT).await, Finding::Holds(numbers.into()), "{name}");
    }
    both.source.batch_execute("UPDATE order_items SET price_at_purchase = 10.11 WHERE id = 1").await.unwrap();
    let differs = Finding::Fails("the lake has 3, 30.41, the source 3, 30.44".into());
    assert_eq!(both.found(&both.test("all revenue"), SHORT).await, differs);
    assert_eq!(both.found(&both.test("all orders"), SHORT).await, Finding::Holds("4, 129.40".into()));
    both.source.batch_execute("DELETE FROM payments WHERE id = 2").await.unwrap();
    let differs = Finding::Fails("the lake has 3, 30.31, the source 2, 30.31".into());
    assert_eq!(both.found(&both.test("what was paid"), SHORT).await, differs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_that_is_behind_is_waited_for() {
    let mut both = Both::new().await;
    both.source.batch_execute("UPDATE orders SET total = 0.11 WHERE id = 3").await.unwrap();
    let (test, url, engine) = (both.test("all orders"), both.url.clone(), both.lake.engine.clone());
    let looking = tokio::spawn(async move { reconcile(&test, &engine, Some(&url), LONG).await });
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%FROM orders%' AND pid <> pg_backend_pid()";
    wait_until("the source was asked", Duration::from_secs(30), async || {
        both.source.query_one(asked, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
    assert!(!looking.is_finished());
    both.shop.put("orders", "3|2|pending|0.11|2024-05-06 00:00:00");
    both.shop.pump(&both.lake).await;
    both.runner.run().await.unwrap();
    assert_eq!(looking.await.unwrap().unwrap(), Finding::Holds("4, 129.41".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_source_that_moves_on_nothing_can_be_said() {
    let both = Both::new().await;
    let test = both.test("all orders");
    let moves = async {
        loop {
            both.source.batch_execute("UPDATE orders SET total = total + 1 WHERE id = 1").await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let found = tokio::select! {
        found = both.found(&test, SHORT) => found,
        () = moves => unreachable!(),
    };
    let Finding::Open(text) = found else { panic!("{found:?}") };
    assert!(text.ends_with("; the source does not stand still"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said() {
    let both = Both::new().await;
    let test = both.test("all orders");
    for none in [None, Some(Secret::new(""))] {
        let open = reconcile(&test, &both.lake.engine, none.as_ref(), SHORT).await.unwrap();
        assert_eq!(open, Finding::Open("LAKE_SOURCE_URL is not set".into()));
    }
    let wrong = Reconcile { source: "SELECT count(*) FROM nothing".into(), ..test.clone() };
    let error = reconcile(&wrong, &both.lake.engine, Some(&both.url), SHORT).await.unwrap_err();
    assert!(matches!(&error, LakeError::Definite(text) if text.contains("\"nothing\" does not exist")), "{error}");
    let away = Secret::new(format!("postgres://x:hidden@127.0.0.1:{}/x", testkit::free_port()));
    let error = reconcile(&test, &both.lake.engine, Some(&away), SHORT).await.unwrap_err();
    assert!(matches!(error, LakeError::Away { .. }) && !error.to_string().contains("hidden"), "{error}");
}
