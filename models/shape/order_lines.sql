/* ---
description: One row per item of an order that is not cancelled, with the order's day. What marts about products are made of.
owner: shop
tags: [orders, products]
materialized: {incremental: {by: order_id, from: {shape.orders: id, shape.order_items: order_id}}}
keys: [order_id, line_id]
columns:
  order_id: {description: The order.}
  line_id: {description: The item.}
  product_id: {description: What was bought., tests: [not_null]}
  day: {description: Day on which the order was created.}
  month: {description: First day of that month.}
  quantity: {description: How many., tests: [not_null]}
  amount: {description: quantity * price_at_purchase., tests: [not_null]}
tests:
  - expression: quantity > 0 AND amount >= 0
--- */
WITH placed AS (
    SELECT
        o.id AS id,
        CAST(o.created_at AS DATE) AS day,
        CAST(date_trunc('month', o.created_at) AS DATE) AS month
    FROM shape.orders AS o
    WHERE o.status <> 'cancelled'
)
SELECT
    i.order_id AS order_id,
    i.id AS line_id,
    i.product_id AS product_id,
    p.day AS day,
    p.month AS month,
    i.quantity AS quantity,
    CAST(i.quantity * i.price_at_purchase AS DECIMAL(18, 2)) AS amount
FROM shape.order_items AS i
JOIN placed AS p ON p.id = i.order_id
