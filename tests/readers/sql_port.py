"""The lake's SQL port as psycopg and the ADBC driver see it. Arguments: the port. Prints rows as JSON, exact."""

import datetime
import decimal
import json
import sys

import adbc_driver_postgresql.dbapi
import psycopg

ENDLESS = "SELECT SUM(a.value * b.value) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b"


def shown(value):
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds")
    return value


def adbc():
    """Results as Arrow: the driver reads them by COPY in binary. It has no type for numeric but text."""
    found = {}
    with adbc_driver_postgresql.dbapi.connect(f"postgresql://haus@127.0.0.1:{sys.argv[1]}/lake", autocommit=True) as connection:
        with connection.cursor() as cursor:

            def table(sql):
                cursor.execute(sql)
                return cursor.fetch_arrow_table()

            rows = table("SELECT id, status, total, created_at FROM shape.orders WHERE id >= 1 ORDER BY id")
            found["types"] = [str(field.type) for field in rows.schema if field.name != "total"]
            found["rows"] = [[shown(value) for value in row.values()] for row in rows.to_pylist()]
            values = table(
                "SELECT [1, NULL, 3] AS a, ['a', 'b,\"c'] AS b, 'NaN'::double AS c, X'00ff' AS d, arrow_cast(1, 'Int16') AS e, "
                "0.25::real AS f, DATE '2024-05-04' AS g, NULL AS h, true AS i, -0.05::decimal(10,2) AS j"
            ).to_pylist()[0]
            values |= {"c": str(values["c"]), "d": values["d"].hex(), "g": str(values["g"])}
            found["values"] = list(values.values())
            found["many"] = table("SELECT value FROM generate_series(1, 1000000)").num_rows
            found["none"] = table("SELECT id FROM shape.orders WHERE id < 0").num_rows
            try:
                cursor.execute("DELETE FROM shape.orders")
            except adbc_driver_postgresql.dbapi.Error as error:
                found["refused"] = error.sqlstate
        schema = connection.adbc_get_table_schema("orders", db_schema_filter="shape")
        found["columns"] = schema.names[:2]
    return found


def main():
    found = {"adbc": adbc()}
    with psycopg.connect(host="127.0.0.1", port=sys.argv[1], user="haus", dbname="lake", sslmode="prefer") as connection:
        for name, binary in (("text", False), ("binary", True)):
            rows = connection.execute(
                "SELECT id, status, total, created_at FROM shape.orders WHERE id >= %s AND total > %s AND created_at < %s ORDER BY id",
                [1, decimal.Decimal("0.001"), datetime.datetime(2024, 5, 5, 10, 0, 0, 1)],
                binary=binary,
            )
            found[name] = [[shown(value) for value in row] for row in rows]
        with connection.cursor(name="pieces") as cursor:
            cursor.itersize = 5000
            cursor.execute("SELECT value FROM generate_series(1, 100000)")
            found["sum"] = sum(row[0] for row in cursor)
        values = connection.execute("SELECT [1, NULL, 3], ['a', 'b,\"c'], 'NaN'::double, X'00ff'", binary=True).fetchone()
        found["values"] = [values[0], values[1], str(values[2]), values[3].hex()]
    with psycopg.connect(host="127.0.0.1", port=sys.argv[1], user="haus", dbname="lake", autocommit=True) as connection:
        try:
            connection.execute("UPDATE shape.orders SET id = 1")
        except psycopg.errors.ReadOnlySqlTransaction as error:
            found["refused"] = error.sqlstate
    print(json.dumps(found))


main()
