//! Schemas and values of the tests, a registry that knows them, and objects read back.

use apache_avro::types::Value as Avro;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The second has another field, the third what layouts look at, the fourth weight.
const SCHEMAS: [&str; 4] = [
    r#"{"type":"record","name":"Row","fields":[{"name":"id","type":"long"}]}"#,
    r#"{"type":"record","name":"Row","fields":[{"name":"id","type":"long"},{"name":"n","type":"long","default":0}]}"#,
    r#"{"type":"record","name":"Row","fields":[{"name":"id","type":"long"},{"name":"kind","type":["null","string"],"default":null},{"name":"at","type":"long"}]}"#,
    r#"{"type":"record","name":"Row","fields":[{"name":"id","type":"long"},{"name":"weight","type":"bytes"}]}"#,
];
/// Schema with [`HEAVY_BYTES`] in each record.
pub const HEAVY: usize = 3;
pub const HEAVY_BYTES: usize = 100_000;
/// Schema with `kind` and `at`.
pub const WITH_TIME: usize = 2;
/// Hours over which `at` is spread.
pub const HOURS: i64 = 3;
/// 2026-06-30 10:00 UTC.
pub const FIRST_HOUR_MS: i64 = 1_782_813_600_000;

/// Ids of a container.
pub fn avro_ids(bytes: &[u8]) -> Vec<i64> {
    read(bytes, 0).into_iter().map(|(_, id)| id).collect()
}

/// Ids of JSON lines.
pub fn json_ids(bytes: &[u8]) -> Vec<i64> {
    let lines = std::str::from_utf8(bytes).unwrap().lines();
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap()).collect()
}

/// `kind` of a record, where it has one.
pub fn kind_of(id: i64) -> String {
    ["red", "green", "blue"][(id as usize / 7) % 3].to_owned()
}

/// `at` of a record: now in this hour, now in that, as late data are.
pub fn time_of(id: i64) -> i64 {
    FIRST_HOUR_MS + (id / 3 % HOURS) * 3_600_000 + id
}

pub fn framed(id: i64, schema: usize) -> Vec<u8> {
    let parsed = apache_avro::Schema::parse_str(SCHEMAS[schema]).unwrap();
    let mut fields = vec![("id".to_owned(), Avro::Long(id))];
    if schema == 1 {
        fields.push(("n".into(), Avro::Long(-id)));
    }
    if schema == WITH_TIME {
        let kind = if id % 5 == 0 {
            Avro::Union(0, Box::new(Avro::Null))
        } else {
            Avro::Union(1, Box::new(Avro::String(kind_of(id))))
        };
        fields.extend([("kind".into(), kind), ("at".into(), Avro::Long(time_of(id)))]);
    }
    if schema == HEAVY {
        // Other bytes in each, so that parts that change places are noticed.
        fields.push(("weight".into(), Avro::Bytes(vec![id as u8; HEAVY_BYTES])));
    }
    let mut value = vec![0];
    value.extend_from_slice(&(schema as u32 + 1).to_be_bytes());
    value.extend(apache_avro::to_avro_datum(&parsed, Avro::Record(fields)).unwrap());
    value
}

/// The id in a framed value: the first field, a zigzag long.
pub fn id_of(value: &[u8]) -> i64 {
    let mut raw = 0_u64;
    for (index, byte) in value[5..].iter().enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            break;
        }
    }
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// Offsets and ids of a container's records.
pub fn read(bytes: &[u8], start_offset: i64) -> Vec<(i64, i64)> {
    let reader = apache_avro::Reader::new(bytes).unwrap();
    let runs = reader.user_metadata().get(objects::OFFSET_RUNS).map(|text| String::from_utf8(text.clone()).unwrap());
    let id = |value: Avro| {
        let Avro::Record(fields) = value else { panic!("{value:?}") };
        let Avro::Long(id) = fields[0].1 else { panic!("{fields:?}") };
        id
    };
    let ids: Vec<i64> = reader.map(|value| id(value.unwrap())).collect();
    let offsets: Vec<i64> = match runs {
        None => (start_offset..).take(ids.len()).collect(),
        Some(runs) => runs
            .split(',')
            .flat_map(|run| {
                let (first, count) = run.split_once('+').unwrap();
                let first: i64 = first.parse().unwrap();
                first..first + count.parse::<i64>().unwrap()
            })
            .collect(),
    };
    assert_eq!(offsets.len(), ids.len());
    offsets.into_iter().zip(ids).collect()
}

/// A registry that knows the schemas under their ids, and nothing else: a real one takes longer to start than a test.
pub async fn registry() -> (tokio::task::JoinHandle<()>, String) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let serving = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = client.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..read]);
            let path = text.split(' ').nth(1).unwrap_or_default();
            let id = path.strip_prefix("/schemas/ids/").map(|rest| rest.split('?').next().unwrap_or_default());
            let versions = id.and_then(|id| id.strip_suffix("/versions"));
            let index = versions.or(id).and_then(|id| id.parse::<usize>().ok()?.checked_sub(1));
            let schema = index.and_then(|index| SCHEMAS.get(index));
            let (status, body) = match schema {
                // Versions as their ids, under the subject of the record's name.
                Some(_) if versions.is_some() => {
                    ("200 OK", json!([{ "subject": "Row", "version": index.map(|index| index + 1) }]).to_string())
                }
                Some(schema) => ("200 OK", json!({ "schema": schema }).to_string()),
                None => ("404 Not Found", json!({ "error_code": 40403, "message": "Schema not found" }).to_string()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    (serving, url)
}
