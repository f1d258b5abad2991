/* ---
description: >-
  Stock of each product against what was sold of it in the 30 days up to the last day with an order: whether it lasts for
  one week or four at that pace. Counted in whole numbers, so that every engine says the same.
owner: warehouse
tags: [products, operations]
keys: [product_id]
columns:
  product_id: {description: The product.}
  name: {description: Its name.}
  stock_quantity: {description: What is in stock.}
  units_30_days: {description: What was sold in 30 days.}
  risk: {description: "out: nothing left; critical: less than a week; low: less than four; idle: nothing sold; ok: else.", tests: [{accepted_values: [out, critical, low, idle, ok]}]}
--- */
WITH last AS (
    SELECT MAX(l.day) AS day FROM shape.order_lines AS l
),
sold AS (
    SELECT l.product_id AS product_id, SUM(l.quantity) AS units
    FROM shape.order_lines AS l
    CROSS JOIN last AS d
    WHERE l.day > d.day - INTERVAL '30' DAY
    GROUP BY l.product_id
)
SELECT
    p.id AS product_id,
    p.name AS name,
    p.stock_quantity AS stock_quantity,
    CAST(COALESCE(s.units, 0) AS BIGINT) AS units_30_days,
    CASE
        WHEN p.stock_quantity <= 0 THEN 'out'
        WHEN COALESCE(s.units, 0) = 0 THEN 'idle'
        WHEN p.stock_quantity * 30 < s.units * 7 THEN 'critical'
        WHEN p.stock_quantity * 30 < s.units * 28 THEN 'low'
        ELSE 'ok'
    END AS risk
FROM shape.products AS p
LEFT JOIN sold AS s ON s.product_id = p.id
