//! Plans as a scheduler and its executors receive them: read there, they have the rows that they have here.

use std::sync::Arc;

use arrow::{
    array::{AsArray, BooleanArray},
    datatypes::Int32Type,
    util::pretty::pretty_format_batches,
};
use datafusion::{physical_plan::collect, prelude::SessionContext};
use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use model::{cell::Cell, envelope::Op};

use super::{
    fixture::Lake,
    topic::{ColumnSpec, Topic},
};
use crate::{
    cluster::codec::{Scans, Tables},
    layers,
    runner::session::{Sessions, whole},
    sql::Pinned,
    tables::deletes::delete_rows,
};

const COLUMNS: [ColumnSpec; 3] =
    [("id", 23, "int4", -1, false), ("name", 25, "text", -1, true), ("note", 25, "text", -1, true)];
const QUERIES: [&str; 4] = [
    "SELECT COUNT(*) AS n FROM shape.things",
    "SELECT id, name, note FROM shape.things ORDER BY id",
    "SELECT note, COUNT(*) AS n FROM shape.things WHERE id >= 3 AND name = 'x' GROUP BY note ORDER BY note",
    "SELECT a.id FROM shape.things AS a WHERE a.id IN (SELECT b.id * 2 FROM shape.things AS b WHERE b.note IS NULL) ORDER BY 1",
];

/// Files of two schemas, rows of which were deleted by position.
async fn filled() -> (Lake, Pinned) {
    let lake = Lake::new(3);
    let mut topic = Topic::new("things", &COLUMNS[..2]);
    for width in [2, 3] {
        topic = topic.altered(&COLUMNS[..width]);
        for id in 0..8 {
            let id = (id + 8 * (width - 2)).to_string();
            let row = [Cell::Text(id.as_bytes()), Cell::Text(b"x"), Cell::Text(b"y")];
            topic.event(0, Op::Create, None, Some(&row[..width]));
        }
        lake.raw.flush(&mut topic, 0);
        lake.stage_all(&topic.name).await;
        lake.shape_all(&topic.name).await;
    }
    let tables = &lake.shape.tables;
    let state = tables.load(&layers::shape_table(&topic.name).unwrap()).await.unwrap().unwrap();
    let odd = |rows: &arrow::record_batch::RecordBatch| {
        let ids = rows.column_by_name("id").unwrap().as_primitive::<Int32Type>();
        Ok((0..ids.len()).map(|row| Some(ids.value(row) % 4 == 1)).collect::<BooleanArray>())
    };
    let deleted = delete_rows(&state, tables.file_io(), odd).await.unwrap().unwrap();
    let state = tables.commit(&state, deleted).await.unwrap();
    assert!(state.files.len() > 3 && !state.deletes.is_empty());
    (lake, Pinned::from([("shape.things".to_owned(), state)]))
}

/// Everything that a plan goes through on its way to an executor.
async fn as_sent(lake: &Lake, pinned: &Pinned, sql: &str) -> String {
    let io = lake.shape.tables.file_io();
    let (tables, scans) = (Tables::new(io.clone()), Scans::new(io.clone()));
    let session = Sessions::new(&lake.engine).over(&whole(pinned).unwrap()).unwrap();
    let plan = session.to_send(sql).await.unwrap();
    let bytes = logical_plan_to_bytes_with_extension_codec(&plan, tables.as_ref()).unwrap();
    let there = SessionContext::new();
    let context = there.task_ctx();
    let plan = logical_plan_from_bytes_with_extension_codec(&bytes, &context, tables.as_ref()).unwrap();
    let plan = there.state().create_physical_plan(&plan).await.unwrap();
    let bytes = physical_plan_to_bytes_with_extension_codec(plan, scans.as_ref()).unwrap();
    let plan = physical_plan_from_bytes_with_extension_codec(&bytes, &context, scans.as_ref()).unwrap();
    pretty_format_batches(&collect(plan, context).await.unwrap()).unwrap().to_string()
}

async fn here(lake: &Lake, pinned: &Pinned, sql: &str) -> String {
    let session = Sessions::new(&lake.engine).over(&whole(pinned).unwrap()).unwrap();
    let rows = session.query(sql).await.unwrap();
    let rows: Vec<_> = futures::TryStreamExt::try_collect(rows).await.unwrap();
    pretty_format_batches(&rows).unwrap().to_string()
}

#[test]
fn a_plan_that_was_sent_finds_the_same_rows() {
    let body = async {
        let (lake, pinned) = filled().await;
        for sql in QUERIES {
            let rows = here(&lake, &pinned, sql).await;
            assert_eq!(as_sent(&lake, &pinned, sql).await, rows, "{sql}");
        }
        let all = here(&lake, &pinned, QUERIES[1]).await;
        assert_eq!(all.lines().count(), 12 + 4, "{all}");
    };
    // Plans are walked by recursion, with large frames where nothing is optimised: as in crate `service`.
    let thread = std::thread::Builder::new().stack_size(16 << 20).spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(16 << 20).enable_all().build();
        let runtime = Arc::new(runtime.unwrap());
        runtime.block_on(body);
    });
    thread.unwrap().join().unwrap();
}
