SELECT
    to_char(o.created_at, 'YYYY-MM-01') AS month,
    coalesce(p.category, '(none)') AS category,
    sum(i.quantity) AS units,
    sum(i.quantity * i.price_at_purchase)::numeric(18, 2) AS revenue,
    count(DISTINCT o.id) AS orders
FROM orders o JOIN order_items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id
WHERE NOT o.status = 'cancelled' AND o.created_at IS NOT NULL
GROUP BY 1, 2
