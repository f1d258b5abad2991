//! Filling the shop.

use crate::shop::Shop;

/// An order-free fingerprint of everything but the ids' offset: here, of everything.
const FINGERPRINT: &str = "SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
    SELECT c::text AS line FROM customers c UNION ALL SELECT p::text FROM products p UNION ALL SELECT o::text FROM orders o
    UNION ALL SELECT i::text FROM order_items i UNION ALL SELECT p::text FROM payments p) AS lines";

async fn fingerprint(shop: &Shop) -> String {
    shop.client.query_one(FINGERPRINT, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_full_seed_writes_what_it_says_and_the_shop_is_whole() {
    let shop = Shop::open().await;
    let (status, done) = shop.post("/seed/full?count=2000&batch_size=300").await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["status"], "done");
    for (table, count) in shop.row_counts().await {
        assert_eq!(done["rows"][table], count, "{table}");
    }
    assert_eq!(done["rows"]["customers"], 2000);
    assert_eq!(done["rows"]["products"], 200);
    shop.assert_whole().await;

    let full = &shop.status().await["full"];
    assert_eq!(full["running"], false);
    assert_eq!(full["rows_written"], full["rows_total"]);
    let year = "SELECT count(*) FROM orders WHERE created_at < now() - interval '367 days' OR created_at > now()";
    assert_eq!(shop.number(year).await, 0);
}

#[tokio::test]
async fn the_same_seed_writes_the_same_rows_and_another_seed_others() {
    let (left, right, other) = tokio::join!(Shop::open(), Shop::open(), Shop::open());
    left.post("/seed/full?count=200&batch_size=50&seed=7").await;
    right.post("/seed/full?count=200&batch_size=200&seed=7").await;
    other.post("/seed/full?count=200&seed=8").await;
    assert_eq!(fingerprint(&left).await, fingerprint(&right).await);
    assert_ne!(fingerprint(&left).await, fingerprint(&other).await);
}

#[tokio::test]
async fn a_second_seed_adds_to_the_first_and_emails_stay_unique() {
    let shop = Shop::open().await;
    for _ in 0..2 {
        assert_eq!(shop.post("/seed/full?count=300").await.0, 200);
    }
    assert_eq!(shop.number("SELECT count(DISTINCT email) FROM customers").await, 600);
    shop.assert_whole().await;
    assert_eq!(shop.status().await["rows"]["customers"]["inserted"], 600);
}

#[tokio::test]
async fn a_second_full_seed_at_the_same_time_is_refused() {
    let shop = Shop::open().await;
    let (first, second) = tokio::join!(shop.post("/seed/full?count=3000"), async {
        testkit::wait_until("the first seed runs", std::time::Duration::from_secs(10), async || {
            shop.status().await["full"]["running"] == true
        })
        .await;
        shop.post("/seed/full?count=10").await
    });
    assert_eq!(first.0, 200, "{}", first.1);
    assert_eq!(second.0, 409, "{}", second.1);
    assert!(second.1["detail"].as_str().unwrap().contains("running"));
}

#[tokio::test]
async fn a_lost_connection_in_the_middle_neither_loses_nor_doubles_rows() {
    let shop = Shop::open().await;
    let expected = 4000;
    let path = format!("/seed/full?count={expected}&batch_size=100");
    let (done, ()) = tokio::join!(shop.post(&path), async {
        for rows in [2_000, 8_000, 20_000] {
            testkit::wait_until("the seed is under way", std::time::Duration::from_secs(30), async || {
                shop.status().await["full"]["rows_written"].as_i64().unwrap_or_default() > rows
            })
            .await;
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'seeder'";
            shop.client.query(kill, &[]).await.unwrap();
        }
    });
    assert_eq!(done.0, 200, "{}", done.1);
    for (table, count) in shop.row_counts().await {
        assert_eq!(done.1["rows"][table], count, "{table}");
    }
    shop.assert_whole().await;
}

#[tokio::test]
async fn without_tables_the_answer_says_to_run_the_migrations() {
    let shop = Shop::open().await;
    shop.client.batch_execute("DROP TABLE order_items, payments, orders, customers").await.unwrap();
    let (status, answer) = shop.post("/seed/full?count=10").await;
    assert_eq!(status, 503);
    assert!(answer["detail"].as_str().unwrap().contains("run the migrations first"), "{answer}");
}
