"""raw -> stage and MERGE INTO by PySpark with spark-avro and Iceberg: local[cores], Hadoop catalog on local files.

    spark.py stage RAW_FOLDER WORK_FOLDER RUNS
    spark.py merge RAW_FOLDER CHANGES_FOLDER WORK_FOLDER RUNS

Prints a JSON object a run: `job_s` of the work alone, `process_s` since BENCH_BEGIN (seconds since the epoch, when this
process was started), `found` for comparison. BENCH_JARS: folder with the jars; BENCH_SPARK_MEMORY: the driver's heap.
"""

import glob
import json
import os
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tables import TABLES, TOPIC


def session(work):
    jars = ",".join(sorted(glob.glob(os.path.join(os.environ["BENCH_JARS"], "*.jar"))))
    cores = len(os.sched_getaffinity(0))
    settings = {
        "spark.jars": jars,
        "spark.driver.memory": os.environ.get("BENCH_SPARK_MEMORY", "4g"),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(2 * cores),
        "spark.local.dir": f"{work}/tmp",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.catalog.lake.warehouse": Path(work, "warehouse").as_uri(),
    }
    builder = SparkSession.builder.appName("bench-lake").master(f"local[{cores}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def report(**facts):
    print("RUN " + json.dumps(facts), flush=True)


def events(spark, raw, table):
    """Typed rows with the event's own columns, as the lake's stage has them; offsets are in no record."""
    folder = os.path.join(raw, "kafka", TOPIC.format(table))
    row = F.when(F.col("op") == "d", F.col("before")).otherwise(F.col("after"))
    read = spark.read.format("avro").option("recursiveFileLookup", "true").load(Path(folder).as_uri()).withColumn("r", row)
    typed = [
        (F.timestamp_micros(F.col(f"r.{name}")) if kind == "micros" else F.col(f"r.{name}")).alias(name)
        for name, kind in TABLES[table].items()
    ]
    moment = F.timestamp_micros(F.col("source.ts_us"))
    return read.select(
        *typed, F.col("op").alias("_op"), moment.alias("_ts"), F.col("source.lsn").alias("_lsn"),
        F.col("source.txId").alias("_txid"), F.to_date(moment).alias("day"),
    )  # fmt: skip


def stage(spark, raw, runs):
    tables = [table for table in TABLES if os.path.isdir(os.path.join(raw, "kafka", TOPIC.format(table)))]
    for run in range(runs):
        for table in tables:
            spark.sql(f"DROP TABLE IF EXISTS lake.stage.{table} PURGE")
        begin = time.time()
        for table in tables:
            kinds = {"int": "int", "text": "string", "amount": "decimal(10,2)", "micros": "timestamp"}
            columns = ", ".join(f"{name} {kinds[kind]}" for name, kind in TABLES[table].items())
            spark.sql(
                f"CREATE TABLE lake.stage.{table} ({columns}, _op string, _ts timestamp, _lsn bigint, _txid bigint, day date) "
                "USING iceberg PARTITIONED BY (day) TBLPROPERTIES ('format-version'='2', "
                "'write.parquet.compression-codec'='zstd')"
            )
            events(spark, raw, table).writeTo(f"lake.stage.{table}").append()
        end = time.time()
        found = {table: list(spark.sql(f"SELECT count(*), sum(id) FROM lake.stage.{table}").first()) for table in tables}
        report(job_s=end - begin, process_s=end - float(os.environ["BENCH_BEGIN"]), found=found)


def merge(spark, raw, changed, runs):
    spark.sql("DROP TABLE IF EXISTS lake.cur.changes PURGE")
    spark.sql("CREATE NAMESPACE IF NOT EXISTS lake.cur")
    events(spark, changed, "orders").drop("day").writeTo("lake.cur.changes").using("iceberg").create()
    for _ in range(runs):
        spark.sql("DROP TABLE IF EXISTS lake.cur.orders PURGE")
        base = events(spark, raw, "orders").drop("day", "_op", "_txid")
        base.writeTo("lake.cur.orders").using("iceberg").tableProperty("format-version", "2").tableProperty(
            "write.merge.mode", "copy-on-write"
        ).tableProperty("write.parquet.compression-codec", "zstd").create()
        columns = [*TABLES["orders"], "_ts", "_lsn"]
        begin = time.time()
        spark.sql(
            "MERGE INTO lake.cur.orders t USING lake.cur.changes s ON t.id = s.id "
            "WHEN MATCHED AND s._op = 'd' THEN DELETE "
            f"WHEN MATCHED THEN UPDATE SET {', '.join(f'{name} = s.{name}' for name in columns)} "
            f"WHEN NOT MATCHED AND s._op <> 'd' THEN INSERT ({', '.join(columns)}) "
            f"VALUES ({', '.join(f's.{name}' for name in columns)})"
        )
        seconds = time.time() - begin
        rows, ids, total = spark.sql("SELECT count(*), sum(id), sum(total) FROM lake.cur.orders").first()
        written = spark.sql("SELECT summary['added-files-size'] FROM lake.cur.orders.snapshots ORDER BY committed_at DESC")
        report(job_s=seconds, bytes_written=int(written.first()[0]), found=[rows, ids, str(total)])


def main():
    what, *arguments = sys.argv[1:]
    work, runs = arguments[-2], int(arguments[-1])
    spark = session(work)
    if what == "stage":
        stage(spark, arguments[0], runs)
    else:
        merge(spark, arguments[0], arguments[1], runs)
    spark.stop()


if __name__ == "__main__":
    main()
