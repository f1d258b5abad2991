//! `serve._runs` does not grow for ever: maintenance forgets old rows of it, and of nothing else.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{AsArray, RecordBatch, TimestampMicrosecondArray},
    compute::concat_batches,
    datatypes::TimestampMicrosecondType,
};
use async_trait::async_trait;
use iceberg::TableIdent;
use serde_json::json;

use super::{fixture::Lake, shop::Shop};
use crate::{
    error::Result,
    layers,
    maintenance::{
        Maintenance, Steps,
        expire::Retention,
        warehouse::{Stored, Warehouse},
    },
    tables::{commit::Change, read::collect_files, write::write_batches},
};

const DAY: Duration = Duration::from_secs(86_400);
const STEPS: Steps = Steps { dry_run: false, files_min: 2, without_key: true, orphans: false, measure: false };

/// Orphans are not looked for here.
struct Unlisted;

#[async_trait]
impl Warehouse for Unlisted {
    async fn list(&self, _: &str) -> Result<Vec<Stored>> {
        Ok(Vec::new())
    }
}

fn maintenance(lake: &Lake) -> Maintenance {
    let retention = Retention::new(Duration::ZERO, 1);
    Maintenance::new(lake.shape.tables.clone(), Arc::new(Unlisted), retention, Duration::ZERO, 100)
}

/// Adds files of the rows there are, each as of so many days ago; a file holds the rows of its list.
async fn age(lake: &Lake, runs: &TableIdent, files: &[&[i64]]) {
    let tables = &lake.shape.tables;
    let state = tables.load(runs).await.unwrap().unwrap();
    let rows = collect_files(&state, &state.files, None).await.unwrap();
    let rows = concat_batches(&rows[0].schema(), &rows).unwrap();
    let place = rows.schema().index_of("ended_at").unwrap();
    let ended = rows.column(place).as_primitive::<TimestampMicrosecondType>();
    let mut add = Vec::new();
    for days in files {
        let aged = days.iter().map(|days| {
            let earlier = ended.iter().map(|ended| ended.map(|ended| ended - days * 86_400_000_000));
            let mut columns = rows.columns().to_vec();
            columns[place] = Arc::new(earlier.collect::<TimestampMicrosecondArray>().with_timezone("+00:00"));
            RecordBatch::try_new(rows.schema(), columns).unwrap()
        });
        let aged: Vec<RecordBatch> = aged.collect();
        add.extend(write_batches(state.metadata(), tables.file_io(), aged).await.unwrap());
    }
    tables.commit(&state, Change { add, ..Change::default() }).await.unwrap();
}

#[tokio::test]
async fn old_runs_are_forgotten_and_nothing_else() {
    let lake = Lake::new(100);
    let mut shop = Shop::open(&lake).await;
    let runner = lake.runner();
    runner.run().await.unwrap();
    runner.history.write().await.unwrap();
    let runs = layers::serve_table(layers::RUNS);
    // Old days by themselves, and beside newer ones in a file.
    age(&lake, &runs, &[&[40], &[100, 31, 29, 1], &[10]]).await;
    let count = "SELECT COUNT(*), COUNT(DISTINCT date_trunc('day', ended_at)) FROM serve._runs";
    assert_eq!(lake.sql(count).await, [json!([70, 7])]);
    // Without being told so nothing goes, and a dry run only tells.
    let report = maintenance(&lake).table(&runs, STEPS).await.unwrap();
    assert_eq!((report.rows_forgotten, report.after.rows), (0, 70));
    let kept = || maintenance(&lake).keeping_runs(30 * DAY);
    let dry = kept().table(&runs, Steps { dry_run: true, ..STEPS }).await.unwrap();
    assert_eq!((dry.would_rewrite, dry.rows_forgotten, dry.after.rows), (true, 0, 70));
    let report = kept().table(&runs, STEPS).await.unwrap();
    assert_eq!((report.rows_forgotten, report.after.rows, report.did_something()), (30, 40, true), "{report:?}");
    assert_eq!(lake.sql(count).await, [json!([40, 4])]);
    let oldest = "SELECT MIN(ended_at) < now() - INTERVAL '28' DAY AND MIN(ended_at) > now() - INTERVAL '30' DAY FROM serve._runs";
    assert_eq!(lake.sql(oldest).await, [json!([true])]);
    let again = kept().table(&runs, STEPS).await.unwrap();
    assert!(!again.did_something(), "{again:?}");
    // Other tables keep all they have, and the history goes on.
    let funnel = layers::serve_table("order_funnel");
    assert_eq!(kept().table(&funnel, STEPS).await.unwrap().rows_forgotten, 0);
    shop.put("orders", "4|1|delivered|5.00|2024-06-01 01:00:00");
    shop.pump(&lake).await;
    assert!(!runner.run().await.unwrap().built.is_empty());
    runner.history.write().await.unwrap();
    assert!(lake.sql(count).await[0][0].as_i64() > Some(40));
}
