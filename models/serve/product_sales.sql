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
SELECT
    p.id AS product_id,
    p.name AS name,
    p.category AS category,
    CAST(COALESCE(SUM(l.quantity), 0) AS BIGINT) AS units,
    CAST(COALESCE(SUM(l.amount), 0) AS DECIMAL(18, 2)) AS revenue,
    COUNT(DISTINCT l.order_id) AS orders
FROM shape.products AS p
LEFT JOIN shape.order_lines AS l ON l.product_id = p.id
GROUP BY p.id, p.name, p.category
