SELECT
    p.id AS product_id,
    p.name,
    p.category,
    CAST(COALESCE(s.units, 0) AS BIGINT) AS units,
    CAST(COALESCE(s.revenue, 0) AS DECIMAL(18, 2)) AS revenue,
    COALESCE(s.orders, 0) AS orders
FROM shape.products p
LEFT JOIN (
    SELECT
        i.product_id,
        SUM(i.quantity) AS units,
        SUM(i.quantity * i.price_at_purchase) AS revenue,
        COUNT(DISTINCT i.order_id) AS orders
    FROM shape.order_items i LEFT JOIN shape.orders o ON o.id = i.order_id AND o.status = 'cancelled'
    WHERE o.id IS NULL
    GROUP BY i.product_id
) AS s ON s.product_id = p.id
