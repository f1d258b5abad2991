//! The SQL port of a running lake, spoken to by programs that know nothing of it: psql, JDBC, psycopg, ADBC.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use model::{cell::Cell, envelope::Op};
use objects::Metadata;
use serde_json::{Value, json};
use testkit::wait_until;

use crate::{
    killed::COLUMNS,
    rig::{Rig, readers_python},
    topic::Topic,
};

/// Memory a million rows on their way through may take, beyond what the lake had.
const GROWTH_MB_MAX: u64 = 150;

async fn shop(settings: &[(&str, &str)]) -> Rig {
    let rig = Rig::start_with(settings).await;
    let mut topic = Topic::new("orders", &COLUMNS);
    for id in 0..20 {
        let (key, total) = (id.to_string(), format!("{}.{id:02}", 98_765_400 + id));
        let at = format!("2024-05-05 0{}:00:00.{:06}", id % 10, id * 50_001);
        let row =
            [Cell::Text(key.as_bytes()), Cell::Text(b"paid"), Cell::Text(total.as_bytes()), Cell::Text(at.as_bytes())];
        topic.event(0, Op::Create, None, Some(&row));
    }
    for (key, object) in topic.flush(0) {
        rig.raw.put_if_absent(&key, object, Metadata::new()).await.unwrap();
    }
    rig
}

async fn shaped(rig: &Rig) {
    wait_until("the orders are shaped", Duration::from_secs(60), async || {
        rig.sql("SELECT COUNT(*) FROM shape.orders").await == Ok(json!([[20]]))
    })
    .await;
}

fn said(output: &Output) -> String {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    text.into_owned()
}

fn psql(port: u16, password: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("psql");
    command.args([
        "-X",
        "-h",
        "127.0.0.1",
        "-U",
        "haus",
        "-d",
        "lake",
        "-v",
        "ON_ERROR_STOP=1",
        "-p",
        &port.to_string(),
    ]);
    command.args(arguments).env("PGPASSWORD", password).output().expect("psql, of the package postgresql-client")
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_describes_and_queries() {
    let port = testkit::free_port();
    let number = port.to_string();
    let rig = shop(&[("LAKE_SQL_PORT", &number), ("LAKE_SQL_PASSWORD", "pass word")]).await;
    let _lake = rig.lake().await;
    shaped(&rig).await;
    let run = |arguments: &[&str]| said(&psql(port, "pass word", arguments));
    let tables = run(&["-Atc", "\\dt"]);
    assert!(tables.contains("shape|orders|table|haus") && tables.contains("stage|orders|"), "{tables}");
    let table = run(&["-c", "\\d shape.orders"]);
    for part in ["Table \"shape.orders\"", "total", "numeric(10,2)", "timestamp without time zone"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    for describe in ["\\d", "\\d+ shape.orders", "\\dn", "\\l", "\\du", "\\df", "\\dv", "\\di", "\\conninfo"] {
        run(&["-c", describe]);
    }
    let sql = "SELECT id, total, created_at FROM shape.orders WHERE id = 19";
    assert_eq!(run(&["-Atc", sql]), "19|98765419.19|2024-05-05 09:00:00.950019\n");
    // In pieces, by a cursor.
    let pieces = run(&["-At", "-v", "FETCH_COUNT=7", "-c", "SELECT id FROM shape.orders ORDER BY id"]);
    assert_eq!(pieces.lines().count(), 20);
    let csv = run(&["-c", "\\copy (SELECT id, status FROM shape.orders WHERE id = 19) TO STDOUT csv header"]);
    assert_eq!(csv, "id,status\n19,paid\n");
    assert!(run(&["-c", "EXPLAIN SELECT * FROM shape.orders"]).contains("LakeScan"));
    assert!(run(&["-c", "SELECT * FROM shape.orders$snapshots"]).contains("committed_at"));
    let refused = psql(port, "pass word", &["-v", "VERBOSITY=verbose", "-c", "DROP TABLE shape.orders"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("25006"), "{refused:?}");
    assert!(!psql(port, "wrong", &["-c", "SELECT 1"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_psycopg_and_adbc_read_what_http_answers() {
    let port = testkit::free_port();
    let number = port.to_string();
    let rig = shop(&[("LAKE_SQL_PORT", &number)]).await;
    let lake = rig.lake().await;
    shaped(&rig).await;
    let sql = "SELECT id, status, total, created_at FROM shape.orders WHERE id >= 1 ORDER BY id";
    let expected = rig.sql(sql).await.unwrap();
    let readers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/readers");
    let before = resident_mb(lake.pid());
    let mut java = Command::new("java");
    java.args(["-Xmx64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]).arg(driver(&readers));
    java.arg(readers.join("SqlPort.java")).arg(format!("jdbc:postgresql://127.0.0.1:{port}/lake"));
    let jdbc: Value = serde_json::from_str(&said(&java.output().unwrap())).unwrap();
    let grown = resident_mb(lake.pid()).saturating_sub(before);
    assert!(grown < GROWTH_MB_MAX, "the lake grew by {grown} MB");
    assert_eq!(without_zeros(&jdbc["extended"]), without_zeros(&expected));
    let mut python = Command::new(readers_python(&readers));
    let psycopg: Value =
        serde_json::from_str(&said(&python.arg(readers.join("sql_port.py")).arg(&number).output().unwrap())).unwrap();
    assert_eq!(psycopg["text"], expected);
    assert_eq!(psycopg["binary"], expected);
    assert_eq!(psycopg["sum"], 5_000_050_000_i64);
    assert_eq!(psycopg["values"], json!([[1, null, 3], ["a", "b,\"c"], "nan", "00ff"]));
    assert_eq!(psycopg["refused"], "25006");
    let adbc = &psycopg["adbc"];
    assert_eq!(adbc["rows"], expected);
    assert_eq!(adbc["types"], json!(["int32", "string", "timestamp[us]"]));
    let values = json!([[1, null, 3], ["a", "b,\"c"], "nan", "00ff", 1, 0.25, "2024-05-04", null, true, "-0.05"]);
    assert_eq!(adbc["values"], values);
    assert_eq!((&adbc["many"], &adbc["none"]), (&json!(1_000_000), &json!(0)));
    assert_eq!(adbc["refused"], "25006");
    assert_eq!(adbc["columns"], json!(["id", "status"]));
}

/// Java leaves zeros at the end of a time out, seconds too.
fn without_zeros(rows: &Value) -> Vec<String> {
    let row = |row: &Value| {
        let time = row[3].as_str().unwrap();
        let time = if time.contains('.') { time.trim_end_matches('0').trim_end_matches('.') } else { time };
        let time = if time.matches(':').count() == 2 { time.trim_end_matches(":00") } else { time };
        format!("{} {} {} {time}", row[0], row[1], row[2])
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

/// PostgreSQL's JDBC driver, of the version that `tests/readers/setup.sh` names, fetched when missing.
fn driver(readers: &Path) -> PathBuf {
    let cache = std::env::var_os("HAUS_CACHE")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/haus-am-see"), PathBuf::from);
    let setup = std::fs::read_to_string(readers.join("setup.sh")).unwrap();
    let version = setup.lines().find_map(|line| line.strip_prefix("pgjdbc=")).unwrap();
    let jar = cache.join(format!("pgjdbc-{version}/postgresql-{version}.jar"));
    if !jar.exists() {
        assert!(Command::new(readers.join("setup.sh")).status().unwrap().success());
    }
    jar
}

fn resident_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1024
}
