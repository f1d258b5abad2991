//! The HTTP side.

use serde_json::Value;

use crate::shop::Shop;

#[tokio::test]
async fn wrong_parameters_are_refused_with_the_field_named() {
    let shop = Shop::open().await;
    for (path, field) in [
        ("/seed/full?count=0", "count"),
        ("/seed/full?count=many", "count"),
        ("/seed/full?batch_size=-1", "batch_size"),
        ("/seed/start?rate=0", "rate"),
        ("/seed/start?rate=10001", "rate"),
        ("/seed/start?seed=x", "seed"),
    ] {
        let (status, answer) = shop.post(path).await;
        assert_eq!(status, 422, "{path}");
        assert_eq!(answer["detail"][0]["loc"], serde_json::json!(["query", field]), "{path}");
    }
    assert_eq!(shop.status().await["full"], Value::Null);
}

#[tokio::test]
async fn the_api_describes_itself() {
    let shop = Shop::open().await;
    let (status, text) = shop.get("/openapi.json").await;
    assert_eq!(status, 200);
    let description: Value = serde_json::from_str(&text).unwrap();
    let paths: Vec<_> = description["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/health", "/seed/full", "/seed/start", "/seed/stop", "/status"]);
    let parameters = &description["paths"]["/seed/full"]["post"]["parameters"];
    let defaults: Vec<_> = parameters
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| (&parameter["name"], &parameter["schema"]["default"]))
        .collect();
    assert_eq!(serde_json::json!(defaults), serde_json::json!([["count", 10000], ["batch_size", 1000], ["seed", 42]]));
    for parameter in parameters.as_array().unwrap() {
        assert_eq!(parameter["in"], "query");
    }

    let (status, page) = shop.get("/docs/").await;
    assert_eq!(status, 200);
    assert!(page.contains("swagger-ui"), "{page}");
    assert!(shop.get("/docs/swagger-initializer.js").await.1.contains("/openapi.json"));
    assert_eq!(shop.get("/docs").await.0, 200);
}

#[tokio::test]
async fn health_and_metrics_are_there() {
    let shop = Shop::open().await;
    testkit::wait_until("healthy", std::time::Duration::from_secs(10), async || {
        let (status, text) = shop.get("/health").await;
        status == 200 && text.contains("\"postgres\":\"ok\"")
    })
    .await;
    shop.post("/seed/full?count=10").await;
    assert!(shop.get("/metrics").await.1.contains("seeder_seeded_rows_total"));
}
