/* ---
description: Orders per status.
owner: shop
tags: [sales, operations]
keys: [status]
columns:
  status: {description: Where the orders are., tests: [{accepted_values: [pending, shipped, delivered, cancelled]}]}
  orders: {description: How many.}
  total: {description: Sum of the orders' own totals.}
tests:
  - expression: orders > 0
  - row_count: {max: 4}
  - reconcile:
      name: all orders
      lake: SELECT CAST(COALESCE(SUM(orders), 0) AS BIGINT) AS orders, SUM(total) AS total FROM serve.order_funnel
      source: SELECT count(*), coalesce(sum(total), 0)::numeric(18, 2) FROM orders
--- */
SELECT
    o.status AS status,
    COUNT(*) AS orders,
    CAST(COALESCE(SUM(o.total), 0) AS DECIMAL(18, 2)) AS total
FROM shape.orders AS o
GROUP BY o.status
