"""The files of models/ on DuckDB or Spark, as they are: shape tables from Parquet, each model to Parquet.

    marts.py duckdb DATA OUT MEMORY_MB
    marts.py spark DATA OUT WORK_FOLDER RUNS
    marts.py found FOLDER MART…

DATA and FOLDER have a folder of Parquet files per table, such as `shape.orders`; OUT gets one per model. `found` prints rows,
sums and a fingerprint of each mart. Spark prints a JSON object a run, as bench/lake/spark.py.
"""

import json
import os
import pathlib
import re
import shutil
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench/lake"), str(ROOT / "tests/models")]
from engines import models  # noqa: E402


def on_duckdb(data, out, memory_mb):
    import duckdb

    con = duckdb.connect(config={"memory_limit": f"{memory_mb}MB", "temp_directory": f"{out}.tmp"})
    con.execute("CREATE SCHEMA shape; CREATE SCHEMA serve")
    for table in sorted(os.listdir(data)):
        con.execute(f"CREATE VIEW {table} AS FROM read_parquet('{data}/{table}/*.parquet')")
    for name, sql in models():
        os.makedirs(f"{out}/{name}")
        con.execute(f"COPY ({sql}) TO '{out}/{name}/0.parquet' (FORMAT parquet, COMPRESSION zstd)")
        con.execute(f"CREATE VIEW {name} AS FROM read_parquet('{out}/{name}/*.parquet')")


def on_spark(data, out, work, runs):
    from spark import report, session

    # Spark has no schemas of views; the names' dots become underscores, in models and in queries alike.
    def flat(sql):
        return re.sub(r"\b(shape|serve)\.(\w+)", r"\1_\2", sql)

    spark = session(work)
    for _ in range(int(runs)):
        shutil.rmtree(out, ignore_errors=True)
        begin = time.time()
        for table in sorted(os.listdir(data)):
            spark.read.parquet(pathlib.Path(data, table).as_uri()).createOrReplaceTempView(flat(table))
        for name, sql in models():
            folder = pathlib.Path(out, name).as_uri()
            spark.sql(flat(sql)).write.option("compression", "zstd").parquet(folder)
            spark.read.parquet(folder).createOrReplaceTempView(flat(name))
        end = time.time()
        report(job_s=end - begin, process_s=end - float(os.environ["BENCH_BEGIN"]))
    spark.stop()


def found(folder, *marts):
    import duckdb

    con, said = duckdb.connect(), {}
    for mart in marts:
        con.execute(f"CREATE OR REPLACE VIEW mart AS FROM read_parquet('{folder}/{mart}/*.parquet')")
        columns = {name: kind for name, kind, *_ in con.execute("DESCRIBE mart").fetchall()}
        numbers = [name for name, kind in columns.items() if kind.startswith(("DECIMAL", "BIGINT", "INTEGER"))]
        sums = ", ".join(f'CAST(sum("{name}") AS VARCHAR)' for name in numbers)
        row = ", ".join(f'CAST("{name}" AS VARCHAR)' for name in sorted(columns))
        rows, mark, *totals = con.execute(f"SELECT count(*), bit_xor(hash({row})), {sums} FROM mart").fetchone()
        said[mart] = {"rows": rows, **dict(zip(numbers, totals, strict=True)), "fingerprint": mark}
    print(json.dumps(said))


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"duckdb": on_duckdb, "spark": on_spark, "found": found}[what](*arguments)
