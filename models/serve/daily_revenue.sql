-- Revenue per day on which the order was created, over all orders that are not cancelled.
-- orders: such orders, with or without items. revenue: sum of quantity * price_at_purchase of their items.
SELECT
    CAST(o.created_at AS DATE) AS day,
    COUNT(DISTINCT o.id) AS orders,
    CAST(COALESCE(SUM(i.quantity * i.price_at_purchase), 0) AS DECIMAL(18, 2)) AS revenue
FROM shape.orders AS o
LEFT JOIN shape.order_items AS i ON i.order_id = o.id
WHERE o.status <> 'cancelled'
GROUP BY CAST(o.created_at AS DATE)
ORDER BY day
