"""The lake's SQL port as psycopg sees it. Arguments: the port. Prints rows as JSON, exact."""

import datetime
import decimal
import json
import sys

import psycopg

ENDLESS = "SELECT SUM(a.value * b.value) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b"


def shown(value):
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds")
    return value


def main():
    found = {}
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
