SELECT o.created_at::date AS day, count(*) AS orders, coalesce(sum(i.revenue), 0)::numeric(18, 2) AS revenue
FROM orders o
CROSS JOIN LATERAL (SELECT sum(quantity * price_at_purchase) AS revenue FROM order_items WHERE order_id = o.id) i
WHERE NOT o.status = 'cancelled'
GROUP BY 1
