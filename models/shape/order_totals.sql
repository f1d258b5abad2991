/* ---
description: One row per order with the sums of its items. What most marts are made of, so that the join is done once.
owner: shop
tags: [orders]
materialized: {incremental: {by: order_id, from: {shape.orders: id, shape.order_items: order_id}}}
keys: [order_id]
columns:
  order_id: {description: The order.}
  customer_id: {description: Who ordered., tests: [not_null, {relationships: {to: shape.customers, column: id, severity: warn}}]}
  status: {description: Where the order is., tests: [not_null, {accepted_values: [pending, shipped, delivered, cancelled]}]}
  day: {description: Day on which it was created.}
  total: {description: The order's own total; null when the shop did not set one.}
  lines: {description: Number of its items.}
  units: {description: Sum of their quantities.}
  revenue: {description: Sum of quantity * price_at_purchase; zero without items.}
tests:
  - expression: lines >= 0 AND revenue >= 0
--- */
WITH sums AS (
    SELECT
        i.order_id AS order_id,
        COUNT(i.id) AS lines,
        SUM(i.quantity) AS units,
        SUM(i.quantity * i.price_at_purchase) AS revenue
    FROM shape.order_items AS i
    GROUP BY i.order_id
)
SELECT
    o.id AS order_id,
    o.customer_id AS customer_id,
    o.status AS status,
    CAST(o.created_at AS DATE) AS day,
    o.total AS total,
    COALESCE(s.lines, 0) AS lines,
    CAST(COALESCE(s.units, 0) AS BIGINT) AS units,
    CAST(COALESCE(s.revenue, 0) AS DECIMAL(18, 2)) AS revenue
FROM shape.orders AS o
LEFT JOIN sums AS s ON s.order_id = o.id
