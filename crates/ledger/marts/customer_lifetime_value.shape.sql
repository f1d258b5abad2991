SELECT
    c.id AS customer_id,
    c.country,
    COALESCE(s.orders, 0) AS orders,
    CAST(COALESCE(s.units, 0) AS BIGINT) AS units,
    CAST(COALESCE(s.revenue, 0) AS DECIMAL(18, 2)) AS revenue,
    CAST(s.first_at AS DATE) AS first_day,
    CAST(s.last_at AS DATE) AS last_day
FROM shape.customers c
LEFT JOIN (
    SELECT
        o.customer_id,
        COUNT(DISTINCT o.id) AS orders,
        SUM(i.quantity) AS units,
        SUM(i.quantity * i.price_at_purchase) AS revenue,
        MIN(o.created_at) AS first_at,
        MAX(o.created_at) AS last_at
    FROM shape.orders o LEFT JOIN shape.order_items i ON i.order_id = o.id
    WHERE NOT o.status = 'cancelled'
    GROUP BY o.customer_id
) AS s ON s.customer_id = c.id
