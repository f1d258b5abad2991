SELECT
    s.month,
    s.category,
    CAST(SUM(s.units) AS BIGINT) AS units,
    CAST(SUM(s.revenue) AS DECIMAL(18, 2)) AS revenue,
    COUNT(*) AS orders
FROM (
    SELECT
        o.id,
        CAST(date_trunc('month', o.created_at) AS DATE) AS month,
        CASE WHEN p.category IS NULL THEN '(none)' ELSE p.category END AS category,
        SUM(i.quantity) AS units,
        SUM(i.quantity * i.price_at_purchase) AS revenue
    FROM shape.orders o
    JOIN shape.order_items i ON i.order_id = o.id
    JOIN shape.products p ON p.id = i.product_id
    WHERE NOT o.status = 'cancelled' AND o.created_at IS NOT NULL
    GROUP BY o.id, CAST(date_trunc('month', o.created_at) AS DATE), CASE WHEN p.category IS NULL THEN '(none)' ELSE p.category END
) AS s
GROUP BY s.month, s.category
