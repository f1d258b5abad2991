/* ---
description: What each customer has bought so far, over all orders that are not cancelled; customers without any have zeros.
owner: shop
tags: [customers]
materialized: {incremental: {by: customer_id, from: {shape.customers: id, shape.order_totals: customer_id}}}
keys: [customer_id]
columns:
  customer_id: {description: The customer.}
  country: {description: Where the customer lives; null when not known.}
  orders: {description: Orders so far.}
  units: {description: Things bought.}
  revenue: {description: Sum of quantity * price_at_purchase of all their items.}
  first_day: {description: Day of the first order; null without any.}
  last_day: {description: Day of the last order; null without any.}
tests:
  - expression: revenue >= 0
  - expression: first_day <= last_day
--- */
WITH sums AS (
    SELECT
        t.customer_id AS customer_id,
        COUNT(t.order_id) AS orders,
        SUM(t.units) AS units,
        SUM(t.revenue) AS revenue,
        MIN(t.day) AS first_day,
        MAX(t.day) AS last_day
    FROM shape.order_totals AS t
    WHERE t.status <> 'cancelled'
    GROUP BY t.customer_id
)
SELECT
    c.id AS customer_id,
    c.country AS country,
    COALESCE(s.orders, 0) AS orders,
    CAST(COALESCE(s.units, 0) AS BIGINT) AS units,
    CAST(COALESCE(s.revenue, 0) AS DECIMAL(18, 2)) AS revenue,
    s.first_day AS first_day,
    s.last_day AS last_day
FROM shape.customers AS c
LEFT JOIN sums AS s ON s.customer_id = c.id
