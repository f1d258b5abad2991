//! The SQL port, spoken to by tokio-postgres (extended protocol, values in binary) and by its simple protocol.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{TryStreamExt, future::join_all};
use model::{cell::Cell, envelope::Op, secret::Secret};
use serde_json::json;
use testkit::wait_until;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, error::SqlState, types::Type};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    fixture::Lake,
    topic::{NUMERIC_10_2, Topic},
};
use crate::{
    port::{Limits, Port},
    sql::Engine,
};

/// A port on a lake; it ends with it.
struct Served {
    address: SocketAddr,
    _stop: DropGuard,
}

const WIDE: Limits = Limits { rows_max: 10_000_000, connections_max: 16 };
/// Runs for longer than any test.
const ENDLESS: &str =
    "SELECT SUM(a.value * b.value) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b";

async fn serve(engine: &Engine, limits: Limits, password: Option<&str>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let port = Port::new(engine.clone(), limits, password.map(Secret::new).as_ref()).unwrap();
    tokio::spawn(port.serve_on(listener, stop.clone()));
    Served { address, _stop: stop.drop_guard() }
}

impl Served {
    fn config(&self) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.address.port()).user("haus").dbname("lake");
        config
    }

    async fn client(&self) -> Client {
        let (client, connection) = self.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// `shape.orders` with 40 rows, amounts and times that no float holds.
async fn shop() -> Lake {
    let lake = Lake::new(100);
    let mut topic = Topic::new(
        "orders",
        &[
            ("id", 23, "int4", -1, false),
            ("status", 25, "text", -1, false),
            ("total", 1700, "numeric", NUMERIC_10_2, true),
            ("at", 1114, "timestamp", -1, true),
            ("paid", 16, "bool", -1, true),
            ("raw", 17, "bytea", -1, true),
        ],
    );
    for id in 0..40 {
        let (key, total) = (id.to_string(), format!("{}.{:02}", 98_765_400 + id, id));
        let at = format!("2024-05-05 10:00:{id:02}.{:06}", id * 25_001);
        let row = [
            Cell::Text(key.as_bytes()),
            Cell::Text(b"paid, \"all\""),
            if id == 7 { Cell::Null } else { Cell::Text(total.as_bytes()) },
            Cell::Text(at.as_bytes()),
            Cell::Text(if id % 2 == 0 { b"t" } else { b"f" }),
            Cell::Text(b"\\x00ff"),
        ];
        topic.event(0, Op::Create, None, Some(&row));
    }
    lake.raw.flush(&mut topic, 0);
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
    lake
}

fn code(error: &tokio_postgres::Error) -> String {
    error.code().map_or_else(|| format!("{error:?}"), |code| code.code().to_owned())
}

async fn cells(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap();
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_those_of_the_http_interface() {
    let lake = shop().await;
    let served = serve(&lake.engine, WIDE, None).await;
    let client = served.client().await;
    let sql = "SELECT id, status, total, at, paid, raw FROM shape.orders ORDER BY id";
    let by_http = lake.sql(sql).await;
    let by_port = cells(&client, sql).await;
    assert_eq!(by_port.len(), 40);
    for (http, port) in by_http.iter().zip(&by_port) {
        assert_eq!(port[0].as_deref().unwrap(), http[0].to_string());
        assert_eq!(port[1].as_deref(), http[1].as_str());
        assert_eq!(port[2].as_deref(), http[2].as_str());
        let time = http[3].as_str().unwrap().replace('T', " ");
        assert_eq!(port[3].as_deref().unwrap(), time.trim_end_matches('0').trim_end_matches('.'));
        assert_eq!(port[4].as_deref().unwrap() == "t", http[4].as_bool().unwrap());
        assert_eq!(port[5].as_deref().unwrap(), format!("\\x{}", http[5].as_str().unwrap()));
    }
    // The same in binary.
    let rows = client.query(sql, &[]).await.unwrap();
    let at: chrono::NaiveDateTime = rows[39].get(3);
    assert_eq!(at.format("%Y-%m-%dT%H:%M:%S%.6f").to_string(), by_http[39][3].as_str().unwrap());
    assert_eq!((rows[39].get::<_, i32>(0), rows[38].get::<_, bool>(4)), (39, true));
    assert_eq!(rows[0].get::<_, Vec<u8>>(5), [0, 255]);
    assert_eq!(rows[0].columns()[2].type_(), &Type::NUMERIC);
    assert_eq!(rows[0].columns()[3].type_(), &Type::TIMESTAMP);
    let row = client
        .query_one(
            "SELECT arrow_cast(1, 'Int16'), 2::bigint, 0.5::double, 0.25::real, DATE '2024-05-04', NULL, \
             to_timestamp('2024-05-05T05:05:05.000001Z'), [1, NULL, 3], ['a', 'b c']",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i16>(0), row.get::<_, i64>(1)), (1, 2));
    assert_eq!((row.get::<_, f64>(2), row.get::<_, f32>(3)), (0.5, 0.25));
    assert_eq!(row.get::<_, chrono::NaiveDate>(4).to_string(), "2024-05-04");
    assert_eq!(row.get::<_, Option<String>>(5), None);
    assert_eq!(row.get::<_, Vec<Option<i64>>>(7), [Some(1), None, Some(3)]);
    assert_eq!(row.get::<_, Vec<String>>(8), ["a", "b c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_prepared_once_and_run_with_many_values() {
    let lake = shop().await;
    let served = serve(&lake.engine, WIDE, None).await;
    let client = served.client().await;
    let by_id = client.prepare("SELECT status, paid FROM shape.orders WHERE id = $1").await.unwrap();
    assert_eq!(by_id.params(), [Type::INT4]);
    for id in 0..5_i32 {
        assert_eq!(client.query_one(&by_id, &[&id]).await.unwrap().get::<_, bool>(1), id % 2 == 0);
    }
    let several = "SELECT COUNT(*) FROM shape.orders WHERE status = $1 AND at >= $2 AND paid = $3 AND raw = $4";
    let since = chrono::NaiveDate::from_ymd_opt(2024, 5, 5).unwrap().and_hms_opt(10, 0, 20).unwrap();
    let count = client.query_one(several, &[&"paid, \"all\"", &since, &true, &vec![0_u8, 255]]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 10);
    // More digits than the column has: not rounded to them.
    let typed =
        client.prepare_typed("SELECT COUNT(*) FROM shape.orders WHERE total > $1::numeric(20,5)", &[Type::TEXT]);
    assert_eq!(client.query_one(&typed.await.unwrap(), &[&"98765400.00001"]).await.unwrap().get::<_, i64>(0), 38);
    assert_eq!(client.query_one("SELECT $1::int + 1", &[&41_i32]).await.unwrap().get::<_, i64>(0), 42);
    let none: Option<i32> = None;
    assert!(client.query("SELECT 1 FROM shape.orders WHERE id = $1", &[&none]).await.unwrap().is_empty());
    // What is committed meanwhile is seen by the next run.
    let total = client.prepare("SELECT COUNT(*) FROM shape.orders").await.unwrap();
    assert_eq!(client.query_one(&total, &[]).await.unwrap().get::<_, i64>(0), 40);
    let mut topic = Topic::new("later", &[("id", 23, "int4", -1, false)]);
    topic.event(0, Op::Create, None, Some(&[Cell::Text(b"1")]));
    assert_eq!(code(&client.query("SELECT * FROM shape.later", &[]).await.unwrap_err()), "42P01");
    lake.raw.flush(&mut topic, 0);
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
    assert_eq!(client.query("SELECT * FROM shape.later", &[]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_gives_its_rows_piece_by_piece() {
    let lake = shop().await;
    let served = serve(&lake.engine, WIDE, None).await;
    let mut client = served.client().await;
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("SELECT id FROM shape.orders ORDER BY id", &[]).await.unwrap();
    let mut seen = Vec::new();
    for expected in [15, 15, 10, 0] {
        let rows = transaction.query_portal(&portal, 15).await.unwrap();
        assert_eq!(rows.len(), expected);
        seen.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    transaction.batch_execute("DECLARE c CURSOR FOR SELECT id FROM shape.orders ORDER BY id DESC").await.unwrap();
    transaction.commit().await.unwrap();
    let fetched = client.simple_query(
        "BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT id FROM shape.orders ORDER BY id; \
         FETCH 2 FROM c; FETCH FORWARD 3 FROM c; FETCH ALL FROM c; FETCH c; CLOSE c; COMMIT",
    );
    let counts: Vec<u64> = fetched
        .await
        .unwrap()
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [0, 0, 2, 3, 35, 0, 0, 0]);
    assert_eq!(code(&client.simple_query("DECLARE c CURSOR FOR SELECT 1").await.unwrap_err()), "25P01");
}

/// All bytes of a `COPY`.
async fn copied(client: &Client, sql: &str) -> Result<Vec<u8>, tokio_postgres::Error> {
    let data: Vec<_> = client.copy_out(sql).await?.try_collect().await?;
    Ok(data.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_in_bulk_within_the_limits() {
    let lake = shop().await;
    let served = serve(&lake.engine, WIDE, None).await;
    let client = served.client().await;
    let sql = "SELECT id, status, total FROM shape.orders WHERE id BETWEEN 6 AND 7 ORDER BY id";
    let text = copied(&client, &format!("COPY ({sql}) TO STDOUT")).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&text), "6\tpaid, \"all\"\t98765406.06\n7\tpaid, \"all\"\t\\N\n");
    let csv = copied(&client, &format!("COPY ({sql}) TO STDOUT (FORMAT csv, HEADER)")).await.unwrap();
    let expected = "id,status,total\n6,\"paid, \"\"all\"\"\",98765406.06\n7,\"paid, \"\"all\"\"\",\n";
    assert_eq!(String::from_utf8_lossy(&csv), expected);
    let stream = client.copy_out("COPY shape.orders (id, status) TO STDOUT BINARY").await.unwrap();
    let rows: Vec<_> = tokio_postgres::binary_copy::BinaryCopyOutStream::new(stream, &[Type::INT4, Type::TEXT])
        .try_collect()
        .await
        .unwrap();
    let ids: std::collections::BTreeSet<i32> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!((rows.len(), ids.len(), rows[0].get::<&str>(1)), (40, 40, "paid, \"all\""));
    // Nothing: still a whole copy.
    let none = copied(&client, "COPY (SELECT id FROM shape.orders WHERE id < 0) TO STDOUT BINARY").await.unwrap();
    assert!(none.starts_with(b"PGCOPY\n\xff\r\n\0") && none.ends_with(b"\xff\xff"), "{none:?}");
    let long = "COPY (SELECT value FROM generate_series(1, 100000)) TO STDOUT";
    assert_eq!(copied(&client, long).await.unwrap().iter().filter(|byte| **byte == b'\n').count(), 100_000);
    assert_eq!(code(&copied(&client, "COPY nowhere TO STDOUT").await.unwrap_err()), "42P01");
    let few = serve(&lake.engine, Limits { rows_max: 1000, ..WIDE }, None).await;
    let client = few.client().await;
    assert_eq!(code(&copied(&client, long).await.unwrap_err()), "54000");
    // The session goes on.
    assert_eq!(copied(&client, "COPY (SELECT 1) TO STDOUT").await.unwrap(), b"1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_changed() {
    let lake = shop().await;
    let served = serve(&lake.engine, WIDE, None).await;
    let client = served.client().await;
    for sql in [
        "INSERT INTO shape.orders VALUES (1)",
        "UPDATE shape.orders SET id = 1",
        "DELETE FROM shape.orders",
        "MERGE INTO shape.orders USING shape.orders o ON true WHEN MATCHED THEN DELETE",
        "TRUNCATE shape.orders",
        "DROP TABLE shape.orders",
        "CREATE TABLE x (a int)",
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "ALTER TABLE shape.orders ADD COLUMN x int",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "COPY shape.orders FROM STDIN",
        "COPY (DELETE FROM shape.orders) TO STDOUT",
        "EXPLAIN ANALYZE DELETE FROM shape.orders",
        "WITH x AS (SELECT 1) INSERT INTO shape.orders SELECT * FROM x",
    ] {
        for error in [client.simple_query(sql).await.err(), client.prepare(sql).await.err()] {
            let error = error.unwrap_or_else(|| panic!("{sql} was accepted"));
            assert!(
                error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) || sql.starts_with("WITH"),
                "{sql}: {error:?}"
            );
        }
    }
    assert_eq!(lake.sql("SELECT COUNT(*) FROM shape.orders").await, [json!([40])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_what_drivers_say() {
    let lake = shop().await;
    let served = serve(&lake.engine, WIDE, None).await;
    let client = served.client().await;
    for sql in ["SET extra_float_digits = 3", "SET application_name TO 'x'", "RESET ALL", "DISCARD ALL", "", ";"] {
        client.simple_query(sql).await.unwrap();
    }
    assert_eq!(cells(&client, "SHOW TRANSACTION ISOLATION LEVEL").await, [[Some("read committed".to_owned())]]);
    assert_eq!(client.query_one("SHOW server_version_num", &[]).await.unwrap().get::<_, &str>(0), "150000");
    assert_eq!(code(&client.simple_query("SHOW nonsense").await.unwrap_err()), "42704");
    assert_eq!(code(&client.simple_query("SET client_encoding = 'LATIN1'").await.unwrap_err()), "0A000");
    // A transaction that failed takes nothing until its end.
    client.simple_query("BEGIN").await.unwrap();
    assert_eq!(code(&client.simple_query("SELECT nothing FROM shape.orders").await.unwrap_err()), "42703");
    assert_eq!(code(&client.simple_query("SELECT 1").await.unwrap_err()), "25P02");
    client.simple_query("ROLLBACK").await.unwrap();
    // Two statements in one text; an error in the extended protocol does not end the session.
    assert_eq!(cells(&client, "SELECT 1; SELECT 'b;'").await, [[Some("1".to_owned())], [Some("b;".to_owned())]]);
    assert!(client.query("SELECT 1 / 0", &[]).await.is_err());
    assert_eq!(code(&client.query("CHOOSE 1", &[]).await.unwrap_err()), "42601");
    let row =
        client.query_one("SELECT current_database(), current_user, version(), current_schema()", &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("lake", "haus"));
    assert!(row.get::<_, &str>(2).starts_with("PostgreSQL 15"));
    let past = lake.sql("SELECT snapshot_id FROM shape.orders$snapshots ORDER BY committed_at LIMIT 1").await;
    let sql = format!("SELECT COUNT(*) FROM shape.orders FOR VERSION AS OF {}", past[0][0]);
    assert_eq!(client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_when_it_is_cancelled_too_long_or_alone() {
    let lake = shop().await;
    let served = serve(&lake.engine, WIDE, None).await;
    let client = served.client().await;
    let cancel = client.cancel_token();
    let client = Arc::new(client);
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.query(ENDLESS, &[]).await }
    });
    // A request that comes too early finds nothing to cancel.
    wait_until("the query is cancelled", Duration::from_secs(20), async || {
        cancel.cancel_query(NoTls).await.unwrap();
        running.is_finished()
    })
    .await;
    assert_eq!(code(&running.await.unwrap().unwrap_err()), "57014");
    assert_eq!(client.query_one("SELECT 1::bigint", &[]).await.unwrap().get::<_, i64>(0), 1);
    // The time.
    let short = Engine::bounded(lake.stage.tables.clone(), 256 << 20, Duration::from_millis(300)).unwrap();
    let quick = serve(&short, WIDE, None).await;
    let error = quick.client().await.query(ENDLESS, &[]).await.unwrap_err();
    assert_eq!(code(&error), "57014");
    assert!(error.as_db_error().unwrap().message().contains("LAKE_SQL_TIME_MAX_S"));
    // A client that goes away frees its place.
    let one = serve(&lake.engine, Limits { connections_max: 1, ..WIDE }, None).await;
    let (leaver, connection) = one.config().connect(NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let refused = one.config().connect(NoTls).await.err().unwrap();
    assert_eq!(code(&refused), "53300");
    // It leaves in the middle of a query. Dropping the client alone would wait for the query's end.
    assert!(tokio::time::timeout(Duration::from_millis(300), leaver.query(ENDLESS, &[])).await.is_err());
    connection.abort();
    wait_until("the query of the client that left is over", Duration::from_secs(20), async || {
        one.config().connect(NoTls).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_rows_are_bounded() {
    let lake = shop().await;
    let small = Engine::bounded(lake.stage.tables.clone(), 2 << 20, Duration::from_secs(60)).unwrap();
    let served = serve(&small, Limits { rows_max: 1000, ..WIDE }, None).await;
    let client = served.client().await;
    let much = "SELECT array_agg(a.value::varchar || 'xxxxxxxxxxxxxxxxxxxxxxxxxx') FROM generate_series(1, 1000000) a";
    assert_eq!(code(&client.query(much, &[]).await.unwrap_err()), "53200");
    let error = client.query("SELECT * FROM generate_series(1, 1001)", &[]).await.unwrap_err();
    assert_eq!(code(&error), "54000");
    assert_eq!(client.query("SELECT * FROM generate_series(1, 1000)", &[]).await.unwrap().len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_go_through_many_clients_at_once() {
    let lake = shop().await;
    let served = serve(&lake.engine, WIDE, None).await;
    let clients = (0..4).map(|_| async {
        let client = served.client().await;
        let none: [i32; 0] = [];
        let rows = client.query_raw("SELECT value FROM generate_series(1, 250000)", none).await.unwrap();
        rows.try_fold(0_i64, async |sum, row| Ok(sum + row.get::<_, i64>(0))).await.unwrap()
    });
    let sums = join_all(clients).await;
    assert_eq!(sums, [250_000 * 250_001 / 2; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_asked_for_when_there_is_one() {
    let lake = Lake::new(100);
    let served = serve(&lake.engine, WIDE, Some("s3cret")).await;
    let mut config = served.config();
    let (client, connection) = config.password("s3cret").connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(client.query_one("SELECT 1::bigint", &[]).await.unwrap().get::<_, i64>(0), 1);
    assert_eq!(code(&config.password("wrong").connect(NoTls).await.err().unwrap()), "28P01");
    assert_eq!(code(&config.password("s3cret").user("other").connect(NoTls).await.err().unwrap()), "28P01");
    let open = serve(&lake.engine, WIDE, None).await;
    assert_eq!(code(&open.config().user("other").connect(NoTls).await.err().unwrap()), "28000");
    assert_eq!(code(&open.config().dbname("other").connect(NoTls).await.err().unwrap()), "3D000");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_protocol_end_the_connection_alone() {
    let lake = Lake::new(100);
    let served = serve(&lake.engine, WIDE, None).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 8, 0, 9, 0, 0], &[255; 64], &[0, 0, 0, 1]] {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut rest)).await.unwrap();
    }
    // A message longer than is taken, in a session.
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket.write_all(b"\0\0\0\x21\0\x03\0\0user\0haus\0database\0lake\0\0").await.unwrap();
    socket.write_all(b"Q\x7f\xff\xff\xff").await.unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    assert!(rest.windows(5).any(|part| part == b"54000"));
    let client = served.client().await;
    assert_eq!(client.query("SELECT 1", &[]).await.unwrap().len(), 1);
}
