#!/usr/bin/env python3
"""The models beside Spark and DuckDB: all of `serve` built in full, after 1,000 changes, and how fresh it is under traffic.

`make bench-serve` builds what is needed and calls this. It prints a table and, as its last line, one JSON object. Settings
(environment):
  BENCH_PARTS (serve,fresh), and cluster: the full build once more, its queries on a scheduler and two executors here
  BENCH_ITEMS (10000000) order items, with two customers to ten of them; BENCH_CHANGES (1000) rows
  BENCH_RUNS (3) of each, the best counts; of Spark the first of a process is the cold one
  BENCH_MEMORY_MB (4096): what each engine may use (LAKE_SQL_MEMORY_MAX_MB, memory_limit, the heap)
  BENCH_FRESH_S (120), BENCH_RATE (200), BENCH_CUSTOMERS (10000): of the part `fresh`
  BENCH_PEERS (spark,duckdb; empty: ours alone, and nothing is compared)
  BENCH_DIR (a folder that stays; else a temporary one), HAUS_BIN (the built binaries)

How: `bench-serve-shape` writes the shop's shape tables, as the lake lays them out. `lake run` is timed from start to exit on
them: it reads from our object server, writes all models (those of `shape` that the marts are made of, and the eight marts)
to it in the order of their keys, looks at all their tests and commits to our catalog on Postgres. `unaudited_s` is the same
without any tests. DuckDB and Spark get the same Parquet files and the same files of models/, locally, and write zstd
Parquet, without order, tests, tables and a catalog: that is in their favour. DuckDB is timed from start to exit.
`spark_serve_s` counts from the start of its process to the last file, `spark_serve_warm_s` is the best later run in that
process. Every mart has to have the same rows in all three, and after the changes the same as DuckDB computes of
everything anew. Freshness is from a transaction's commit to the commit of `serve` that holds it.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lake")]
from stack import BIN, JARS, PYTHON, ROOT, Lake, free_port, get, healthy, listed, number, say, timed, under_traffic

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = listed("BENCH_PARTS", "serve,fresh")
ITEMS, CHANGES, RUNS = number("BENCH_ITEMS", 10_000_000), number("BENCH_CHANGES", 1_000), number("BENCH_RUNS", 3)
MEMORY_MB = number("BENCH_MEMORY_MB", 4096)
FRESH_S, RATE, CUSTOMERS = number("BENCH_FRESH_S", 120), number("BENCH_RATE", 200), number("BENCH_CUSTOMERS", 10_000)
PEERS = listed("BENCH_PEERS", "spark,duckdb")
SOURCES = ["customers", "products", "orders", "order_items", "payments"]
MODELS = sorted(f"{path.parent.name}.{path.stem}" for path in pathlib.Path(ROOT, "models").glob("s*/*.sql"))
MARTS = [name for name in MODELS if name.startswith("serve.")]


def shop(lake, *arguments):
    """Fills or changes the shape tables."""
    command = [f"{BIN}/examples/bench-serve-shape", *map(str, arguments)]
    subprocess.run(command, env={**os.environ, **lake.env}, check=True)


def without_tests(folder):
    """The models without their tests and keys, which are tests as well."""
    target = pathlib.Path(folder, "models-without-tests")
    shutil.copytree(pathlib.Path(ROOT, "models"), target, ignore=shutil.ignore_patterns("tests"))
    for path in target.glob("s*/*.sql"):
        head, query = path.read_text().split("--- */", 1)
        head = re.sub(r"^tests:\n(?:[ -].*\n)*", "", head, flags=re.MULTILINE)
        head = re.sub(r"^keys: .*\n", "", head, flags=re.MULTILINE)
        head = re.sub(r", tests: \[.*\]\}$", "}", head, flags=re.MULTILINE)
        if re.search(r"\b(tests|keys):", head):
            sys.exit(f"bench: there is a test left in {path.name}:\n{head}")
        path.write_text(f"{head}--- */{query}")
    return str(target)


def drop(lake):
    """Takes all tables of models away."""
    for model in MODELS:
        layer, name = model.split(".")
        url = f"{lake.env['CATALOG_URL']}/v1/namespaces/{layer}/tables/{name}?purgeRequested=true"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=120).close()


def build(lake, wanted, **settings):
    """`lake run`: what it took, and what it did of each model."""
    text, usage = lake.run("run", "--json", LAKE_SQL_MEMORY_MAX_MB=str(MEMORY_MB), **settings)
    rows = json.loads(text)
    built = sorted(row["model"] for row in rows if row["outcome"] == "built")
    if len(built) != len(rows) or (wanted and built != wanted):
        sys.exit(f"bench: not what a run should do: {json.dumps(rows, indent=1)}")
    return usage, {row["model"]: row["found"] for row in rows}


def download(lake, tables, folder):
    """The data files of tables, as they are now, in a folder each."""
    for table in tables:
        layer, name = table.split(".")
        os.makedirs(f"{folder}/{table}")
        found = lake.rows(f'SELECT file_path FROM {layer}."{name}$files" WHERE content = 0')
        for place, (path,) in enumerate(found):
            urllib.request.urlretrieve(f"{lake.endpoint}/{path.removeprefix('s3://')}", f"{folder}/{table}/{place}.parquet")


def marts(what, *arguments):
    return [PYTHON, f"{HERE}/marts.py", what, *map(str, arguments)]


def found(folder, log):
    """Rows, sums and a fingerprint of each mart."""
    return json.loads(timed(marts("found", folder, *MARTS), {}, log)[0])


def same(ours, theirs, who):
    for mart in MARTS:
        if ours[mart] != theirs[mart]:
            sys.exit(f"bench: {mart}: {who} found {theirs[mart]}, ours is {ours[mart]}")
        if not ours[mart]["rows"]:
            sys.exit(f"bench: {mart} is empty")


def duckdb(folder, data, out):
    shutil.rmtree(out, ignore_errors=True)
    return timed(marts("duckdb", data, out, MEMORY_MB), {}, f"{folder}/duckdb.log")[1]


def spark(folder, data, out):
    os.makedirs(f"{folder}/spark/tmp")
    env = {"BENCH_BEGIN": str(time.time()), "BENCH_JARS": JARS, "SPARK_LOCAL_IP": "127.0.0.1"}
    env["BENCH_SPARK_MEMORY"] = f"{MEMORY_MB}m"
    text, usage = timed(marts("spark", data, out, f"{folder}/spark", RUNS), env, f"{folder}/spark.log")
    runs = [json.loads(line[4:]) for line in text.splitlines() if line.startswith("RUN ")]
    warm = min((run["job_s"] for run in runs[1:]), default=None)
    return {"s": runs[0]["process_s"], "warm_s": warm, "cpu": usage["cpu"]}


def best(runs):
    return min(runs, key=lambda run: run["s"])


@contextlib.contextmanager
def cluster(lake, executors):
    """A scheduler and executors of one task each, which use what one engine may: the setting that has `lake run` use them."""
    scheduler, processes = free_port(), []

    def start(program, port, path, **settings):
        env = {**os.environ, **lake.env, "LAKE_SCHEDULER": f"127.0.0.1:{scheduler}", **settings}
        with open(f"{lake.folder}/{program}-{port}.log", "a", encoding="utf-8") as log:
            processes.append(subprocess.Popen([f"{BIN}/lake", program], env=env, stdout=log, stderr=log))
        healthy(f"http://127.0.0.1:{port}{path}", processes[-1])

    try:
        start("scheduler", scheduler, "/api/executors", LAKE_SCHEDULER_PORT=str(scheduler))
        for _ in range(executors):
            port = free_port()
            memory = {"LAKE_SQL_MEMORY_MAX_MB": str(MEMORY_MB // executors), "LAKE_EXECUTOR_TASKS_MAX": "1"}
            start("executor", port, "/health", LAKE_EXECUTOR_PORT=str(port), LAKE_EXECUTOR_DIR=lake.folder, **memory)
        yield f"ballista=127.0.0.1:{scheduler}"
        jobs = get(f"http://127.0.0.1:{scheduler}/api/jobs")
        if {job["job_name"] for job in jobs if job["status"] == "Completed"} != set(MODELS):
            sys.exit(f"bench: not all models were computed on the cluster: {jobs}")
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def serve(folder, table):
    facts, log = {}, f"{folder}/marts.log"
    with Lake(f"{folder}/lake") as lake:
        begin = time.time()
        shop(lake, "fill", ITEMS)
        say(f"shape tables made in {time.time() - begin:.0f} s")
        untested, runs, audited = without_tests(folder), [], []
        for _ in range(RUNS):
            runs.append(build(lake, MODELS, LAKE_MODELS_DIR=untested)[0])
            drop(lake)
            usage, did = build(lake, MODELS)
            audited.append(usage)
            if len(audited) < RUNS:
                drop(lake)
        facts["ours"], facts["unaudited"] = best(audited), best(runs)
        table += [("serve", "lake", facts["ours"]), ("serve, no tests", "lake", facts["unaudited"])]
        say("in full: " + ", ".join(f"{run['s']:.2f} s" for run in audited))
        for model, text in did.items():
            print(f"  {model:<32} {text}")
        if PEERS:
            download(lake, [f"shape.{name}" for name in SOURCES], f"{folder}/data")
            download(lake, MARTS, f"{folder}/ours")
            ours = found(f"{folder}/ours", log)
        if "cluster" in PARTS:
            runs = []
            with cluster(lake, 2) as engine:
                for _ in range(RUNS):
                    drop(lake)
                    runs.append(build(lake, MODELS, LAKE_ENGINE=engine)[0])
            facts["cluster"] = best(runs)
            table.append(("serve", "cluster", facts["cluster"]))
            say("in full on the cluster: " + ", ".join(f"{run['s']:.2f} s" for run in runs))
            if PEERS:
                download(lake, MARTS, f"{folder}/clustered")
                same(ours, found(f"{folder}/clustered", log), "the cluster")
        if "duckdb" in PEERS:
            facts["duckdb"] = best([duckdb(folder, f"{folder}/data", f"{folder}/duckdb") for _ in range(RUNS)])
            same(ours, found(f"{folder}/duckdb", log), "DuckDB")
            table.append(("serve", "duckdb", facts["duckdb"]))
        if "spark" in PEERS:
            facts["spark"] = spark(folder, f"{folder}/data", f"{folder}/spark-out")
            same(ours, found(f"{folder}/spark-out", log), "Spark")
            table.append(("serve", "spark", facts["spark"]))
        shop(lake, "change", ITEMS, CHANGES)
        facts["incremental"], did = build(lake, None)
        table.append((f"{CHANGES} changes", "lake", facts["incremental"]))
        say(f"after {CHANGES} changes: {facts['incremental']['s']:.2f} s")
        for model, text in did.items():
            print(f"  {model:<32} {text}")
        facts["idle"], _ = build(lake, [])
        table.append(("no changes", "lake", facts["idle"]))
        if PEERS:
            download(lake, [f"shape.{name}" for name in SOURCES], f"{folder}/changed")
            download(lake, MARTS, f"{folder}/ours-changed")
            duckdb(folder, f"{folder}/changed", f"{folder}/duckdb")
            changed = found(f"{folder}/ours-changed", log)
            same(changed, found(f"{folder}/duckdb", log), "DuckDB, after the changes,")
            if changed == ours:
                sys.exit("bench: the changes changed no mart")
            say("marts are the same in all engines")
    return facts


def fresh(folder, table):
    lags = under_traffic(f"{folder}/haus", {}, CUSTOMERS, RATE, FRESH_S)["freshness"]
    if not lags["samples"]:
        say(f"nothing that was committed in these {FRESH_S} s has reached serve yet: there is no freshness to tell")
    facts = {f"{of}_s": lags[f"{of}_ms"] and lags[f"{of}_ms"] / 1000 for of in ("p50", "p95")} | {"samples": lags["samples"]}
    table.append(("commit to serve", "the stack", facts))
    return facts


def result(facts):
    """The figures under the names they are kept by."""
    named = {
        "serve_s": ("ours", "s"), "duckdb_serve_s": ("duckdb", "s"), "spark_serve_s": ("spark", "s"),
        "incremental_s": ("incremental", "s"), "fresh_p95_s": ("fresh", "p95_s"), "spark_serve_warm_s": ("spark", "warm_s"),
        "unaudited_s": ("unaudited", "s"), "idle_s": ("idle", "s"), "serve_rss_mb": ("ours", "mb"),
        "duckdb_rss_mb": ("duckdb", "mb"), "serve_cpu_s": ("ours", "cpu"), "duckdb_cpu_s": ("duckdb", "cpu"),
        "incremental_rss_mb": ("incremental", "mb"), "fresh_p50_s": ("fresh", "p50_s"), "cluster_serve_s": ("cluster", "s"),
    }  # fmt: skip
    figures = {name: facts.get(part, {}).get(fact) for name, (part, fact) in named.items()}
    return {"items": ITEMS, "changes": CHANGES, **{name: value and round(value, 2) for name, value in figures.items()}}


def main():
    unknown = set(PARTS) - {"serve", "fresh", "cluster"}
    if unknown:
        sys.exit(f"bench: there is no part {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as temporary:
        folder = os.path.abspath(os.environ.get("BENCH_DIR", temporary))
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
        table, facts = [], {}
        if {"serve", "cluster"} & set(PARTS):
            facts |= serve(folder, table)
        if "fresh" in PARTS:
            facts["fresh"] = fresh(folder, table)
    print()
    for what, who, fact in table:
        print(f"{what:<20} {who:<10} " + "  ".join(f"{key} {value:,.2f}" for key, value in fact.items() if value is not None))
    print(json.dumps(result(facts)))


main()
