"""PyIceberg as a client: by REST, and by its SQL catalog on the same Postgres tables.

Arguments: URL of the REST catalog, URL of the catalog's database, S3 endpoint.
"""
import sys

import pyarrow as pa
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType
from pyiceberg.view.metadata import SQLViewRepresentation, ViewVersion

rest_url, database_url, s3_endpoint = sys.argv[1:]
# Nothing but the address: the object store's settings come from the catalog.
rest = RestCatalog("rest", uri=rest_url)
rest.create_namespace(("stage", "storefront"), {"owner": "pyiceberg"})
assert rest.load_namespace_properties(("stage", "storefront"))["owner"] == "pyiceberg"
assert rest.list_namespaces() == [("stage",)], rest.list_namespaces()

name = ("stage", "storefront", "orders")
schema = Schema(NestedField(1, "id", LongType(), required=False), NestedField(2, "status", StringType(), required=False))
spec = PartitionSpec(PartitionField(source_id=2, field_id=1000, transform=IdentityTransform(), name="status"))
table = rest.create_table(name, schema, partition_spec=spec, properties={"format-version": "2"})
try:
    rest.create_table(name, schema)
    raise AssertionError("a table was made twice")
except TableAlreadyExistsError:
    pass

stale = rest.load_table(name)
table.append(pa.table({"id": [1, 2, 3], "status": ["a", "b", "a"]}))
try:
    stale.append(pa.table({"id": [9], "status": ["z"]}))
    # PyIceberg of some versions reloads and retries by itself; then both appends are there.
    expected = 4
except CommitFailedException:
    expected = 3
table = rest.load_table(name)
assert table.scan().to_arrow().num_rows == expected
table.overwrite(pa.table({"id": [7], "status": ["c"]}))
with table.update_schema() as update:
    update.add_column("note", StringType())
with table.transaction() as transaction:
    transaction.set_properties(a="b")
assert rest.load_table(name).scan().to_arrow().to_pylist() == [{"id": 7, "status": "c", "note": None}]

# A table made together with its first rows (staged).
with rest.create_table_transaction(("stage", "storefront", "staged"), schema) as transaction:
    transaction.set_properties(made="staged")
assert rest.load_table(("stage", "storefront", "staged")).properties["made"] == "staged"

# The JDBC catalog's tables: PyIceberg's SqlCatalog opens the same lake, and writes to it.
sql = SqlCatalog("lakehouse", uri=database_url, warehouse="s3://lakehouse", **{
    "s3.endpoint": s3_endpoint, "s3.access-key-id": "minio", "s3.secret-access-key": "minio123", "s3.region": "us-east-1",
})
assert sorted(sql.list_tables("stage.storefront")) == sorted(rest.list_tables(("stage", "storefront")))
assert sql.load_table("stage.storefront.orders").scan().to_arrow().num_rows == 1
sql.load_table("stage.storefront.orders").append(pa.table({"id": [8], "status": ["d"], "note": ["by sql"]}))
assert rest.load_table(name).scan().to_arrow().num_rows == 2
sql.create_namespace("by_sql")
sql.create_table("by_sql.t", schema)
assert rest.table_exists(("by_sql", "t"))

# Views.
view = ("stage", "storefront", "ids")
text = SQLViewRepresentation(type="sql", sql="SELECT id FROM orders", dialect="spark")
version = ViewVersion(version_id=1, schema_id=0, representations=[text], default_namespace=("stage", "storefront"))
made = rest.create_view(view, Schema(NestedField(1, "id", LongType(), required=False)), version, properties={"a": "b"})
assert rest.list_views(("stage", "storefront")) == [view]
assert rest.view_exists(view) and not rest.table_exists(view)
assert rest.load_view(view).metadata == made.metadata
assert rest.load_view(view).metadata.versions[0].representations[0].root.sql == text.sql
rest.drop_view(view)
assert not rest.view_exists(view)

rest.rename_table(name, ("stage", "storefront", "sales"))
rest.purge_table(("stage", "storefront", "sales"))
try:
    rest.load_table(("stage", "storefront", "sales"))
    raise AssertionError("a dropped table was loaded")
except NoSuchTableError:
    pass
print("ok")
