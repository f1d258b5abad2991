SELECT
    c.id AS customer_id,
    c.country,
    count(DISTINCT o.id) AS orders,
    coalesce(sum(i.quantity), 0) AS units,
    coalesce(sum(i.quantity * i.price_at_purchase), 0)::numeric(18, 2) AS revenue,
    min(o.created_at)::date AS first_day,
    max(o.created_at)::date AS last_day
FROM customers c
LEFT JOIN orders o ON o.customer_id = c.id AND NOT o.status = 'cancelled'
LEFT JOIN order_items i ON i.order_id = o.id
GROUP BY c.id
