SELECT day, COUNT(*) AS orders, CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(18, 2)) AS revenue
FROM (
    SELECT o.id, CAST(o.created_at AS DATE) AS day, SUM(i.quantity * i.price_at_purchase) AS revenue
    FROM shape.orders o LEFT JOIN shape.order_items i ON i.order_id = o.id
    WHERE NOT o.status = 'cancelled'
    GROUP BY o.id, CAST(o.created_at AS DATE)
) AS per_order
GROUP BY day
