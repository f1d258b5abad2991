//! shape -> serve: marts to the cent, built only when something changed.

use serde_json::json;

use super::{fixture::Lake, shop::Shop};
use crate::{memory_catalog::Fault, sql::references};

#[tokio::test]
async fn marts_are_exact_and_rebuilt_only_when_an_input_changed() {
    let lake = Lake::new(100);
    let runner = lake.runner();
    let waiting = runner.run().await.unwrap();
    assert_eq!((waiting.built.len(), waiting.waiting.len()), (0, 10));
    let mut shop = Shop::open(&lake).await;
    lake.catalog.fail_next(&[Fault::Conflict, Fault::AnswerLost]);
    let served = runner.run().await.unwrap();
    assert!(served.is_whole(), "{served:?}");
    assert_eq!(served.built.len(), 10);
    assert_eq!(
        lake.sql("SELECT * FROM serve.daily_revenue ORDER BY day").await,
        vec![json!(["2024-05-05", 1, "30.31"]), json!(["2024-05-06", 1, "0.10"]), json!(["2024-06-01", 1, "0.00"])]
    );
    assert_eq!(
        lake.sql("SELECT * FROM serve.product_sales ORDER BY product_id").await,
        vec![
            json!([1, "Desk", "home", 3, "30.30", 1]),
            json!([2, "Pen", "office", 2, "0.11", 2]),
            json!([3, "Lamp", null, 0, "0.00", 0])
        ]
    );
    assert_eq!(
        lake.sql("SELECT * FROM serve.order_funnel ORDER BY status").await,
        vec![json!(["cancelled", 1, "99.00"]), json!(["pending", 2, "0.10"]), json!(["shipped", 1, "30.30"])]
    );
    assert!(runner.run().await.unwrap().built.is_empty());
    shop.put("orders", "4|1|delivered|5.00|2024-06-01 01:00:00");
    shop.pump(&lake).await;
    // Another process builds from the same models and finds the same.
    let served = lake.another().runner().run().await.unwrap();
    assert!(served.is_whole() && served.built.contains_key("serve.order_funnel"), "{served:?}");
    assert!(!served.built.contains_key("serve.payment_health"), "{served:?}");
    assert_eq!(
        lake.sql("SELECT status, orders FROM serve.order_funnel ORDER BY status").await,
        vec![json!(["cancelled", 1]), json!(["delivered", 1]), json!(["pending", 1]), json!(["shipped", 1])]
    );
}

#[tokio::test]
async fn sql_is_read_only_and_says_what_is_missing() {
    let lake = Lake::new(100);
    Shop::open(&lake).await;
    for sql in [
        "DROP TABLE shape.orders",
        "DELETE FROM shape.orders",
        "INSERT INTO shape.orders SELECT * FROM shape.orders",
        "SET a = 1",
    ] {
        let error = crate::query::answer(&lake.engine, sql, 10).await.unwrap_err();
        assert!(matches!(error, crate::error::LakeError::Query(_)), "{sql}: {error}");
    }
    let error = crate::query::answer(&lake.engine, "SELECT * FROM shape.nothing", 10).await.unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
    assert_eq!(lake.sql("SELECT COUNT(*) FROM shape.orders WHERE id > 2").await, vec![json!([2])]);
    let tables = lake
        .sql("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = 'shape' ORDER BY 2")
        .await;
    assert!(tables.contains(&json!(["shape", "orders_history"])), "{tables:?}");
    assert_eq!(references("SELECT 1").unwrap(), Vec::<String>::new());
}
