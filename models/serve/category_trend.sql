/* ---
description: Sales per month and category, over all orders that are not cancelled.
owner: shop
tags: [sales, products]
materialized: {partition: {by: month, from: {shape.order_lines: month}}}
keys: [month, category]
columns:
  month: {description: First day of the month in which the orders were created.}
  category: {description: "The products' category; (none) for those without."}
  units: {description: Sum of quantity.}
  revenue: {description: Sum of quantity * price_at_purchase.}
  orders: {description: Orders that hold a product of the category.}
tests:
  - expression: units >= orders AND revenue >= 0
--- */
-- Grouped by a number of the category, as text is slow in the key of many groups; distinct orders by themselves, as beside sums
-- they cost several times as much.
WITH categories AS (
    SELECT COALESCE(p.category, '(none)') AS category, MIN(p.id) AS number
    FROM shape.products AS p
    GROUP BY COALESCE(p.category, '(none)')
),
placed AS (
    SELECT p.id AS product_id, c.number AS number
    FROM shape.products AS p
    JOIN categories AS c ON c.category = COALESCE(p.category, '(none)')
),
sums AS (
    SELECT l.month AS month, p.number AS number, SUM(l.quantity) AS units, SUM(l.amount) AS revenue
    FROM shape.order_lines AS l
    JOIN placed AS p ON p.product_id = l.product_id
    WHERE l.month IS NOT NULL
    GROUP BY l.month, p.number
),
counts AS (
    SELECT l.month AS month, p.number AS number, COUNT(DISTINCT l.order_id) AS orders
    FROM shape.order_lines AS l
    JOIN placed AS p ON p.product_id = l.product_id
    WHERE l.month IS NOT NULL
    GROUP BY l.month, p.number
)
SELECT
    s.month AS month,
    c.category AS category,
    CAST(s.units AS BIGINT) AS units,
    CAST(s.revenue AS DECIMAL(18, 2)) AS revenue,
    n.orders AS orders
FROM sums AS s
JOIN counts AS n ON n.month = s.month AND n.number = s.number
JOIN categories AS c ON c.number = s.number
