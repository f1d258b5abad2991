"""Ways into the playground for the notebooks: where everything is, a client for each part, and waiting.

Settings are the names of `.env` at the top of the repository; the real environment wins. So the same notebook runs on
this machine beside `haus up` and in the container `jupyter` beside the compose zones.
"""

import glob
import importlib
import os
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

# Polars plans Iceberg scans by PyIceberg; without this it recommends another planner each time.
os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")

import duckdb
import matplotlib.pyplot as plt
import polars as pl
import psycopg
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from pyarrow.fs import S3FileSystem
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.table import Table

Found = TypeVar("Found")

# Numbers in full, and enough columns for an event with all its metadata.
pl.Config.set_tbl_rows(20)
pl.Config.set_tbl_cols(20)
pl.Config.set_fmt_str_lengths(80)
pl.Config.set_tbl_hide_dataframe_shape(True)
# The clients of Schema Registry and the notebook kernel warn about their own future.
warnings.filterwarnings("ignore", category=DeprecationWarning)

BLUE, SAND, GREEN, RED = "#2f6690", "#e0a458", "#5b8e7d", "#bc4b51"
plt.rcParams.update(
    {
        "figure.figsize": (9, 3.6),
        "figure.dpi": 110,
        "axes.prop_cycle": plt.cycler(color=[BLUE, SAND, GREEN, RED]),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
    }
)


def setting(name: str) -> str:
    """A setting, from the environment or else from `.env`."""
    if os.environ.get(name):
        return os.environ[name]
    file = Path(__file__).resolve().parent.parent / ".env"
    for line in file.read_text().splitlines() if file.exists() else []:
        key, _, value = line.partition("=")
        if key.strip() == name:
            return value.strip()
    raise KeyError(f"{name} is set neither in the environment nor in {file}")


def wait_for(
    what: str, look: Callable[[], Found], until: Callable[[Found], bool] | None = None, seconds: float = 180
) -> Found:
    """Calls `look` until it finds something (or until `until` holds for what it finds), and returns that.

    Nothing is an empty table as well. Fails after `seconds`: the embedded stack needs a few from a commit to `serve`, the
    compose zones a minute or two, because their sink closes a file once a minute.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        there = found.height > 0 if isinstance(found, pl.DataFrame) else bool(found)
        if until(found) if until else there:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s. `haus status` shows which part lags or is down.")
        time.sleep(0.25)


def storefront() -> psycopg.Connection:
    """The web shop's database. A statement outside of `with db.transaction()` is a transaction of its own."""
    return psycopg.connect(
        host=setting("POSTGRES_HOST"),
        port=int(setting("POSTGRES_PORT")),
        user=setting("POSTGRES_USER"),
        password=setting("POSTGRES_PASSWORD"),
        dbname=setting("STOREFRONT_DB"),
        autocommit=True,
    )


def schema_registry() -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": setting("SCHEMA_REGISTRY_URL")})


def kafka_consumer() -> Consumer:
    """A consumer that leaves no trace: it never commits offsets, and says itself where it begins to read."""
    return Consumer(
        {
            "bootstrap.servers": setting("KAFKA_BOOTSTRAP_SERVERS"),
            "group.id": f"notebook-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            # Records of transactions that were not committed stay invisible.
            "isolation.level": "read_committed",
        }
    )


def object_store() -> S3FileSystem:
    """Files in S3, as paths `bucket/key`."""
    return S3FileSystem(
        endpoint_override=setting("S3_ENDPOINT"),
        region=setting("S3_REGION"),
        access_key=setting("AWS_ACCESS_KEY_ID"),
        secret_key=setting("AWS_SECRET_ACCESS_KEY"),
    )


def lake_catalog() -> RestCatalog:
    """The Iceberg REST catalog, by PyIceberg."""
    return RestCatalog(
        "lake",
        uri=setting("CATALOG_URL"),
        warehouse=setting("CATALOG_WAREHOUSE"),
        **{
            "s3.endpoint": setting("S3_ENDPOINT"),
            "s3.region": setting("S3_REGION"),
            "s3.access-key-id": setting("AWS_ACCESS_KEY_ID"),
            "s3.secret-access-key": setting("AWS_SECRET_ACCESS_KEY"),
        },
    )


def lake_duckdb() -> duckdb.DuckDBPyConnection:
    """A DuckDB of our own, with the lake attached as the database `lake`."""
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    # On a machine that reaches DuckDB's own servers this is `INSTALL iceberg; LOAD iceberg`. These come with pip.
    for extension in ("avro", "httpfs", "iceberg"):
        package = Path(importlib.import_module(f"duckdb_extension_{extension}").__file__).parent
        [file] = glob.glob(str(package / "extensions" / "*" / "*.duckdb_extension"))
        connection.execute(f"LOAD '{file}'")
    scheme, _, address = setting("S3_ENDPOINT").partition("://")
    connection.execute(
        f"""
        SET TimeZone = 'UTC';
        CREATE SECRET (
            TYPE s3, ENDPOINT '{address}', USE_SSL {scheme == "https"}, URL_STYLE 'path', REGION '{setting("S3_REGION")}',
            KEY_ID '{setting("AWS_ACCESS_KEY_ID")}', SECRET '{setting("AWS_SECRET_ACCESS_KEY")}');
        ATTACH '{setting("CATALOG_WAREHOUSE")}' AS lake (
            TYPE iceberg, ENDPOINT '{setting("CATALOG_URL")}', AUTHORIZATION_TYPE 'none',
            SUPPORT_NESTED_NAMESPACES true);
        """
    )
    return connection


def lake_polars(table: Table, snapshot_id: int | None = None) -> pl.LazyFrame:
    """A lazy frame over an Iceberg table, at its newest snapshot or at a given one."""
    return pl.scan_iceberg(
        table,
        snapshot_id=snapshot_id,
        storage_options={
            "aws_endpoint_url": setting("S3_ENDPOINT"),
            "aws_region": setting("S3_REGION"),
            "aws_access_key_id": setting("AWS_ACCESS_KEY_ID"),
            "aws_secret_access_key": setting("AWS_SECRET_ACCESS_KEY"),
        },
    )


def need_a_shop() -> int:
    """Orders in the lake; fails with what to do when the web shop is empty."""
    with storefront() as database:
        orders = database.execute("SELECT count(*) FROM orders").fetchone()[0]
    if orders == 0:
        raise RuntimeError(
            "The web shop has no orders yet. Seed it: `haus seed --count 1000`, or POST /seed/full at the seeder."
        )

    def in_lake() -> int:
        try:
            return lake_catalog().load_table("shape.orders").scan().count()
        except Exception:  # The tables come with their first records.
            return 0

    return wait_for("orders in the lake (are both connectors registered?)", in_lake)
