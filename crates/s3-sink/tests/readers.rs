//! Every format and codec is read by engines that know nothing of us.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{WITH_TIME, World};

const FORMATS: &str = "io.confluent.connect.s3.format";

/// Folder name, format, its codec's setting and value, extension of objects.
const KINDS: [(&str, &str, (&str, &str), &str); 12] = [
    ("null", "avro.AvroFormat", ("avro.codec", "null"), ".avro"),
    ("deflate", "avro.AvroFormat", ("avro.codec", "deflate"), ".avro"),
    ("snappy", "avro.AvroFormat", ("avro.codec", "snappy"), ".avro"),
    ("zstandard", "avro.AvroFormat", ("avro.codec", "zstandard"), ".avro"),
    ("json", "json.JsonFormat", ("s3.compression.type", "none"), ".json"),
    ("gzip", "json.JsonFormat", ("s3.compression.type", "gzip"), ".json.gz"),
    ("parquet-none", "parquet.ParquetFormat", ("parquet.codec", "none"), ".parquet"),
    ("parquet-snappy", "parquet.ParquetFormat", ("parquet.codec", "snappy"), ".snappy.parquet"),
    ("parquet-gzip", "parquet.ParquetFormat", ("parquet.codec", "gzip"), ".gz.parquet"),
    ("parquet-brotli", "parquet.ParquetFormat", ("parquet.codec", "brotli"), ".br.parquet"),
    ("parquet-lz4", "parquet.ParquetFormat", ("parquet.codec", "lz4_raw"), ".lz4raw.parquet"),
    ("parquet-zstd", "parquet.ParquetFormat", ("parquet.codec", "zstd"), ".zstd.parquet"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_format_and_codec_is_read_by_fastavro_java_avro_duckdb_and_pyarrow() {
    let mut world = World::new().await;
    world.send(300, WITH_TIME, true);
    let sink = world.sink(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    for (name, format, (setting, codec), extension) in KINDS {
        let class = format!("{FORMATS}.{format}");
        let changes =
            [("format.class", class.as_str()), (setting, codec), ("topics.dir", name), ("flush.size", "1000")];
        world.register_as(&sink, name, &changes).await;
        world.download(name, extension, 300, &folder.path().join(name)).await;
    }
    let found = read(folder.path());
    let mut sums: BTreeMap<&str, BTreeMap<String, (i64, i64)>> = BTreeMap::new();
    for (file, readers) in found.as_object().unwrap() {
        let kind = KINDS.iter().find(|kind| file.starts_with(&format!("{}/", kind.0))).unwrap().0;
        for (reader, counted) in readers.as_object().unwrap() {
            let sum = sums.entry(kind).or_default().entry(reader.clone()).or_default();
            sum.0 += counted[0].as_i64().unwrap();
            sum.1 += counted[1].as_i64().unwrap();
        }
    }
    assert_eq!(sums.len(), KINDS.len(), "{found:#}");
    for (kind, readers) in &sums {
        assert!(readers.values().all(|sum| *sum == (300, 299 * 300 / 2)), "{kind}: {readers:?}");
        let known = match *kind {
            "json" | "gzip" => 1,
            parquet if parquet.starts_with("parquet") => 2,
            // DuckDB does not know it.
            "zstandard" => 2,
            _ => 3,
        };
        assert_eq!(readers.len(), known, "{kind}: {readers:?}");
    }
}

/// What the engines find in the files of a folder.
fn read(folder: &Path) -> serde_json::Value {
    let readers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/readers");
    let cache = std::env::var_os("HAUS_CACHE")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/haus-am-see"), PathBuf::from);
    let python = cache.join("py-readers/bin/python");
    let installed = Command::new(&python).args(["-c", "import fastavro, cramjam, backports.zstd"]).output();
    let java = std::fs::read_dir(&cache).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("avro-tools-"))
    });
    if !java || !installed.is_ok_and(|output| output.status.success()) {
        assert!(Command::new(readers.join("setup.sh")).status().unwrap().success(), "set up the readers");
    }
    let output = Command::new(&python).arg(readers.join("read_objects.py")).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
