#!/usr/bin/env python3
"""Runs the lake's models, as they are in models/, on another engine, over the fixture, and compares with the *.slt files.

    engines.py duckdb
    engines.py spark

The files of `tests/models/*.slt` hold what the lake itself says (crates/lake/src/tests/logic.rs). Nothing is translated:
the file of a model, head and all, is what the engine gets. Exit code 1 when a row differs.
"""

import csv
import datetime
import decimal
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests/models/fixture"
TYPES = {
    "int": "INT",
    "string": "VARCHAR(99)",
    "timestamp": "TIMESTAMP",
}


def sources():
    """Columns and types of every table, from models/sources.yaml."""
    text = (ROOT / "models/sources.yaml").read_text()
    for name, columns in re.findall(r"^(shape\.\w+):.*?columns: \{(.*?)\}", text, re.DOTALL | re.MULTILINE):
        pairs = re.findall(r'(\w+): ("decimal\(10,2\)"|\w+)', columns)
        yield name, [(column, kind.strip('"')) for column, kind in pairs]


def literal(text, kind):
    if text == "":
        return f"CAST(NULL AS {TYPES.get(kind, kind)})"
    return f"CAST('{text}' AS {TYPES.get(kind, kind)})"


def rows_of(name, columns):
    with open(FIXTURE / f"{name}.csv", newline="") as file:
        for row in csv.DictReader(file):
            yield ", ".join(f"{literal(row[column], kind)} AS {column}" for column, kind in columns)


def models():
    """Text of each model, each after those it reads."""
    texts = {f"{path.parent.name}.{path.stem}": path.read_text() for path in (ROOT / "models").glob("s*/*.sql")}
    known = {name for name, _ in sources()}
    while texts:
        for name, text in list(texts.items()):
            body = text.split("--- */", 1)[1]
            if all(read in known for read in re.findall(r"(?:FROM|JOIN) (s\w+\.\w+)", body)):
                known.add(name)
                yield name, texts.pop(name)


def expected():
    """Query and sorted rows of every check."""
    for path in sorted((ROOT / "tests/models").glob("*.slt")):
        for query, rows in re.findall(r"^query \w+ rowsort\n(.*?)\n----\n(.*?)(?:\n\n|\Z)", path.read_text(), re.DOTALL | re.MULTILINE):
            yield path.stem, query, sorted(line for line in rows.split("\n") if line)


def text(value):
    if value is None:
        return "NULL"
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value)


def duckdb():
    import duckdb

    connection = duckdb.connect()
    for schema in ("shape", "serve"):
        connection.execute(f"CREATE SCHEMA {schema}")
    return lambda name, sql: connection.execute(f"CREATE TABLE {name} AS {sql}"), lambda sql: connection.execute(sql).fetchall()


def spark():
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")

    # Spark has no schemas of views; the names' dots become underscores, in models and in queries alike.
    def flat(sql):
        return re.sub(r"\b(shape|serve)\.(\w+)", r"\1_\2", sql)

    def create(name, sql):
        # Kept, so that what is made of it does not compute it again.
        session.sql(flat(sql)).coalesce(1).cache().createOrReplaceTempView(flat(name))

    return create, lambda sql: [tuple(row) for row in session.sql(flat(sql)).collect()]


def main():
    create, query = {"duckdb": duckdb, "spark": spark}[sys.argv[1]]()
    for name, columns in sources():
        create(name, " UNION ALL ".join(f"SELECT {row}" for row in rows_of(name, columns)))
    for name, sql in models():
        create(name, sql)
    checked = failed = 0
    for model, sql, wanted in expected():
        found = sorted(" ".join(text(value) for value in row) for row in query(sql))
        checked += 1
        if found != wanted:
            failed += 1
            print(f"{model}: {sql}\n  only here: {sorted(set(found) - set(wanted))}\n  missing: {sorted(set(wanted) - set(found))}")
    print(f"{sys.argv[1]}: {checked} checks, {failed} differ")
    sys.exit(1 if failed or not checked else 0)


if __name__ == "__main__":
    main()
