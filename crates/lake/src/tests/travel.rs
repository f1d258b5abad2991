//! Time travel, metadata tables and EXPLAIN.

use futures::TryStreamExt;
use model::{cell::Cell, envelope::Op};
use serde_json::{Value, json};

use super::{
    fixture::Lake,
    topic::{ColumnSpec, Topic},
};
use crate::{
    error::LakeError,
    layers,
    query::{Format, answer, streamed},
    tables::travel::shown_time,
};

const PLAIN: [ColumnSpec; 2] = [("id", 23, "int4", -1, false), ("status", 25, "text", -1, false)];
const WIDER: [ColumnSpec; 3] =
    [("id", 23, "int4", -1, false), ("status", 25, "text", -1, false), ("note", 25, "text", -1, true)];

fn text(text: &'static str) -> Cell<'static> {
    Cell::Text(text.as_bytes())
}

/// Three snapshots of `shape.orders`: two rows, one of them changed, a row with one more column.
async fn three() -> (Lake, Vec<i64>) {
    let lake = Lake::new(100);
    let mut topic = Topic::new("orders", &PLAIN);
    let mut snapshots = Vec::new();
    for step in 0..3 {
        match step {
            0 => {
                topic.event(0, Op::Create, None, Some(&[text("1"), text("new")]));
                topic.event(0, Op::Create, None, Some(&[text("2"), text("new")]));
            }
            1 => topic.event(0, Op::Update, None, Some(&[text("1"), text("paid")])),
            _ => {
                topic = topic.altered(&WIDER);
                topic.event(0, Op::Create, None, Some(&[text("3"), text("new"), text("gift")]));
            }
        }
        lake.raw.flush(&mut topic, 0);
        lake.stage_all(&topic.name).await;
        lake.shape_all(&topic.name).await;
        snapshots.push(state(&lake).await.snapshot_id().unwrap());
    }
    (lake, snapshots)
}

async fn state(lake: &Lake) -> std::sync::Arc<crate::tables::TableState> {
    let table = layers::shape_table("storefront.public.orders").unwrap();
    lake.stage.tables.load(&table).await.unwrap().unwrap()
}

async fn refused(lake: &Lake, sql: &str) -> String {
    match answer(&lake.engine, sql, 10).await {
        Err(LakeError::Query(text)) => text,
        other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test]
async fn a_table_is_read_as_it_was_with_the_schema_it_had() {
    let (lake, snapshots) = three().await;
    let [first, second, third] = snapshots[..] else { panic!() };
    let before = vec![json!([1, "new"]), json!([2, "new"])];
    let after = vec![json!([1, "paid"]), json!([2, "new"])];
    let table = layers::shape_table("storefront.public.orders").unwrap();
    lake.catalog.tag(&table, "month-end", second).await;
    for (clause, expected) in [
        (format!("FOR VERSION AS OF {first}"), &before),
        (format!("version as of {first}"), &before),
        (format!("VERSION AS OF '{second}'"), &after),
        ("FOR VERSION AS OF 'month-end'".to_owned(), &after),
        (format!("FOR SYSTEM_VERSION AS OF {second}"), &after),
    ] {
        assert_eq!(
            lake.sql(&format!("SELECT id, status FROM shape.orders {clause} ORDER BY id")).await,
            *expected,
            "{clause}"
        );
    }
    let narrow = format!("SELECT note FROM shape.orders FOR VERSION AS OF {second}");
    assert!(refused(&lake, &narrow).await.contains("note"));
    // Past and present in one query, qualified by the table's own name and by an alias.
    let both = format!(
        "SELECT orders.status, now.status, now.note FROM shape.orders FOR VERSION AS OF {first} \
         FULL JOIN shape.orders FOR VERSION AS OF 'main' now ON orders.id = now.id ORDER BY now.id"
    );
    assert_eq!(
        lake.sql(&both).await,
        [json!(["new", "paid", null]), json!(["new", "new", null]), json!([null, "new", "gift"])]
    );
    assert_eq!(lake.sql(&format!("SELECT COUNT(*) FROM shape.orders FOR VERSION AS OF {third}")).await, [json!([3])]);
    // In a common table expression, a subquery and without the schema.
    let nested = format!(
        "WITH old AS (SELECT * FROM orders VERSION AS OF {first}) SELECT COUNT(*) FROM old \
         WHERE id IN (SELECT id FROM shape.orders VERSION AS OF {second} WHERE status = 'paid')"
    );
    assert_eq!(lake.sql(&nested).await, [json!([1])]);
}

#[tokio::test]
async fn a_table_is_read_as_it_was_at_a_time() {
    let (lake, snapshots) = three().await;
    let state = state(&lake).await;
    let log: Vec<(i64, i64)> =
        state.metadata().history().iter().map(|entry| (entry.snapshot_id, entry.timestamp_ms())).collect();
    for snapshot in &snapshots {
        let (_, made) = log.iter().find(|(id, _)| id == snapshot).unwrap();
        // Commits may fall into one millisecond: the last of them counts.
        let current = log.iter().rev().find(|(_, ms)| ms <= made).unwrap().0;
        let time = shown_time(*made);
        let at_time = format!("SELECT * FROM shape.orders FOR TIMESTAMP AS OF '{time}' ORDER BY id");
        let at_version = format!("SELECT * FROM shape.orders FOR VERSION AS OF {current} ORDER BY id");
        assert_eq!(lake.sql(&at_time).await, lake.sql(&at_version).await);
        assert_eq!(lake.sql(&at_time.replace("AS OF", "AS OF TIMESTAMP")).await, lake.sql(&at_version).await);
    }
    let error = refused(&lake, "SELECT * FROM shape.orders TIMESTAMP AS OF '2001-01-01'").await;
    let oldest = state.metadata().snapshots().map(|snapshot| snapshot.timestamp_ms()).min().unwrap();
    for part in ["shape.orders", "2001-01-01", &shown_time(oldest), "newest"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(lake.sql("SELECT COUNT(*) FROM shape.orders TIMESTAMP AS OF '2999-01-01'").await, [json!([3])]);
}

#[tokio::test]
async fn a_moment_that_is_not_there_is_refused_with_what_there_is() {
    let (lake, snapshots) = three().await;
    for (clause, wanted) in [("VERSION AS OF 7", "version 7"), ("FOR VERSION AS OF 'lost'", "version lost")] {
        let error = refused(&lake, &format!("SELECT * FROM shape.orders {clause}")).await;
        assert!(error.contains(wanted) && error.contains("shape.orders"), "{error}");
        assert!(error.contains(&snapshots[2].to_string()), "{error}");
    }
    assert!(refused(&lake, "SELECT * FROM shape.gone VERSION AS OF 7").await.contains("'lake.shape.gone' not found"));
    assert!(refused(&lake, "SELECT * FROM shape.orders FOR TIMESTAMP AS OF 'noon'").await.contains("noon"));
    assert!(refused(&lake, "SELECT * FROM shape.orders FOR VERSION AS OF $1").await.contains("written out"));
}

#[tokio::test]
async fn a_table_tells_what_it_knows_of_itself() {
    let (lake, snapshots) = three().await;
    let ids = lake.sql("SELECT snapshot_id FROM shape.orders$snapshots ORDER BY committed_at, snapshot_id").await;
    let mut found: Vec<i64> = ids.iter().map(|row| row[0].as_i64().unwrap()).collect();
    let mut expected: Vec<i64> = state(&lake).await.metadata().snapshots().map(|s| s.snapshot_id()).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(snapshots.iter().all(|id| found.contains(id)));
    assert_eq!(
        lake.sql("SELECT snapshot_id FROM shape.\"orders$history\" ORDER BY made_current_at DESC LIMIT 1").await.len(),
        1
    );
    let totals = "SELECT SUM(record_count), COUNT(*) FROM shape.orders$files WHERE content = 0";
    let files = state(&lake).await.files.len();
    assert_eq!(lake.sql(totals).await, [json!([3, files])]);
    let past = format!("SELECT SUM(record_count) FROM shape.orders$files FOR VERSION AS OF {} AS f", snapshots[0]);
    assert_eq!(lake.sql(&past).await, [json!([2])]);
    assert_eq!(lake.sql("SELECT name, type FROM shape.orders$refs").await, [json!(["main", "BRANCH"])]);
    assert_eq!(lake.sql("SELECT COUNT(*) > 0, MIN(content) FROM shape.orders$manifests").await, [json!([true, 0])]);
    let partitions: Vec<Value> = lake.sql("SELECT partition, record_count FROM stage.orders$partitions").await;
    assert_eq!(partitions.iter().map(|row| row[1].as_i64().unwrap()).sum::<i64>(), 4);
    assert!(partitions[0][0].as_str().unwrap().contains('='), "{partitions:?}");
    let error = refused(&lake, "SELECT * FROM shape.orders$nothing").await;
    assert!(error.contains("$snapshots") && error.contains("shape.orders"), "{error}");
}

#[tokio::test]
async fn explain_is_allowed_of_what_may_run() {
    let (lake, _) = three().await;
    for sql in ["EXPLAIN SELECT * FROM shape.orders", "EXPLAIN ANALYZE SELECT COUNT(*) FROM shape.orders WHERE id > 1"]
    {
        assert!(format!("{:?}", lake.sql(sql).await).contains("shape.orders"), "{sql}");
    }
    for sql in [
        "EXPLAIN DELETE FROM shape.orders",
        "EXPLAIN ANALYZE INSERT INTO shape.orders SELECT * FROM shape.orders",
        "EXPLAIN COPY (SELECT 1) TO 'x.csv'",
        "COPY (SELECT 1) TO 'x.csv'",
    ] {
        assert!(!refused(&lake, sql).await.is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn results_are_streamed_whole_as_csv_lines_and_parquet() {
    let (lake, _) = three().await;
    let sql = "SELECT id, note, CAST(id AS DECIMAL(10, 2)) AS d, NULL AS n FROM shape.orders ORDER BY id";
    let bytes = async |sql: &str, format, rows_max| {
        let stream = streamed(&lake.engine, sql, format, rows_max).await.unwrap();
        stream.try_collect::<Vec<_>>().await.unwrap().concat()
    };
    let csv = String::from_utf8(bytes(sql, Format::Csv, None).await).unwrap();
    assert_eq!(csv, "id,note,d,n\n1,,1.00,\n2,,2.00,\n3,gift,3.00,\n");
    let lines = String::from_utf8(bytes(sql, Format::Ndjson, Some(1)).await).unwrap();
    assert_eq!(lines.lines().nth(1), Some(r#"[1,null,"1.00",null]"#));
    assert_eq!(lines.lines().count(), 2);
    let parquet = bytes::Bytes::from(bytes(sql, Format::Parquet, None).await);
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(parquet, 100).unwrap();
    let read: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
    let rows: Vec<Value> = read.iter().flat_map(|batch| crate::sql::format::rows(batch).unwrap()).collect();
    assert_eq!(rows, lake.sql(sql).await);
    // More rows than JSON and the table would give.
    let many = bytes("SELECT value FROM generate_series(1, 250000)", Format::Csv, None).await;
    assert_eq!(many.iter().filter(|byte| **byte == b'\n').count(), 250_001);
}
