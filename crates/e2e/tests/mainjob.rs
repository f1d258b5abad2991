//! The main job under `kill -9`: web shop to serve, verified, read by other engines, equal to independent SQL.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::wait_until;

use crate::{
    stack::{Stack, kill_now},
    tidy::root,
};

const CUSTOMERS: &str = "2000";
const TABLES: [&str; 5] = ["customers", "products", "orders", "order_items", "payments"];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_every_hop_is_killed() {
    let stack = Stack::new();
    stack.haus(&["up", "--no-connectors"]).await;
    stack.haus(&["seed", "--count", CUSTOMERS]).await;
    let client = stack.postgres().await;
    let seeded = total_rows(&client).await;

    // GIVEN a relay that is killed in the middle of its snapshot.
    stack.haus(&["connector", "apply"]).await;
    let relay = stack.pid("cdc-relay").await.expect("the relay runs");
    wait_until("the snapshot's first records", Duration::from_secs(60), async || stack.topic_bytes() > 100_000).await;
    kill_now(relay);
    let at_kill = records(&stack).await;
    assert!(at_kill < seeded, "the kill came too late: {at_kill} of {seeded} snapshot records were in Kafka");
    wait_until("the whole snapshot", Duration::from_secs(120), async || records(&stack).await >= seeded).await;

    // WHEN every hop is killed under traffic.
    stack.haus(&["traffic", "start", "--rate", "100"]).await;
    for name in ["cdc-relay", "s3-sink", "lake", "cdc-relay", "s3-sink", "lake"] {
        let before = transactions(&stack).await;
        wait_until("some traffic", Duration::from_secs(60), async || transactions(&stack).await > before + 100).await;
        stack.kill(name).await;
    }
    // THEN the proof holds while traffic runs, and after it.
    let under_traffic = stack.haus(&["verify"]).await;
    assert_verified(&under_traffic);
    stack.haus(&["traffic", "stop"]).await;
    let report = stack.haus(&["verify"]).await;
    assert_verified(&report);
    for table in TABLES {
        let rows: i64 = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
        let proven = report["tables"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["table"].as_str().unwrap().ends_with(table))
            .unwrap();
        assert_eq!(proven["postgres_rows"], rows, "{table}");
        assert_eq!(proven["shape_rows"], rows, "{table}");
        assert_eq!(proven["raw_records"], proven["kafka_records"], "{table}");
        assert_eq!(proven["stage_rows"], proven["raw_records"], "{table}");
    }
    marts_equal_independent_sql(&stack, &client).await;
    other_engines_read_the_same(&stack, &client).await;
    commands_answer(&stack).await;
    // A stop and a start later, everything is still there.
    stack.haus(&["down"]).await;
    stack.haus(&["up"]).await;
    assert_verified(&stack.haus(&["verify"]).await);
    stack.haus(&["down"]).await;
}

fn assert_verified(report: &Value) {
    assert_eq!(report["ok"], true, "{report:#}");
}

async fn total_rows(client: &tokio_postgres::Client) -> i64 {
    let mut rows = 0;
    for table in TABLES {
        rows += client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get::<_, i64>(0);
    }
    rows
}

/// Offsets in all topics of the storefront.
async fn records(stack: &Stack) -> i64 {
    let topics = stack.haus(&["topic", "list"]).await;
    let of_storefront =
        topics.as_array().unwrap().iter().filter(|topic| topic["topic"].as_str().unwrap().starts_with("storefront."));
    of_storefront.map(|topic| topic["offsets"].as_i64().unwrap()).sum()
}

async fn transactions(stack: &Stack) -> u64 {
    stack.haus(&["traffic", "status"]).await["transactions"].as_u64().unwrap()
}

/// Each mart, and the same question asked of Postgres in other words.
async fn marts_equal_independent_sql(stack: &Stack, client: &tokio_postgres::Client) {
    let questions = [
        (
            "SELECT day, orders, revenue FROM serve.daily_revenue ORDER BY day",
            "WITH kept AS (SELECT id, created_at::date AS day FROM orders WHERE status IN ('pending', 'shipped', 'delivered')),
                  sold AS (SELECT order_id, sum(quantity * price_at_purchase) AS amount FROM order_items GROUP BY order_id)
             SELECT day::text, count(*)::text, coalesce(sum(amount), 0)::numeric(18, 2)::text
             FROM kept LEFT JOIN sold ON sold.order_id = kept.id GROUP BY day ORDER BY day",
        ),
        (
            "SELECT product_id, units, revenue FROM serve.product_sales ORDER BY product_id",
            "SELECT p.id::text,
                    coalesce((SELECT sum(quantity) FROM order_items i JOIN orders o ON o.id = i.order_id
                              WHERE i.product_id = p.id AND o.status <> 'cancelled'), 0)::text,
                    coalesce((SELECT sum(quantity * price_at_purchase) FROM order_items i JOIN orders o ON o.id = i.order_id
                              WHERE i.product_id = p.id AND o.status <> 'cancelled'), 0)::numeric(18, 2)::text
             FROM products p ORDER BY p.id",
        ),
        (
            "SELECT status, orders, total FROM serve.order_funnel ORDER BY status",
            "SELECT status, count(*)::text, sum(total)::numeric(18, 2)::text FROM orders GROUP BY status ORDER BY status COLLATE \"C\"",
        ),
        (
            "SELECT customer_id, orders, units, revenue, CAST(first_day AS VARCHAR) AS first_day, CAST(last_day AS VARCHAR) AS last_day
             FROM serve.customer_lifetime_value ORDER BY customer_id",
            "SELECT c.id::text, count(DISTINCT o.id)::text, coalesce(sum(i.quantity), 0)::text,
                    coalesce(sum(i.quantity * i.price_at_purchase), 0)::numeric(18, 2)::text,
                    coalesce(min(o.created_at)::date::text, 'null'), coalesce(max(o.created_at)::date::text, 'null')
             FROM customers c LEFT JOIN orders o ON o.customer_id = c.id AND o.status IN ('pending', 'shipped', 'delivered')
             LEFT JOIN order_items i ON i.order_id = o.id GROUP BY c.id ORDER BY c.id",
        ),
        (
            "SELECT cohort, months_since, cohort_customers, customers, revenue FROM serve.cohort_retention
             ORDER BY cohort, months_since",
            "WITH kept AS (SELECT id, customer_id, created_at,
                                  min(created_at) OVER (PARTITION BY customer_id) AS first_at
                           FROM orders WHERE status <> 'cancelled'),
                  placed AS (SELECT k.*, to_char(first_at, 'YYYY-MM-01') AS cohort,
                                    (date_part('year', created_at) * 12 + date_part('month', created_at)
                                     - date_part('year', first_at) * 12 - date_part('month', first_at))::int AS months
                             FROM kept k)
             SELECT p.cohort, p.months::text,
                    (SELECT count(DISTINCT customer_id) FROM placed s WHERE s.cohort = p.cohort)::text,
                    count(DISTINCT p.customer_id)::text,
                    coalesce(sum((SELECT sum(quantity * price_at_purchase) FROM order_items i WHERE i.order_id = p.id)), 0)
                        ::numeric(18, 2)::text
             FROM placed p GROUP BY p.cohort, p.months ORDER BY p.cohort, p.months",
        ),
        (
            "SELECT payment_method, payments, paid, pending, failed, paid_amount, pending_amount, failed_amount
             FROM serve.payment_health ORDER BY payment_method",
            "SELECT payment_method, count(*)::text, count(*) FILTER (WHERE status = 'paid')::text,
                    count(*) FILTER (WHERE status = 'pending')::text, count(*) FILTER (WHERE status = 'failed')::text,
                    coalesce(sum(amount) FILTER (WHERE status = 'paid'), 0)::numeric(18, 2)::text,
                    coalesce(sum(amount) FILTER (WHERE status = 'pending'), 0)::numeric(18, 2)::text,
                    coalesce(sum(amount) FILTER (WHERE status = 'failed'), 0)::numeric(18, 2)::text
             FROM payments GROUP BY payment_method ORDER BY payment_method COLLATE \"C\"",
        ),
        (
            "SELECT product_id, stock_quantity, units_30_days, risk FROM serve.inventory_risk ORDER BY product_id",
            "WITH sold AS (SELECT i.product_id, i.quantity, o.created_at::date AS day
                           FROM order_items i JOIN orders o ON o.id = i.order_id WHERE o.status <> 'cancelled'),
                  recent AS (SELECT product_id, sum(quantity) AS units FROM sold
                             WHERE day > (SELECT max(day) FROM sold) - 30 GROUP BY product_id)
             SELECT p.id::text, p.stock_quantity::text, coalesce(r.units, 0)::text,
                    CASE WHEN p.stock_quantity <= 0 THEN 'out' WHEN r.units IS NULL THEN 'idle'
                         WHEN r.units * 7 > p.stock_quantity * 30 THEN 'critical'
                         WHEN r.units * 28 > p.stock_quantity * 30 THEN 'low' ELSE 'ok' END
             FROM products p LEFT JOIN recent r ON r.product_id = p.id ORDER BY p.id",
        ),
        (
            "SELECT month, category, units, revenue, orders FROM serve.category_trend ORDER BY month, category",
            "SELECT to_char(o.created_at, 'YYYY-MM-01'), coalesce(p.category, '(none)'), sum(i.quantity)::text,
                    sum(i.quantity * i.price_at_purchase)::numeric(18, 2)::text, count(DISTINCT o.id)::text
             FROM orders o JOIN order_items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id
             WHERE o.status <> 'cancelled' GROUP BY 1, 2 ORDER BY 1, coalesce(p.category, '(none)') COLLATE \"C\"",
        ),
    ];
    for (mart, source) in questions {
        let expected: Vec<Vec<String>> = client
            .query(source, &[])
            .await
            .unwrap()
            .iter()
            .map(|row| (0..row.len()).map(|column| row.get::<_, String>(column)).collect())
            .collect();
        assert!(!expected.is_empty());
        // All marts of a run come of one set of snapshots, yet each is published when it is ready.
        let mut served = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        while served != expected && Instant::now() < deadline {
            served = stack.haus(&["sql", mart]).await["rows"].as_array().unwrap().iter().map(texts).collect();
        }
        assert_eq!(served, expected, "{mart}");
    }
}

fn texts(row: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    row.as_array().unwrap().iter().map(text).collect()
}

/// PyIceberg and DuckDB find the same counts and sums in the lake as Postgres has.
async fn other_engines_read_the_same(stack: &Stack, client: &tokio_postgres::Client) {
    let python = testkit_cache().join("py-readers/bin/python");
    assert!(python.exists(), "{} is missing: run tests/readers/setup.sh", python.display());
    let output = tokio::process::Command::new(&python)
        .arg(root().join("tests/readers/read_lake.py"))
        .envs(stack.environment())
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{error}", String::from_utf8_lossy(&output.stdout));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["equal"], true, "{found:#}");
    for table in TABLES {
        let rows: i64 = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
        for engine in ["pyiceberg", "duckdb"] {
            assert_eq!(found[engine][format!("shape.{table}")]["count"], rows, "{engine} {table}");
        }
    }
    let total: String = client.query_one("SELECT sum(total)::text FROM orders", &[]).await.unwrap().get(0);
    assert_eq!(found["pyiceberg"]["shape.orders"]["sum_total"], total);
}

pub fn testkit_cache() -> std::path::PathBuf {
    std::env::var_os("HAUS_CACHE").map_or_else(
        || std::path::PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/haus-am-see"),
        std::path::PathBuf::from,
    )
}

/// The commands of the README, on the running stack.
async fn commands_answer(stack: &Stack) {
    let connectors = stack.haus(&["connector", "list"]).await;
    for name in ["postgres-source-storefront", "s3-sink-storefront"] {
        assert_eq!(connectors[name]["status"]["connector"]["state"], "RUNNING", "{connectors:#}");
        assert_eq!(stack.haus(&["connector", "status", name]).await["name"], name);
    }
    let group = stack.haus(&["group", "describe", "connect-s3-sink-storefront"]).await;
    assert!(!group["partitions"].as_array().unwrap().is_empty(), "{group:#}");
    let groups = stack.haus(&["group", "list"]).await;
    assert!(groups.as_array().unwrap().iter().any(|group| group["group"] == "connect-s3-sink-storefront"));
    // A group with members is not reset behind their back.
    let refused = stack
        .try_haus(&["group", "reset", "connect-s3-sink-storefront", "--all-topics", "--to-earliest", "--execute"])
        .await;
    assert!(!refused.status.success());
    // A record of each partition, though the last offset of most is the marker of a transaction.
    let topics = stack.haus(&["topic", "list"]).await;
    let orders = topics.as_array().unwrap().iter().find(|topic| topic["topic"] == "storefront.public.orders").unwrap();
    let tail = stack.try_haus(&["topic", "tail", "storefront.public.orders", "-n", "1"]).await;
    let lines = String::from_utf8(tail.stdout).unwrap();
    assert_eq!(Some(lines.lines().count() as u64), orders["partitions"].as_u64(), "{lines}");
    let record: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(record["value"]["op"].is_string() && record["key"]["id"].is_number(), "{record:#}");
    let status = stack.haus(&["status"]).await;
    assert!(status["processes"].as_array().unwrap().iter().all(|process| process["health"] == "ok"), "{status:#}");
    let again = stack.haus(&["up"]).await;
    assert_eq!(again["already_running"], true);
    let logs = stack.try_haus(&["logs", "cdc-relay", "-n", "3"]).await;
    assert!(logs.status.success() && !logs.stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_its_owner() {
    let stack = Stack::new();
    let port: u16 = stack.setting("CATALOG_PORT").parse().unwrap();
    let _held = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let output = stack.try_haus(&["up"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        error.contains(&format!("port {port} is taken by main"))
            || error.contains(&format!("(pid {})", std::process::id())),
        "{error}"
    );
}
