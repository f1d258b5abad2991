#!/usr/bin/env bash
# Profile `spark`: Spark reads every table of shape and serve by the REST catalog and finds what Postgres holds, and again
# after a source table grew a column, rows were changed and deleted, and the lake's tables were maintained; it writes a table
# of its own, changes it and drops it, and so with a view. Prints start times and the memory of the whole lake zone. Called by run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/compose/zones.sh

memory_limit_mb=3072
image=$(sed -n 's/^SPARK_ICEBERG_IMAGE=//p' .env)
base=$(sed -n 's/^SPARK_IMAGE=//p' .env)
if ! docker image inspect "$image" >/dev/null 2>&1; then
    docker image inspect "$base" >/dev/null 2>&1 || timeout 600 docker pull -q "$base" 2>/dev/null || compose/standins/images.sh spark
    docker compose build -q spark-master 2>/dev/null || docker build -q -f compose/Dockerfile.spark -t "$image" compose
fi
docker image inspect --format "size of $image: {{.Size}} bytes" "$image"

lake=(minio mc catalog-db catalog lake)
jupyter=$(sed -n 's/^JUPYTER_IMAGE=//p' .env)
docker image inspect "$jupyter" >/dev/null 2>&1 && lake+=(jupyter)
docker compose up -d --wait --wait-timeout 600 postgres flyway seeder kafka schema-registry cdc-relay s3-sink "${lake[@]}"
docker compose run --rm -T connect-postgres
docker compose run --rm -T connect-s3
curl -fsS -X POST "$(docker compose port seeder 8000)/seed/full?count=500"; echo
docker compose run --rm -T haus verify

began=$SECONDS
docker compose --profile spark up -d --wait --wait-timeout 600 spark-master spark-worker
echo "-- spark-master and spark-worker healthy in $((SECONDS - began)) s"
curl -fsS "$(docker compose port spark-master 8085)/json/" | grep -q '"aliveworkers" : 1' || { echo "the master knows no worker" >&2; exit 1; }

spark() { docker compose exec -T spark-master spark-sql "$@"; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

# Name, rows, and two sums: the same question to both.
cat >"$work/spark.sql" <<'SQL'
SELECT 'shape.customers', count(*), sum(id), sum(0.00) FROM shape.customers
UNION ALL SELECT 'shape.products', count(*), sum(id), sum(price) FROM shape.products
UNION ALL SELECT 'shape.orders', count(*), sum(id), sum(total) FROM shape.orders
UNION ALL SELECT 'shape.order_items', count(*), sum(quantity), sum(quantity * price_at_purchase) FROM shape.order_items
UNION ALL SELECT 'shape.payments', count(*), sum(order_id), sum(amount) FROM shape.payments
UNION ALL SELECT 'serve.daily_revenue', count(*), sum(orders), sum(revenue) FROM serve.daily_revenue
UNION ALL SELECT 'serve.order_funnel', count(*), sum(orders), sum(total) FROM serve.order_funnel
UNION ALL SELECT 'serve.product_sales', count(*), sum(units), sum(revenue) FROM serve.product_sales;
SQL
cat >"$work/postgres.sql" <<'SQL'
SELECT 'shape.customers', count(*), sum(id), sum(0.00) FROM customers
UNION ALL SELECT 'shape.products', count(*), sum(id), sum(price) FROM products
UNION ALL SELECT 'shape.orders', count(*), sum(id), sum(total) FROM orders
UNION ALL SELECT 'shape.order_items', count(*), sum(quantity), sum(quantity * price_at_purchase) FROM order_items
UNION ALL SELECT 'shape.payments', count(*), sum(order_id), sum(amount) FROM payments
UNION ALL SELECT 'serve.daily_revenue', count(DISTINCT o.created_at::date), count(DISTINCT o.id), sum(quantity * price_at_purchase)
    FROM orders o LEFT JOIN order_items i ON i.order_id = o.id WHERE status <> 'cancelled'
UNION ALL SELECT 'serve.order_funnel', count(DISTINCT status), count(*), sum(total) FROM orders
UNION ALL SELECT 'serve.product_sales', (SELECT count(*) FROM products), sum(quantity), sum(quantity * price_at_purchase)
    FROM orders o JOIN order_items i ON i.order_id = o.id WHERE status <> 'cancelled';
SQL

mapfile -t containers < <(docker compose --profile spark ps -q "${lake[@]}" spark-master spark-worker)
# Spark's log goes to the error stream; shown only when it fails.
began=$SECONDS
spark -e "$(cat "$work/spark.sql")" >"$work/spark.out" 2>"$work/spark.err" || { tail -40 "$work/spark.err" >&2; exit 1; } &
query=$!
peak=0
while kill -0 $query 2>/dev/null; do
    now=$(docker stats --no-stream --format '{{.MemUsage}}' "${containers[@]}" |
        sed 's: / .*::' | awk '/GiB/ { sum += $1 * 1024 } /MiB/ { sum += $1 } END { printf "%d", sum }')
    [ "$now" -le "$peak" ] || peak=$now
done
wait $query
echo "-- Spark answered in $((SECONDS - began)) s, start of its driver included"
echo "-- memory of the lake zone with Spark: $peak MiB at most"
if [ "$peak" = 0 ] || [ "$peak" -ge $memory_limit_mb ]; then echo "expected less than $memory_limit_mb MiB" >&2; exit 1; fi

shop() { docker compose exec -T postgres sh -c 'psql -qAt -v ON_ERROR_STOP=1 -F "	" -U "$POSTGRES_USER" -d storefront'; }
compare() {
    shop <"$work/postgres.sql" | sort >"$work/postgres.sorted"
    sort "$work/spark.out" >"$work/spark.sorted"
    cat "$work/spark.sorted"
    [ "$(wc -l <"$work/spark.sorted")" = 8 ] || { echo "expected 8 lines of Spark" >&2; exit 1; }
    diff "$work/postgres.sorted" "$work/spark.sorted" || { echo "Spark (>) differs from Postgres (<)" >&2; exit 1; }
}
compare
echo "Spark reads what Postgres holds"

# A column more, rows changed and deleted, then files packed, snapshots expired, orphans looked for.
shop <<'SQL'
ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text;
UPDATE orders SET note = 'seen by Spark' WHERE id <= 10;
DELETE FROM payments WHERE id % 7 = 0;
SQL
docker compose run --rm -T haus verify
docker compose run --rm -T -e LAKE_SNAPSHOT_AGE_S=0 -e LAKE_SNAPSHOTS_MIN=1 lake lake maintain
spark -e "$(cat "$work/spark.sql")" >"$work/spark.out" 2>"$work/spark.err" || { tail -40 "$work/spark.err" >&2; exit 1; }
compare
noted=$(spark -e "
SELECT 'noted', count(*) = 10 FROM shape.orders WHERE note = 'seen by Spark';
SELECT 'gone', count(*) = 0 FROM shape.payments WHERE id % 7 = 0;
SELECT 'one version is open', max(open) = 1 FROM
    (SELECT count(*) FILTER (WHERE is_current) AS open FROM shape.orders_history GROUP BY id);
SELECT 'a key is found', count(*) = 1 FROM shape.orders WHERE id = 5;
" 2>"$work/spark.err") || { tail -40 "$work/spark.err" >&2; exit 1; }
[ "$(grep -c "	true$" <<<"$noted")" = 4 ] || { echo "Spark reads otherwise after maintenance: $noted" >&2; exit 1; }
echo "Spark reads the same after evolution, deletes and maintenance"

# Writes: its own namespace, made and dropped; the lake's tables are not touched.
written=$(spark -e "
CREATE NAMESPACE IF NOT EXISTS scratch;
DROP TABLE IF EXISTS scratch.orders;
CREATE TABLE scratch.orders PARTITIONED BY (days(created_at)) AS SELECT * FROM shape.orders;
DELETE FROM scratch.orders WHERE id % 2 = 0;
MERGE INTO scratch.orders t USING (SELECT * FROM shape.orders WHERE id <= 10) s ON t.id = s.id
    WHEN MATCHED THEN UPDATE SET status = 'seen' WHEN NOT MATCHED THEN INSERT *;
SELECT 'written', count(*) = (SELECT count(*) - count(*) FILTER (WHERE id % 2 = 0 AND id > 10) FROM shape.orders),
    count(*) FILTER (WHERE status = 'seen') = (SELECT count(*) FROM shape.orders WHERE id % 2 = 1 AND id <= 10) FROM scratch.orders;
CREATE OR REPLACE VIEW scratch.seen AS SELECT id FROM scratch.orders WHERE status = 'seen';
SELECT 'viewed', count(*) = (SELECT count(*) FROM scratch.orders WHERE status = 'seen') FROM scratch.seen;
DROP VIEW scratch.seen;
DROP TABLE scratch.orders PURGE;
DROP NAMESPACE scratch;
" 2>"$work/spark.err") || { tail -40 "$work/spark.err" >&2; exit 1; }
[ "$(grep -cE "^(written	true	true|viewed	true)$" <<<"$written")" = 2 ] || { echo "Spark's own table is not what it wrote: $written" >&2; exit 1; }
echo "Spark wrote, merged and dropped a table of its own, and a view"
