//! shape -> serve: marts to the cent, rebuilt only when something changed.

use model::{cell::Cell, envelope::Op};
use serde_json::json;

use super::{
    fixture::Lake,
    topic::{NUMERIC_10_2, Topic},
};
use crate::{memory_catalog::Fault, sql::references};

async fn shop(lake: &Lake) -> Topic {
    let text = |text: &'static str| Cell::Text(text.as_bytes());
    let mut orders = Topic::new(
        "orders",
        &[
            ("id", 23, "int4", -1, false),
            ("customer_id", 23, "int4", -1, false),
            ("status", 25, "text", -1, false),
            ("total", 1700, "numeric", NUMERIC_10_2, true),
            ("created_at", 1114, "timestamp", -1, true),
        ],
    );
    for (id, status, total, at) in [
        ("1", "shipped", "30.30", "2024-05-05 23:59:59"),
        ("2", "cancelled", "99.00", "2024-05-05 10:00:00"),
        ("3", "pending", "0.10", "2024-05-06 00:00:00"),
        ("4", "pending", "5.00", "2024-05-06 01:00:00"),
    ] {
        orders.event(0, Op::Create, None, Some(&[text(id), text("1"), text(status), text(total), text(at)]));
    }
    lake.raw.flush(&mut orders, 0);
    let mut items = Topic::new(
        "order_items",
        &[
            ("id", 23, "int4", -1, false),
            ("order_id", 23, "int4", -1, false),
            ("product_id", 23, "int4", -1, false),
            ("quantity", 23, "int4", -1, false),
            ("price_at_purchase", 1700, "numeric", NUMERIC_10_2, false),
        ],
    );
    for (id, order, product, quantity, price) in [
        ("1", "1", "1", "3", "10.10"),
        ("2", "2", "1", "1", "99.00"),
        ("3", "3", "2", "1", "0.10"),
        ("4", "1", "2", "1", "0.01"),
    ] {
        items.event(0, Op::Create, None, Some(&[text(id), text(order), text(product), text(quantity), text(price)]));
    }
    lake.raw.flush(&mut items, 0);
    let mut products = Topic::new(
        "products",
        &[
            ("id", 23, "int4", -1, false),
            ("name", 25, "text", -1, false),
            ("category", 25, "text", -1, true),
            ("price", 1700, "numeric", NUMERIC_10_2, false),
        ],
    );
    for (id, name) in [("1", "Desk"), ("2", "Pen"), ("3", "Lamp")] {
        products.event(0, Op::Create, None, Some(&[text(id), text(name), text("home"), text("1.00")]));
    }
    lake.raw.flush(&mut products, 0);
    for topic in [&orders, &items, &products] {
        lake.stage_all(&topic.name).await;
        lake.shape_all(&topic.name).await;
    }
    orders
}

#[tokio::test]
async fn marts_are_exact_and_rebuilt_only_when_an_input_changed() {
    let lake = Lake::new(100);
    let serve = lake.serve();
    let waiting = serve.run().await.unwrap();
    assert_eq!((waiting.built.len(), waiting.waiting.len()), (0, 3));
    let mut orders = shop(&lake).await;
    lake.catalog.fail_next(&[Fault::Conflict, Fault::AnswerLost]);
    let served = serve.run().await.unwrap();
    assert!(served.failed.is_empty(), "{:?}", served.failed);
    assert_eq!(served.built.len(), 3);
    assert_eq!(
        lake.sql("SELECT * FROM serve.daily_revenue ORDER BY day").await,
        vec![json!(["2024-05-05", 1, "30.31"]), json!(["2024-05-06", 2, "0.10"])]
    );
    assert_eq!(
        lake.sql("SELECT * FROM serve.product_sales ORDER BY product_id").await,
        vec![
            json!([1, "Desk", "home", 3, "30.30", 1]),
            json!([2, "Pen", "home", 2, "0.11", 2]),
            json!([3, "Lamp", "home", 0, "0.00", 0])
        ]
    );
    assert_eq!(
        lake.sql("SELECT * FROM serve.order_funnel ORDER BY status").await,
        vec![json!(["cancelled", 1, "99.00"]), json!(["pending", 2, "5.10"]), json!(["shipped", 1, "30.30"])]
    );
    assert!(serve.run().await.unwrap().built.is_empty());
    let text = |text: &'static str| Cell::Text(text.as_bytes());
    let row = [text("4"), text("1"), text("delivered"), text("5.00"), text("2024-05-06 01:00:00")];
    orders.event(0, Op::Update, None, Some(&row));
    lake.raw.flush(&mut orders, 0);
    lake.stage_all(&orders.name).await;
    lake.shape_all(&orders.name).await;
    // Another process rebuilds from the same models and finds the same.
    let served = lake.another().serve().run().await.unwrap();
    assert_eq!(served.built.len(), 3);
    assert_eq!(
        lake.sql("SELECT status, orders FROM serve.order_funnel ORDER BY status").await,
        vec![json!(["cancelled", 1]), json!(["delivered", 1]), json!(["pending", 1]), json!(["shipped", 1])]
    );
}

#[tokio::test]
async fn sql_is_read_only_and_says_what_is_missing() {
    let lake = Lake::new(100);
    shop(&lake).await;
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
