"""Reads every table of the lake's shape and serve layers with PyIceberg, DuckDB and Polars and prints what they found.

    read_lake.py [layer ...]        layers: shape serve (default), stage

Output, one JSON object: {"pyiceberg": {"shape.orders": {"count": 3, "sum_id": "6", ...}}, "duckdb": {...}, "polars": {...}, "equal": true}.
Sums are of all integer and decimal columns, as exact text. All engines read the same snapshot: PyIceberg loads the table
by the REST catalog, DuckDB scans the metadata file that PyIceberg was given, Polars the files that PyIceberg names, with its
own reader.
Exit code 1 when the engines differ. Settings as everywhere: CATALOG_URL, CATALOG_WAREHOUSE, S3_ENDPOINT, S3_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
"""

import glob
import importlib
import json
import os
import sys
from decimal import Decimal

import duckdb
import polars
import pyarrow
import pyarrow.compute
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.types import DecimalType, IntegerType, LongType


def setting(name: str, default: str) -> str:
    return os.environ.get(name) or default


S3_ENDPOINT = setting("S3_ENDPOINT", "http://127.0.0.1:9000")
S3_REGION = setting("S3_REGION", "us-east-1")
ACCESS_KEY = setting("AWS_ACCESS_KEY_ID", "minio")
SECRET_KEY = setting("AWS_SECRET_ACCESS_KEY", "minio123")


def catalog() -> RestCatalog:
    return RestCatalog(
        "lake",
        uri=setting("CATALOG_URL", "http://127.0.0.1:8181"),
        warehouse=setting("CATALOG_WAREHOUSE", "s3://lakehouse/"),
        **{
            "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
            "s3.endpoint": S3_ENDPOINT,
            "s3.region": S3_REGION,
            "s3.access-key-id": ACCESS_KEY,
            "s3.secret-access-key": SECRET_KEY,
            "s3.force-virtual-addressing": "false",
        },
    )


def duck() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "httpfs", "iceberg"):
        package = importlib.import_module(f"duckdb_extension_{name}")
        files = glob.glob(os.path.join(os.path.dirname(package.__file__), "extensions", "*", "*.duckdb_extension"))
        connection.execute(f"LOAD '{files[0]}'")
    host = S3_ENDPOINT.split("://", 1)[1]
    tls = str(S3_ENDPOINT.startswith("https")).lower()
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{ACCESS_KEY}', SECRET '{SECRET_KEY}', REGION '{S3_REGION}',"
        f" ENDPOINT '{host}', URL_STYLE 'path', USE_SSL {tls})"
    )
    return connection


def namespaces(found: RestCatalog, below: tuple[str, ...]) -> list[tuple[str, ...]]:
    children = found.list_namespaces(below)
    return [below] + [deeper for child in children if child != below for deeper in namespaces(found, child)]


def exact(value: object) -> str:
    """Text of a sum that does not depend on the engine's choice of type."""
    return str(Decimal(0) if value is None else Decimal(str(value)))


def numeric_columns(table: object) -> list[str]:
    kinds = (IntegerType, LongType, DecimalType)
    return [field.name for field in table.schema().fields if isinstance(field.field_type, kinds)]


def by_pyiceberg(table: object) -> dict[str, object]:
    columns = numeric_columns(table)
    rows = table.scan(selected_fields=tuple(columns) or ("*",)).to_arrow()
    found: dict[str, object] = {"count": rows.num_rows}
    for column in columns:
        values = rows.column(column)
        if pyarrow.types.is_integer(values.type):
            values = values.cast(pyarrow.decimal128(38, 0))
        else:
            values = values.cast(pyarrow.decimal128(38, values.type.scale))
        found[f"sum_{column}"] = exact(pyarrow.compute.sum(values).as_py())
    return found


def by_duckdb(connection: duckdb.DuckDBPyConnection, table: object) -> dict[str, object]:
    columns = numeric_columns(table)
    if table.current_snapshot() is None:
        return {"count": 0} | {f"sum_{column}": exact(None) for column in columns}
    sums = "".join(f', SUM("{column}")' for column in columns)
    row = connection.execute(f"SELECT COUNT(*){sums} FROM iceberg_scan('{table.metadata_location}')").fetchone()
    return {"count": row[0]} | {f"sum_{column}": exact(value) for column, value in zip(columns, row[1:])}


def by_polars(table: object) -> dict[str, object]:
    columns = numeric_columns(table)
    options = {
        "aws_endpoint_url": S3_ENDPOINT, "aws_region": S3_REGION, "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": SECRET_KEY, "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false",
    }  # fmt: skip
    rows = polars.scan_iceberg(table, storage_options=options, reader_override="native")
    wide = polars.Decimal(38, 0)

    def total(column: str) -> polars.Expr:
        kind = table.schema().find_field(column).field_type
        return polars.col(column).cast(wide if not isinstance(kind, DecimalType) else polars.Decimal(38, kind.scale)).sum()

    found = rows.select(polars.len().alias("count"), *(total(column).alias(f"sum_{column}") for column in columns)).collect()
    row = found.to_dicts()[0]
    return {"count": row["count"]} | {f"sum_{column}": exact(row[f"sum_{column}"]) for column in columns}


def main(layers: list[str]) -> int:
    found = catalog()
    connection = duck()
    answer: dict[str, dict[str, object]] = {"pyiceberg": {}, "duckdb": {}, "polars": {}}
    for layer in layers:
        for namespace in namespaces(found, (layer,)):
            for identifier in found.list_tables(namespace):
                table = found.load_table(identifier)
                name = f"{layer}.{identifier[-1]}"
                answer["pyiceberg"][name] = by_pyiceberg(table)
                answer["duckdb"][name] = by_duckdb(connection, table)
                answer["polars"][name] = by_polars(table)
    equal = answer["pyiceberg"] == answer["duckdb"] == answer["polars"]
    print(json.dumps(answer | {"equal": equal}, indent=2, sort_keys=True))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["shape", "serve"]))
