//! Each model over the fixture of `tests/models`, against its file of queries and rows in the format of sqllogictest.
//!
//! A runner of our own, of the part of the format that is used (`query … rowsort`): the crate of that name would bring a
//! dozen others for it. `tests/models/engines.py` asks DuckDB and Spark the same. With `HAUS_WRITE_SLT=1` the files are
//! written anew.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fixture::Lake;
use crate::{
    models::{Models, page, unit::Row},
    runner::{
        offline::{Offline, Tables, as_rows},
        session::Sessions,
    },
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models")
}

/// Rows of a CSV file; an empty cell is null.
fn rows(file: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let value = |cell: String| if cell.is_empty() { Value::Null } else { Value::String(cell) };
    lines.map(|cells| names.iter().cloned().zip(cells.into_iter().map(value)).collect()).collect()
}

/// What a query says, a line per row, sorted.
fn lines(rows: &[Row], columns: &[String]) -> Vec<String> {
    let cell = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines: Vec<String> =
        rows.iter().map(|row| columns.iter().map(|name| cell(&row[name])).collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn every_model_says_what_its_file_says() {
    let lake = Lake::new(100);
    let models = Models::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")).unwrap();
    let offline = Offline::new(&models, Sessions::new(&lake.engine)).await.unwrap();
    let mut tables = Tables::new();
    for source in models.sources() {
        let rows = rows(&folder().join(format!("fixture/{source}.csv")));
        assert!(!rows.is_empty());
        tables.insert(source.to_owned(), offline.given(source, &rows).unwrap());
    }
    let write = std::env::var_os("HAUS_WRITE_SLT").is_some();
    for name in models.graph.order() {
        let batch = offline.rows(models.get(name).unwrap(), &tables).await.unwrap();
        let columns: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let found = lines(&as_rows(&batch).unwrap(), &columns);
        tables.insert(name.clone(), batch);
        let file = folder().join(format!("{name}.slt"));
        if write {
            let kinds = "T".repeat(columns.len());
            let text = format!(
                "# {name} over tests/models/fixture\n\nquery {kinds} rowsort\nSELECT {} FROM {name}\n----\n{}\n",
                columns.join(", "),
                found.join("\n")
            );
            std::fs::write(&file, text).unwrap();
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let (head, wanted) = text.split_once("\n----\n").unwrap();
        assert!(head.ends_with(&format!("SELECT {} FROM {name}", columns.join(", "))), "{name}: columns");
        assert!(!found.is_empty());
        assert_eq!(found, wanted.lines().map(str::to_owned).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn the_unit_tests_of_the_models_pass_and_can_fail() {
    let lake = Lake::new(100);
    let models = Models::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")).unwrap();
    let offline = Offline::new(&models, Sessions::new(&lake.engine)).await.unwrap();
    let all = models.iter().map(|model| model.name.clone()).collect();
    let results = offline.unit_tests(&models.unit_tests, &all).await.unwrap();
    assert!(results.iter().all(|result| result.differences.is_empty()), "{results:?}");
    for model in models.iter() {
        assert!(results.iter().any(|result| result.model == model.name), "{} has no unit test", model.name);
    }
    let mut wrong = models.unit_tests[0].clone();
    wrong.expect.pop();
    assert_eq!(offline.unit_tests(&[wrong], &all).await.unwrap()[0].differences.len(), 1);
}

#[tokio::test]
async fn the_page_shows_every_model_and_loads_nothing() {
    let lake = Lake::new(100);
    let models = Models::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")).unwrap();
    let offline = Offline::new(&models, Sessions::new(&lake.engine)).await.unwrap();
    let run = serde_json::json!([
        "serve.daily_revenue",
        "built",
        "full",
        "its code changed",
        "2024-05-05T00:00:00",
        1,
        7,
        12
    ]);
    let html = page::page(&models, &offline.described(), &[run]);
    // To look at it in a browser.
    if let Some(file) = std::env::var_os("HAUS_WRITE_PAGE") {
        std::fs::write(file, &html).unwrap();
    }
    for model in models.iter() {
        assert!(html.contains(&format!("<section id=\"{}\">", model.name)), "{}", model.name);
    }
    assert!(html.contains("<td>revenue</td><td>decimal(18,2)</td>") && html.contains("its code changed"));
    for outside in ["src=", "<script", "<link", "url(", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[tokio::test]
async fn lineage_follows_a_column_to_its_table() {
    let lake = Lake::new(100);
    let models = Models::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")).unwrap();
    let offline = Offline::new(&models, Sessions::new(&lake.engine)).await.unwrap();
    let of = |model: &str, column: &str| {
        let from = offline.lineage[model][column].iter();
        from.map(|(table, column)| format!("{table}.{column}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("shape.order_totals", "revenue"), "shape.order_items.price_at_purchase shape.order_items.quantity");
    assert_eq!(of("serve.daily_revenue", "day"), "shape.order_totals.day");
    assert_eq!(of("serve.cohort_retention", "months_since"), "shape.order_totals.day");
    assert_eq!(of("serve.category_trend", "category"), "shape.products.category");
    assert_eq!(of("serve.inventory_risk", "risk"), "shape.order_lines.quantity shape.products.stock_quantity");
}
