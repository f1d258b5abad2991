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
-- An order counts once for a product: first a row per product and order, then per product. Grouped by one number for both, as
-- two columns in the key of so many groups cost more than twice as much; ids of orders are less than 2 to the 32nd.
WITH pairs AS (
    SELECT MIN(l.product_id) AS product_id, SUM(l.quantity) AS units, SUM(l.amount) AS revenue
    FROM shape.order_lines AS l
    GROUP BY CAST(l.product_id AS BIGINT) * 4294967296 + l.order_id
),
sums AS (
    SELECT s.product_id AS product_id, SUM(s.units) AS units, SUM(s.revenue) AS revenue, COUNT(*) AS orders
    FROM pairs AS s
    GROUP BY s.product_id
)
SELECT
    p.id AS product_id,
    p.name AS name,
    p.category AS category,
    CAST(COALESCE(s.units, 0) AS BIGINT) AS units,
    CAST(COALESCE(s.revenue, 0) AS DECIMAL(18, 2)) AS revenue,
    COALESCE(s.orders, 0) AS orders
FROM shape.products AS p
LEFT JOIN sums AS s ON s.product_id = p.id
