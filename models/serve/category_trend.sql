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
-- An order counts once for a category, and lies in one month: first a row per category and order, then per month and category.
-- Grouped by one number for both, as text or two columns in the key of so many groups cost more; ids of orders are less than 2 to
-- the 32nd.
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
pairs AS (
    SELECT MIN(l.month) AS month, MIN(p.number) AS number, SUM(l.quantity) AS units, SUM(l.amount) AS revenue
    FROM shape.order_lines AS l
    JOIN placed AS p ON p.product_id = l.product_id
    WHERE l.month IS NOT NULL
    GROUP BY CAST(p.number AS BIGINT) * 4294967296 + l.order_id
),
sums AS (
    SELECT s.month AS month, s.number AS number, SUM(s.units) AS units, SUM(s.revenue) AS revenue, COUNT(*) AS orders
    FROM pairs AS s
    GROUP BY s.month, s.number
)
SELECT
    s.month AS month,
    c.category AS category,
    CAST(s.units AS BIGINT) AS units,
    CAST(s.revenue AS DECIMAL(18, 2)) AS revenue,
    s.orders AS orders
FROM sums AS s
JOIN categories AS c ON c.number = s.number
