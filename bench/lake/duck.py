"""raw -> stage by DuckDB: read_avro, typed rows, plain Parquet (zstd) in folders by day. No table, no commit.

    duck.py RAW_FOLDER OUTPUT_FOLDER

Prints one JSON object: the rows of each table, and the sum of their ids.
"""

import glob
import json
import os
import sys

import duckdb
import duckdb_extension_avro
from tables import TABLES, TOPIC

raw, output = sys.argv[1:]
extension = glob.glob(os.path.join(os.path.dirname(duckdb_extension_avro.__file__), "**", "avro.duckdb_extension"), recursive=True)
con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
con.execute(f"LOAD '{extension[0]}'")
# read_avro hands out a decimal as the bytes it is stored in: big-endian, two's complement.
con.execute("""CREATE MACRO amount(b) AS (
    ((('0x' || hex(b))::BIGINT - CASE WHEN hex(b) >= '8' THEN (1::BIGINT << (8 * octet_length(b))::INT) ELSE 0 END)
    / 100.0)::DECIMAL(10,2)""" + ")")
TYPED = {"int": "r.{0}", "text": "r.{0}", "amount": "amount(r.{0})", "micros": "make_timestamp(r.{0})"}
found = {}
for table, columns in TABLES.items():
    folder = os.path.join(raw, "kafka", TOPIC.format(table))
    if not os.path.isdir(folder):
        continue
    typed = ", ".join(f"{TYPED[kind].format(name)} AS {name}" for name, kind in columns.items())
    os.makedirs(os.path.join(output, table))
    con.execute(f"""COPY (
        SELECT {typed}, op AS _op, make_timestamp(ts_us) AS _ts, lsn AS _lsn, tx AS _txid, "partition" AS _partition,
            make_timestamp(ts_us)::DATE AS day
        FROM (SELECT op, source.ts_us AS ts_us, source.lsn AS lsn, source.txId AS tx, "partition",
                     CASE WHEN op = 'd' THEN before ELSE after END AS r
              FROM read_avro('{folder}/*/*.avro', hive_partitioning = true)))
        TO '{output}/{table}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (day))""")
    found[table] = con.execute(f"SELECT count(*), sum(id) FROM read_parquet('{output}/{table}/*/*.parquet')").fetchone()
print(json.dumps({table: [rows, int(ids)] for table, (rows, ids) in found.items()}))
