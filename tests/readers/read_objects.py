"""Reads the sink's objects with engines that know nothing of us: fastavro, DuckDB, PyArrow, and Avro's Java library.

    read_objects.py FOLDER

Output, one JSON object: {"<file>": {"fastavro": [count, sum of id], "duckdb": [...]}, ...} for every file below the
folder whose name ends with .avro, .parquet, .json or .json.gz.
"""

import glob
import importlib
import json
import os
import subprocess
import sys

import duckdb
import fastavro
import pyarrow.compute
import pyarrow.parquet


def duck() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    package = importlib.import_module("duckdb_extension_avro")
    files = glob.glob(os.path.join(os.path.dirname(package.__file__), "extensions", "*", "*.duckdb_extension"))
    connection.execute(f"LOAD '{files[0]}'")
    return connection


def by_fastavro(file: str) -> list[int]:
    with open(file, "rb") as stream:
        ids = [record["id"] for record in fastavro.reader(stream)]
    return [len(ids), sum(ids)]


def by_duckdb(connection: duckdb.DuckDBPyConnection, function: str, file: str) -> list[int]:
    row = connection.execute(f"SELECT count(*), sum(id) FROM {function}('{file}')").fetchone()
    return [int(row[0]), int(row[1])]


def by_pyarrow(file: str) -> list[int]:
    table = pyarrow.parquet.read_table(file)
    return [table.num_rows, pyarrow.compute.sum(table.column("id")).as_py()]


def by_java(file: str) -> list[int]:
    cache = os.environ.get("HAUS_CACHE") or os.path.expanduser("~/.cache/haus-am-see")
    jar = sorted(glob.glob(os.path.join(cache, "avro-tools-*", "avro-tools-*.jar")))[-1]
    lines = subprocess.run(["java", "-jar", jar, "tojson", file], capture_output=True, check=True).stdout.splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    return [len(ids), sum(ids)]


def main(folder: str) -> int:
    connection = duck()
    answer: dict[str, dict[str, list[int]]] = {}
    for file in sorted(glob.glob(os.path.join(folder, "**", "*"), recursive=True)):
        name = os.path.relpath(file, folder)
        if name.endswith(".avro"):
            answer[name] = {"fastavro": by_fastavro(file), "java": by_java(file)}
            # DuckDB's Avro extension (1.5) refuses containers of this codec.
            if not name.startswith("zstandard"):
                answer[name]["duckdb"] = by_duckdb(connection, "read_avro", file)
        elif name.endswith(".parquet"):
            answer[name] = {"pyarrow": by_pyarrow(file), "duckdb": by_duckdb(connection, "read_parquet", file)}
        elif name.endswith((".json", ".json.gz")):
            answer[name] = {"duckdb": by_duckdb(connection, "read_json", file)}
    print(json.dumps(answer, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
