//! Models that are kept by parts are what they would be if they were computed as a whole, whatever happens to their inputs.

use proptest::prelude::*;

use super::{fixture::Lake, shop::Shop};
use crate::{models::Models, runner::build::How};

/// Something that happens in the shop.
#[derive(Debug, Clone)]
enum Event {
    Order { id: u8, customer: u8, status: u8, day: u8 },
    Item { id: u8, order: u8, product: u8, quantity: u8, cents: u16 },
    Product { id: u8, category: u8, stock: u8 },
    Customer { id: u8, country: u8 },
    Delete { table: u8, id: u8 },
    Pass,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_u8..30, 1_u8..6, 0_u8..4, 1_u8..80).prop_map(|(id, customer, status, day)| Event::Order { id, customer, status, day }),
        5 => (1_u8..60, 1_u8..30, 1_u8..5, 1_u8..4, 0_u16..500)
            .prop_map(|(id, order, product, quantity, cents)| Event::Item { id, order, product, quantity, cents }),
        1 => (1_u8..5, 0_u8..3, 0_u8..50).prop_map(|(id, category, stock)| Event::Product { id, category, stock }),
        1 => (1_u8..6, 0_u8..3).prop_map(|(id, country)| Event::Customer { id, country }),
        2 => (0_u8..2, 1_u8..60).prop_map(|(table, id)| Event::Delete { table, id }),
        2 => Just(Event::Pass),
    ]
}

fn apply(shop: &mut Shop, event: &Event) {
    match event {
        Event::Order { id, customer, status, day } => {
            let status = ["pending", "shipped", "delivered", "cancelled"][usize::from(*status)];
            let (month, day) = (5 + day / 27, 1 + day % 27);
            shop.put("orders", &format!("{id}|{customer}|{status}|1.00|2024-{month:02}-{day:02} 12:00:00"));
        }
        Event::Item { id, order, product, quantity, cents } => {
            shop.put("order_items", &format!("{id}|{order}|{product}|{quantity}|{}.{:02}", cents / 100, cents % 100));
        }
        Event::Product { id, category, stock } => {
            let category = ["home", "office", "-"][usize::from(*category)];
            shop.put("products", &format!("{id}|P{id}|{category}|1.00|{stock}"));
        }
        Event::Customer { id, country } => {
            let country = ["AT", "CH", "-"][usize::from(*country)];
            shop.put("customers", &format!("{id}|C{id}|{country}"));
        }
        Event::Delete { table, id } => shop.delete(["orders", "order_items"][usize::from(*table)], &id.to_string()),
        Event::Pass => {}
    }
}

/// The query's rows, in an order of their own.
async fn rows(lake: &Lake, sql: &str) -> Vec<String> {
    let mut rows: Vec<String> = lake.sql(sql).await.iter().map(ToString::to_string).collect();
    rows.sort();
    rows
}

/// Every model's table is what its query yields now.
async fn all_equal(lake: &Lake, models: &Models) -> Result<(), TestCaseError> {
    for model in models.iter() {
        let (kept, whole) = (rows(lake, &format!("SELECT * FROM {}", model.name)).await, rows(lake, &model.sql).await);
        prop_assert_eq!(kept, whole, "{}", model.name);
    }
    Ok(())
}

async fn lives(events: Vec<Event>, file_rows: usize) -> Result<(), TestCaseError> {
    let lake = Lake::new(file_rows);
    let mut shop = Shop::open(&lake).await;
    let runner = lake.runner().always_by_parts();
    runner.run().await.unwrap();
    for event in events.iter().chain([&Event::Pass]) {
        apply(&mut shop, event);
        if matches!(event, Event::Pass) {
            shop.pump(&lake).await;
            let served = runner.run().await.unwrap();
            prop_assert!(served.is_whole(), "{served:?}");
            all_equal(&lake, &runner.models).await?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn parts_are_the_whole(events in prop::collection::vec(event(), 1..40), file_rows in 2_usize..8) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(lives(events, file_rows))?;
    }
}

/// Everything computed range by range is what it is when it is computed in one go.
async fn in_ranges(events: Vec<Event>, file_rows: usize, range_rows: u64) -> Result<(), TestCaseError> {
    let lake = Lake::new(file_rows);
    let mut shop = Shop::open(&lake).await;
    events.iter().for_each(|event| apply(&mut shop, event));
    shop.pump(&lake).await;
    let runner = lake.runner().in_ranges_of(range_rows);
    let served = runner.run().await.unwrap();
    prop_assert!(served.is_whole(), "{served:?}");
    all_equal(&lake, &runner.models).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn ranges_are_the_whole(
        events in prop::collection::vec(event(), 1..60), file_rows in 2_usize..8, range_rows in 1_u64..20,
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(in_ranges(events, file_rows, range_rows))?;
    }
}

#[tokio::test]
async fn a_model_is_built_by_ranges_where_its_inputs_lie_in_order_and_a_dirty_row_is_found_in_any() {
    let lake = Lake::new(4);
    let mut shop = Shop::open(&lake).await;
    for id in 1..=40 {
        shop.put("orders", &format!("{id}|{}|pending|1.00|2024-05-03 00:00:00", 1 + id * 7 % 41));
        shop.put("order_items", &format!("{id}|{id}|1|1|1.00"));
    }
    shop.pump(&lake).await;
    let head = |test: &str| {
        let slice = "{incremental: {by: order_id, from: {shape.orders: id, shape.order_items: order_id}}}";
        format!("/* ---\nmaterialized: {slice}\nkeys: [order_id]\ntests: [{test}]\n--- */\n")
    };
    let sql = "SELECT o.id AS order_id, COUNT(i.id) AS lines FROM shape.orders AS o \
               LEFT JOIN shape.order_items AS i ON i.order_id = o.id GROUP BY o.id";
    let models =
        |name: &str, test: &str| Models::parse([("shape", name.to_owned(), format!("{}{sql}", head(test)))]).unwrap();
    let runner = lake.runner_of(models("counted", "{row_count: {min: 40, max: 40}}")).in_ranges_of(16);
    let model = runner.models.get("shape.counted").unwrap();
    let pinned = runner.pin(&["shape.counted".to_owned()].into()).await.unwrap();
    let slice = model.header.materialized.slice().unwrap();
    let limits = crate::runner::ranges::Limits { range_rows: 16, ..Default::default() };
    assert!(crate::runner::ranges::plan(model, slice, &pinned, limits).unwrap().len() > 3, "files lie in order");
    let mut scattered = slice.clone();
    scattered.from.insert("shape.orders".to_owned(), "customer_id".to_owned());
    assert!(crate::runner::ranges::plan(model, &scattered, &pinned, limits).is_none(), "customers lie all over");
    let served = runner.run().await.unwrap();
    assert_eq!((served.built["shape.counted"].how, served.built["shape.counted"].rows), (How::Full, 40));
    all_equal(&lake, &runner.models).await.unwrap();
    // WHEN a row of one range fails a test.
    let served = lake.runner_of(models("dirty", "{expression: order_id <> 33}")).in_ranges_of(16).run().await.unwrap();
    assert_eq!(served.rejected["shape.dirty"].verdicts[0].rows, [r#"{"order_id":33,"lines":1}"#]);
    // WHEN a query does not keep to what its head says.
    let foreign = format!(
        "{}SELECT o.id + 1 AS order_id FROM shape.orders AS o, shape.order_items AS i WHERE i.order_id = o.id",
        head("")
    );
    let foreign = Models::parse([("shape", "foreign".to_owned(), foreign)]).unwrap();
    let served = lake.runner_of(foreign).in_ranges_of(16).run().await.unwrap();
    assert!(served.failed["shape.foreign"].to_string().contains("`from` does not hold"), "{served:?}");
}

#[tokio::test]
async fn only_what_was_touched_is_computed() {
    let lake = Lake::new(4);
    let mut shop = Shop::new();
    for row in ["1|Ada|AT", "2|Bo|-"] {
        shop.put("customers", row);
    }
    shop.put("products", "1|Desk|home|10.00|100");
    for id in 1..=40 {
        shop.put("orders", &format!("{id}|1|pending|1.00|2024-{:02}-03 00:00:00", 1 + id / 10));
        shop.put("order_items", &format!("{id}|{id}|1|1|1.00"));
        shop.put("payments", &format!("{id}|{id}|card|1.00|paid"));
    }
    shop.pump(&lake).await;
    let runner = lake.runner();
    assert!(runner.run().await.unwrap().is_whole());
    shop.put("order_items", "40|40|1|2|1.00");
    shop.pump(&lake).await;
    let built = runner.run().await.unwrap().built;
    let how = |name: &str| built.get(name).map(|built| (built.how, built.rows));
    assert_eq!(how("shape.order_totals"), Some((How::Incremental, 1)));
    assert_eq!(how("shape.order_lines"), Some((How::Incremental, 1)));
    assert_eq!(how("serve.daily_revenue"), Some((How::Incremental, 1)));
    assert_eq!(how("serve.category_trend"), Some((How::Partition, 1)));
    assert_eq!(how("serve.payment_health"), None);
    all_equal(&lake, &runner.models).await.unwrap();
    // A change that no model can see builds nothing, and is not looked at twice.
    shop.put("products", "1|Desk|home|11.00|100");
    shop.pump(&lake).await;
    // (All products are in one file, so that without this it would be thought that most of them changed.)
    let built = runner.always_by_parts().run().await.unwrap().built;
    assert!(!built.contains_key("serve.product_sales"), "{built:?}");
}

/// `cargo test -p lake --lib a_pass_of_all_models -- --ignored --nocapture`: what a pass costs with three marts and with all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_pass_of_all_models() {
    let old: Vec<(&'static str, String, String)> = [
        ("daily_revenue", "SELECT CAST(o.created_at AS DATE) AS day, COUNT(DISTINCT o.id) AS orders, SUM(i.quantity * i.price_at_purchase) AS revenue FROM shape.orders AS o LEFT JOIN shape.order_items AS i ON i.order_id = o.id WHERE o.status <> 'cancelled' GROUP BY CAST(o.created_at AS DATE)"),
        ("order_funnel", "SELECT o.status AS status, COUNT(*) AS orders, SUM(o.total) AS total FROM shape.orders AS o GROUP BY o.status"),
        ("product_sales", "SELECT p.id AS product_id, p.name AS name, SUM(s.quantity) AS units, COUNT(DISTINCT s.order_id) AS orders FROM shape.products AS p LEFT JOIN (SELECT i.product_id, i.order_id, i.quantity FROM shape.order_items AS i JOIN shape.orders AS o ON o.id = i.order_id WHERE o.status <> 'cancelled') AS s ON s.product_id = p.id GROUP BY p.id, p.name"),
    ]
    .map(|(name, sql)| ("serve", format!("old_{name}"), sql.to_owned()))
    .into();
    for orders in [2_000, 40_000] {
        let lake = Lake::new(crate::shape::FILE_ROWS / 4);
        let mut shop = Shop::open(&lake).await;
        for id in 10..orders {
            shop.put(
                "orders",
                &format!(
                    "{id}|{}|pending|1.00|2024-{:02}-{:02} 00:00:00",
                    1 + id % 3,
                    1 + id * 12 / (orders + 1),
                    1 + id % 28
                ),
            );
            shop.put("order_items", &format!("{id}|{id}|{}|1|1.00", 1 + id % 3));
            shop.put("order_items", &format!("{}|{id}|{}|2|1.00", id + 1_000_000, 1 + id % 2));
            shop.put("payments", &format!("{id}|{id}|card|1.00|paid"));
        }
        shop.pump(&lake).await;
        let before = lake.runner_of(Models::parse(old.clone()).unwrap());
        let after = lake.runner();
        before.run().await.unwrap();
        after.run().await.unwrap();
        for round in 0..3 {
            let id = orders - 10 + round;
            shop.put("orders", &format!("{id}|1|shipped|2.00|2024-12-03 00:00:00"));
            shop.put("order_items", &format!("{id}|{id}|2|3|1.00"));
            shop.pump(&lake).await;
            let started = std::time::Instant::now();
            before.run().await.unwrap();
            let three = started.elapsed();
            let started = std::time::Instant::now();
            let served = after.run().await.unwrap();
            println!("{orders} orders: three marts {three:?}, all ten models {:?}", started.elapsed());
            for (name, built) in served.built {
                println!("    {name} {} {} rows {:?}", built.how.word(), built.rows, built.took);
            }
        }
    }
}
