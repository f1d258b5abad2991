#!/usr/bin/env python3
"""The lake beside Spark and DuckDB: raw to stage, a merge of changes, freshness under traffic; same objects, same machine.

`make bench-lake` builds what is needed and calls this. It prints a table and, as its last line, one JSON object. Settings
(environment):
  BENCH_PARTS (stage,small,merge,fresh)
  BENCH_EVENTS (5000000), BENCH_OBJECTS (250), BENCH_SMALL_OBJECTS (5000): of the parts `stage` and `small`
  BENCH_ROWS (10000000), BENCH_CHANGES (100000), BENCH_MERGES (spread,recent): of the part `merge`
  BENCH_SECONDS (600), BENCH_RATE (200), BENCH_CUSTOMERS (10000): of the part `fresh`
  BENCH_RUNS (3) of Spark's job in one process, the first of which is the cold one
  BENCH_PEERS (spark,duckdb; empty: ours alone), BENCH_SPARK_MEMORY (4g)
  BENCH_DIR (a folder that stays; else a temporary one), HAUS_BIN (the built binaries)

How: `lake stage` and `lake shape` are timed from start to exit and read from our object server, write to it and commit to
our catalog on Postgres. Spark and DuckDB read the same objects as local files and write local files, without a catalog's
server: that is in their favour. Spark's cold figure counts from the start of its process to its last commit, the warm one
is the best later run of the job in the same process. DuckDB writes plain Parquet, from start to exit. All have to find the
same rows. The merge is timed until the current state is committed; `lake shape` keeps the history of each row as well, and
the time for both is beside it. `spread` changes keys all over the table, `recent` those of its newest tenth.
Freshness is from a transaction's commit to the commit of `shape` (`fresh_…`) and of `serve` that holds it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from stack import BIN, HERE, JARS, PYTHON, Lake, listed, number, say, timed, under_traffic

PARTS = listed("BENCH_PARTS", "stage,small,merge,fresh")
EVENTS, OBJECTS, SMALL = number("BENCH_EVENTS", 5_000_000), number("BENCH_OBJECTS", 250), number("BENCH_SMALL_OBJECTS", 5_000)
ROWS, CHANGES = number("BENCH_ROWS", 10_000_000), number("BENCH_CHANGES", 100_000)
MERGES = listed("BENCH_MERGES", "spread,recent")
SECONDS, RATE, CUSTOMERS = number("BENCH_SECONDS", 600), number("BENCH_RATE", 200), number("BENCH_CUSTOMERS", 10_000)
RUNS = number("BENCH_RUNS", 3)
PEERS = listed("BENCH_PEERS", "spark,duckdb")


def made(folder, *arguments):
    """A set of raw objects."""
    begin = time.time()
    subprocess.run([f"{BIN}/examples/bench-lake-raw", arguments[0], folder, *map(str, arguments[1:])], check=True)
    paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    megabytes = sum(os.path.getsize(path) for path in paths) / 1e6
    say(f"{len(paths)} objects, {megabytes:.0f} MB, made in {time.time() - begin:.0f} s")


def spark(folder, *arguments):
    """The runs of a Spark job in one process, best warm one and cold one, and what it found."""
    work = f"{folder}/spark"
    os.makedirs(f"{work}/tmp")
    env = {"BENCH_BEGIN": str(time.time()), "BENCH_JARS": JARS, "SPARK_LOCAL_IP": "127.0.0.1"}
    text, _ = timed([PYTHON, f"{HERE}/spark.py", *arguments, work, str(RUNS)], env, f"{folder}/spark.log")
    runs = [json.loads(line[4:]) for line in text.splitlines() if line.startswith("RUN ")]
    shutil.rmtree(work)
    warm = min((run["job_s"] for run in runs[1:]), default=None)
    return {"cold": runs[0], "warm_s": warm}


def same(ours, theirs, who):
    if ours != theirs:
        sys.exit(f"bench: {who} found {theirs}, ours is {ours}")


def stage(folder, objects, table, name):
    raw = f"{folder}/raw-{objects}"
    made(raw, "events", EVENTS, objects)
    facts = {}
    with Lake(f"{folder}/lake-{objects}") as lake:
        lake.upload(raw)
        _, facts["ours"] = lake.run("stage")
        tables = sorted(topic.rsplit(".", 1)[1] for topic in os.listdir(f"{raw}/kafka"))
        found = {of: [int(cell) for cell in lake.rows(f"SELECT count(*), sum(id) FROM stage.{of}")[0]] for of in tables}
    table.append((name, "lake", facts["ours"]))
    if "duckdb" in PEERS:
        command = [PYTHON, f"{HERE}/duck.py", raw, f"{folder}/duck-{objects}"]
        text, facts["duckdb"] = timed(command, {}, f"{folder}/duckdb.log")
        shutil.rmtree(f"{folder}/duck-{objects}")
        same(found, json.loads(text), "DuckDB")
        table.append((name, "duckdb", facts["duckdb"]))
    if "spark" in PEERS:
        done = spark(folder, "stage", raw)
        same(found, done["cold"]["found"], "Spark")
        facts["spark"] = {"s": done["cold"]["process_s"], "warm_s": done["warm_s"]}
        table.append((name, "spark", facts["spark"]))
    shutil.rmtree(raw)
    return facts


def merge(folder, table, kind):
    base, changed = f"{folder}/rows", f"{folder}/changes"
    made(base, "rows", ROWS)
    made(changed, "changes", ROWS, CHANGES, kind)
    facts = {}
    with Lake(f"{folder}/lake-{kind}") as lake:
        lake.upload(base)
        begin = time.time()
        lake.run("stage"), lake.run("shape")
        say(f"{ROWS} rows loaded in {time.time() - begin:.0f} s")
        lake.upload(changed)
        lake.run("stage")
        known = {snapshot["snapshot-id"] for snapshot in lake.snapshots("orders")}
        begin = time.time()
        _, usage = lake.run("shape")
        new = [snapshot for snapshot in lake.snapshots("orders") if snapshot["snapshot-id"] not in known]
        facts["ours"] = {
            "s": max(snapshot["timestamp-ms"] for snapshot in new) / 1000 - begin,
            "with_history_s": usage["s"], "cpu": usage["cpu"], "mb": usage["mb"],
            "mb_written": sum(int(snapshot["summary"]["added-files-size"]) for snapshot in new) / 1e6,
        }  # fmt: skip
        rows, ids, total = lake.rows("SELECT count(*), sum(id), sum(total) FROM shape.orders")[0]
    table.append((f"merge, {kind}", "lake", facts["ours"]))
    if "spark" in PEERS:
        done = spark(folder, "merge", base, changed)
        same([int(rows), int(ids), total], done["cold"]["found"], "Spark")
        written = done["cold"]["bytes_written"] / 1e6
        facts["spark"] = {"cold_s": done["cold"]["job_s"], "s": done["warm_s"], "mb_written": written}
        table.append((f"merge, {kind}", "spark", facts["spark"]))
    shutil.rmtree(base), shutil.rmtree(changed)
    return facts


def fresh(folder, table, maintained):
    """The whole embedded stack under traffic."""
    env = {"LAKE_MAINTAIN_INTERVAL_S": "60" if maintained else "0"}
    status = under_traffic(f"{folder}/haus-{int(maintained)}", env, CUSTOMERS, RATE, SECONDS)
    lags = status["freshness"]
    facts = {
        "p50_s": lags["shape"]["p50_ms"] / 1000, "p95_s": lags["shape"]["p95_ms"] / 1000,
        "serve_p50_s": lags["p50_ms"] / 1000, "serve_p95_s": lags["p95_ms"] / 1000, "samples": lags["shape"]["samples"],
        "files": sum(of["files"] for of in status["tables"]), "snapshots": sum(of["snapshots"] for of in status["tables"]),
    }  # fmt: skip
    table.append(("freshness", "maintained" if maintained else "not maintained", facts))
    return facts


class Table(list):
    """What was found, told at once, since a part that fails later ends everything."""

    def append(self, row):
        super().append(row)
        say("{}, {}: {}".format(*row))


def result(facts):
    """The figures under the names they are kept by."""

    def figure(*path):
        tree = facts
        for step in path:
            tree = tree.get(step) if isinstance(tree, dict) else None
        return round(tree, 2) if isinstance(tree, (int, float)) else None

    named = {
        "stage_s": ("stage", "ours", "s"), "spark_stage_s": ("stage", "spark", "s"),
        "spark_stage_warm_s": ("stage", "spark", "warm_s"), "duckdb_stage_s": ("stage", "duckdb", "s"),
        "stage_rss_mb": ("stage", "ours", "mb"), "small_stage_s": ("small", "ours", "s"),
        "small_spark_stage_s": ("small", "spark", "s"), "small_spark_stage_warm_s": ("small", "spark", "warm_s"),
        "small_duckdb_stage_s": ("small", "duckdb", "s"), "small_stage_rss_mb": ("small", "ours", "mb"),
        "merge_s": ("merge-spread", "ours", "s"), "spark_merge_s": ("merge-spread", "spark", "s"),
        "spark_merge_cold_s": ("merge-spread", "spark", "cold_s"),
        "merge_with_history_s": ("merge-spread", "ours", "with_history_s"),
        "merge_mb_written": ("merge-spread", "ours", "mb_written"), "merge_rss_mb": ("merge-spread", "ours", "mb"),
        "merge_recent_s": ("merge-recent", "ours", "s"), "spark_merge_recent_s": ("merge-recent", "spark", "s"),
        "merge_recent_mb_written": ("merge-recent", "ours", "mb_written"),
        "spark_merge_recent_mb_written": ("merge-recent", "spark", "mb_written"),
        "fresh_p50_s": ("fresh", "maintained", "p50_s"), "fresh_p95_s": ("fresh", "maintained", "p95_s"),
        "fresh_files": ("fresh", "maintained", "files"), "fresh_serve_p95_s": ("fresh", "maintained", "serve_p95_s"),
        "neglected_p50_s": ("fresh", "neglected", "p50_s"), "neglected_p95_s": ("fresh", "neglected", "p95_s"),
        "neglected_files": ("fresh", "neglected", "files"),
    }  # fmt: skip
    return {name: figure(*path) for name, path in named.items()}


def main():
    with tempfile.TemporaryDirectory(prefix="bench-lake-") as temporary:
        folder = os.path.abspath(os.environ.get("BENCH_DIR", temporary))
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
        table, facts = Table(), {}
        for part in PARTS:
            say(part)
            if part == "stage":
                facts[part] = stage(folder, OBJECTS, table, f"stage, {OBJECTS} objects")
            elif part == "small":
                facts[part] = stage(folder, SMALL, table, f"stage, {SMALL} objects")
            elif part == "merge":
                for kind in MERGES:
                    facts[f"merge-{kind}"] = merge(folder, table, kind)
            elif part == "fresh":
                facts[part] = {name: fresh(folder, table, name == "maintained") for name in ("maintained", "neglected")}
            else:
                sys.exit(f"bench: there is no part {part}")
    print()
    for what, who, fact in table:
        print(f"{what:<24} {who:<16} " + "  ".join(f"{key} {value:,.2f}" for key, value in fact.items() if value is not None))
    print(json.dumps(result(facts)))


main()
