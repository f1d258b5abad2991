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
SELECT
    l.month AS month,
    COALESCE(p.category, '(none)') AS category,
    CAST(SUM(l.quantity) AS BIGINT) AS units,
    CAST(SUM(l.amount) AS DECIMAL(18, 2)) AS revenue,
    COUNT(DISTINCT l.order_id) AS orders
FROM shape.order_lines AS l
JOIN shape.products AS p ON p.id = l.product_id
WHERE l.month IS NOT NULL
GROUP BY l.month, COALESCE(p.category, '(none)')
