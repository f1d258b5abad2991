/* ---
description: Revenue per day on which the order was created, over all orders that are not cancelled.
owner: shop
tags: [sales]
materialized: {incremental: {by: day, from: {shape.order_totals: day}}}
keys: [day]
columns:
  day: {description: Day on which the orders were created.}
  orders: {description: "Such orders, with or without items."}
  revenue: {description: Sum of quantity * price_at_purchase of their items.}
tests:
  - expression: orders > 0 AND revenue >= 0
  - reconcile:
      name: all revenue
      lake: SELECT CAST(COALESCE(SUM(orders), 0) AS BIGINT) AS orders, SUM(revenue) AS revenue FROM serve.daily_revenue
      source: >-
        SELECT count(DISTINCT o.id), coalesce(sum(i.quantity * i.price_at_purchase), 0)::numeric(18, 2)
        FROM orders o LEFT JOIN order_items i ON i.order_id = o.id WHERE o.status <> 'cancelled'
--- */
SELECT
    t.day AS day,
    COUNT(*) AS orders,
    CAST(SUM(t.revenue) AS DECIMAL(18, 2)) AS revenue
FROM shape.order_totals AS t
WHERE t.status <> 'cancelled'
GROUP BY t.day
