//! What is said of a data file is true of its rows: bounds and counts, its order, its bloom filters.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
use iceberg::spec::{ManifestEntryRef, PrimitiveLiteral};
use model::{cell::Cell, envelope::Op};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::{
    fixture::Lake,
    topic::{ColumnSpec, NUMERIC_10_2, Topic},
};
use crate::{
    layers,
    tables::{TableState, order, read::collect_files},
};

const COLUMNS: [ColumnSpec; 3] =
    [("id", 23, "int4", -1, false), ("name", 25, "text", -1, true), ("amount", 1700, "numeric", NUMERIC_10_2, true)];

/// A lake with many files: keys in no order, every third name and every fourth amount null.
async fn filled() -> (Lake, Topic) {
    let lake = Lake::new(16);
    let mut topic = Topic::new("things", &COLUMNS);
    for pass in 0..3_i64 {
        for step in 0..60_i64 {
            let key = (step * 37 + pass * 11) % 101;
            let (id, name, amount) = (key.to_string(), format!("n{}", key * 7 % 50), format!("{}.25", key * 3 - 100));
            let name = if key % 3 == 0 { Cell::Null } else { Cell::Text(name.as_bytes()) };
            let amount = if key % 4 == 0 { Cell::Null } else { Cell::Text(amount.as_bytes()) };
            topic.event((key % 2) as i32, Op::Update, None, Some(&[Cell::Text(id.as_bytes()), name, amount]));
        }
        lake.raw.flush(&mut topic, 1);
        lake.stage_all(&topic.name).await;
        lake.shape_all(&topic.name).await;
    }
    (lake, topic)
}

async fn state(lake: &Lake, ident: iceberg::TableIdent) -> std::sync::Arc<TableState> {
    lake.shape.tables.load(&ident).await.unwrap().unwrap()
}

async fn rows(state: &TableState, file: &ManifestEntryRef) -> RecordBatch {
    let batches = collect_files(state, std::slice::from_ref(file), None).await.unwrap();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[tokio::test]
async fn bounds_and_counts_of_every_file_are_those_of_its_rows() {
    let (lake, topic) = filled().await;
    let stage = state(&lake, layers::stage_table(&topic.name).unwrap()).await;
    let shape = state(&lake, layers::shape_table(&topic.name).unwrap()).await;
    let history = state(&lake, layers::history_table(&topic.name).unwrap()).await;
    assert!(shape.files.len() > 3 && stage.files.len() > 2);
    for state in [stage, shape, history] {
        let id = |name: &str| state.metadata().current_schema().field_id_by_name(name).unwrap();
        for entry in &state.files {
            let (file, rows) = (entry.data_file(), rows(&state, entry).await);
            assert_eq!(file.record_count(), rows.num_rows() as u64);
            for field in state.metadata().current_schema().as_struct().fields() {
                let column = rows.column_by_name(&field.name).unwrap();
                assert_eq!(
                    file.null_value_counts().get(&field.id),
                    Some(&(column.null_count() as u64)),
                    "{}",
                    field.name
                );
                assert_eq!(file.value_counts().get(&field.id), Some(&(column.len() as u64)), "{}", field.name);
                assert!(file.column_sizes().contains_key(&field.id), "{}", field.name);
            }
            let bound = |name: &str| {
                let of = |bounds: &std::collections::HashMap<i32, iceberg::spec::Datum>| {
                    bounds.get(&id(name)).map(|bound| bound.literal().clone())
                };
                (of(file.lower_bounds()), of(file.upper_bounds()))
            };
            let ids = rows["id"].as_primitive::<Int32Type>();
            let ids = (ids.iter().flatten().min(), ids.iter().flatten().max());
            assert_eq!(bound("id"), (ids.0.map(PrimitiveLiteral::Int), ids.1.map(PrimitiveLiteral::Int)));
            let amounts: Vec<i128> = rows["amount"].as_primitive::<Decimal128Type>().iter().flatten().collect();
            let amounts = (amounts.iter().min().copied(), amounts.iter().max().copied());
            assert_eq!(
                bound("amount"),
                (amounts.0.map(PrimitiveLiteral::Int128), amounts.1.map(PrimitiveLiteral::Int128))
            );
            let names: BTreeSet<&str> = rows["name"].as_string::<i32>().iter().flatten().collect();
            let text = |name: Option<&&str>| name.map(|name| PrimitiveLiteral::String((*name).to_owned()));
            assert_eq!(bound("name"), (text(names.first()), text(names.last())));
        }
    }
}

#[tokio::test]
async fn files_are_in_the_order_that_the_table_declares_and_say_so() {
    let (lake, topic) = filled().await;
    for (ident, columns) in [
        (layers::stage_table(&topic.name).unwrap(), vec!["_partition", "_offset"]),
        (layers::shape_table(&topic.name).unwrap(), vec!["id"]),
        (layers::history_table(&topic.name).unwrap(), vec!["id"]),
    ] {
        let state = state(&lake, ident).await;
        let declared = state.metadata().default_sort_order();
        assert_eq!(declared.as_ref(), &order::by(state.metadata().current_schema(), &columns).unwrap());
        for entry in &state.files {
            assert_eq!(entry.data_file().sort_order_id(), Some(1), "{columns:?}");
            let rows = rows(&state, entry).await;
            let keys: Vec<(i64, i64)> = if columns.len() == 2 {
                let partitions = rows["_partition"].as_primitive::<Int32Type>().iter().flatten();
                partitions.map(i64::from).zip(rows["_offset"].as_primitive::<Int64Type>().iter().flatten()).collect()
            } else {
                rows["id"].as_primitive::<Int32Type>().iter().flatten().map(|id| (i64::from(id), 0)).collect()
            };
            assert!(keys.is_sorted(), "{columns:?}: {keys:?}");
        }
    }
}

#[tokio::test]
async fn a_file_whose_rows_are_in_no_order_does_not_say_that_they_are() {
    let (lake, topic) = filled().await;
    let state = state(&lake, layers::shape_table(&topic.name).unwrap()).await;
    let rows = rows(&state, &state.files[0]).await;
    let backwards: arrow::array::UInt64Array = (0..rows.num_rows() as u64).rev().collect();
    let schema = crate::tables::schema::arrow_schema(state.metadata().current_schema()).unwrap();
    let rows = crate::tables::schema::conform(&rows, &schema).unwrap();
    let rows = arrow::compute::take_record_batch(&rows, &backwards).unwrap();
    // Each batch is in order, the two together are not.
    let (first, second) = (rows.slice(1, 1), rows.slice(2, 1));
    let io = lake.shape.tables.file_io();
    for batches in [vec![rows], vec![first, second]] {
        let written = crate::tables::write::write_batches(state.metadata(), io, batches).await.unwrap();
        assert_eq!(written[0].sort_order_id(), None);
    }
}

#[tokio::test]
async fn keys_have_bloom_filters_that_know_them_and_stay_small() {
    let (lake, topic) = filled().await;
    for ident in [layers::stage_table(&topic.name).unwrap(), layers::shape_table(&topic.name).unwrap()] {
        let state = state(&lake, ident).await;
        for entry in &state.files {
            let ids = rows(&state, entry).await["id"].as_primitive::<Int32Type>().clone();
            let bytes = lake.shape.tables.file_io().new_input(entry.file_path()).unwrap().read().await.unwrap();
            let length = bytes.len();
            let properties = parquet::file::properties::ReaderProperties::builder().set_read_bloom_filter(true).build();
            let options =
                parquet::file::serialized_reader::ReadOptionsBuilder::new().with_reader_properties(properties);
            let file = SerializedFileReader::new_with_options(bytes, options.build()).unwrap();
            let group = file.get_row_group(0).unwrap();
            let place = |name: &str| {
                let columns = group.metadata().columns();
                columns.iter().position(|column| column.column_path().string() == name).unwrap()
            };
            let filter = group.get_column_bloom_filter(place("id")).unwrap();
            assert!(ids.iter().flatten().all(|id| filter.check(&id)));
            let strangers = (1_000_000..1_001_000).filter(|id: &i32| filter.check(id)).count();
            assert!(strangers < 300, "{strangers} of 1000 that are not there");
            assert!(group.get_column_bloom_filter(place("name")).is_none());
            assert!(length < 16_000, "{length} bytes");
        }
    }
}
