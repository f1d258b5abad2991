/* ---
description: Sales per product over all orders that are not cancelled; products that were never sold have zeros.
owner: shop
tags: [sales, products]
materialized: {incremental: {by: product_id, from: {shape.products: id, shape.order_lines: product_id}}}
keys: [product_id]
columns:
  product_id: {description: The product.}
  name: {description: Its name., tests: [not_null]}
  category: {description: Its category; null when it has none.}
  units: {description: Sum of quantity.}
  revenue: {description: Sum of quantity * price_at_purchase.}
  orders: {description: Orders that hold the product.}
tests:
  - expression: units >= orders AND revenue >= 0
--- */
-- Distinct orders are counted by themselves: beside sums they cost several times as much.
WITH sums AS (
    SELECT l.product_id AS product_id, SUM(l.quantity) AS units, SUM(l.amount) AS revenue
    FROM shape.order_lines AS l
    GROUP BY l.product_id
),
counts AS (
    SELECT l.product_id AS product_id, COUNT(DISTINCT l.order_id) AS orders
    FROM shape.order_lines AS l
    GROUP BY l.product_id
)
SELECT
    p.id AS product_id,
    p.name AS name,
    p.category AS category,
    CAST(COALESCE(s.units, 0) AS BIGINT) AS units,
    CAST(COALESCE(s.revenue, 0) AS DECIMAL(18, 2)) AS revenue,
    COALESCE(c.orders, 0) AS orders
FROM shape.products AS p
LEFT JOIN sums AS s ON s.product_id = p.id
LEFT JOIN counts AS c ON c.product_id = p.id
