//! Keeping the shop busy.

use std::time::{Duration, Instant};

use crate::shop::Shop;

async fn transactions(shop: &Shop) -> f64 {
    shop.status().await["transactions"].as_f64().unwrap()
}

#[tokio::test]
async fn traffic_keeps_its_rate_and_the_shop_whole() {
    let shop = Shop::open().await;
    shop.post("/seed/full?count=500").await;
    let before = shop.row_counts().await;
    assert_eq!(shop.post("/seed/start?rate=200").await.1["status"], "started");
    testkit::wait_until("traffic begins", Duration::from_secs(10), async || transactions(&shop).await > 0.0).await;
    let (start, first) = (Instant::now(), transactions(&shop).await);
    testkit::wait_until("1000 transactions", Duration::from_secs(30), async || {
        transactions(&shop).await >= first + 1000.0
    })
    .await;
    let rate = (transactions(&shop).await - first) / start.elapsed().as_secs_f64();
    assert!((170.0..230.0).contains(&rate), "{rate} transactions a second");

    // Under traffic, from one snapshot each.
    shop.assert_whole().await;
    let (_, stopped) = shop.post("/seed/stop").await;
    assert_eq!(stopped["status"], "stopped");
    shop.assert_whole().await;

    let status = shop.status().await;
    assert_eq!(status["running"], false);
    assert_eq!(status["errors"], 0, "{status}");
    for (table, operations) in [
        ("customers", ["inserted", "updated", "deleted"].as_slice()),
        ("products", &["inserted", "updated"]),
        ("orders", &["inserted", "updated", "deleted"]),
        ("order_items", &["inserted", "deleted"]),
        ("payments", &["inserted", "updated", "deleted"]),
    ] {
        for operation in operations {
            assert!(status["rows"][table][operation].as_i64().unwrap() > 0, "{table} {operation}: {status}");
        }
    }
    // What /status counts is what the database holds.
    for ((table, count), (_, before)) in shop.row_counts().await.into_iter().zip(before) {
        let rows = &status["rows"][table];
        let seeded = before;
        let written = rows["inserted"].as_i64().unwrap() - rows["deleted"].as_i64().unwrap();
        assert_eq!(written, count, "{table}, {seeded} seeded");
    }
}

#[tokio::test]
async fn a_high_rate_uses_several_connections_and_the_shop_stays_whole() {
    let shop = Shop::open().await;
    shop.post("/seed/full?count=300").await;
    shop.post("/seed/start?rate=3000").await;
    let connections =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'seeder'";
    testkit::wait_until("several connections", Duration::from_secs(10), async || shop.number(connections).await > 8)
        .await;
    testkit::wait_until("2000 transactions", Duration::from_secs(30), async || transactions(&shop).await > 2000.0)
        .await;
    shop.assert_whole().await;
    shop.post("/seed/stop").await;
    shop.assert_whole().await;
    assert_eq!(shop.status().await["errors"], 0, "{}", shop.status().await);
}

#[tokio::test]
async fn traffic_fills_an_empty_shop() {
    let shop = Shop::open().await;
    shop.post("/seed/start?rate=200").await;
    testkit::wait_until("orders", Duration::from_secs(20), async || {
        shop.number("SELECT count(*) FROM orders").await > 10
    })
    .await;
    shop.post("/seed/stop").await;
    shop.assert_whole().await;
}

#[tokio::test]
async fn traffic_goes_on_after_its_connections_are_lost() {
    let shop = Shop::open().await;
    shop.post("/seed/full?count=100").await;
    shop.post("/seed/start?rate=300").await;
    testkit::wait_until("traffic", Duration::from_secs(10), async || transactions(&shop).await > 50.0).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'seeder'";
    shop.client.query(kill, &[]).await.unwrap();
    testkit::wait_until("the error is seen", Duration::from_secs(10), async || {
        shop.status().await["errors"].as_i64().unwrap() > 0
    })
    .await;
    let lost = transactions(&shop).await;
    testkit::wait_until("traffic again", Duration::from_secs(20), async || transactions(&shop).await > lost + 200.0)
        .await;
    shop.post("/seed/stop").await;
    let status = shop.status().await;
    assert!(status["last_error"]["error"].as_str().unwrap().contains("is away"), "{status}");
    shop.assert_whole().await;
    testkit::wait_until("well again", Duration::from_secs(20), async || shop.get("/health").await.0 == 200).await;
}

#[tokio::test]
async fn starting_again_changes_the_rate_and_stopping_twice_is_no_error() {
    let shop = Shop::open().await;
    assert_eq!(shop.post("/seed/start").await.1["rate"], 1.0);
    assert_eq!(shop.post("/seed/start?rate=5").await.1["status"], "rate changed");
    let status = shop.status().await;
    assert_eq!((&status["running"], &status["rate"]), (&true.into(), &5.0.into()));
    assert_eq!(shop.post("/seed/stop").await.1["status"], "stopped");
    assert_eq!(shop.post("/seed/stop").await.1["status"], "not running");
}

#[tokio::test]
async fn the_process_ends_well_while_traffic_runs() {
    let shop = Shop::open().await;
    shop.post("/seed/start?rate=100").await;
    testkit::wait_until("traffic", Duration::from_secs(10), async || transactions(&shop).await > 20.0).await;
    assert!(shop.seeder.stop().await);
}
