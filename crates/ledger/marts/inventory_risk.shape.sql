WITH sold AS (
    SELECT i.product_id, i.quantity, CAST(o.created_at AS DATE) AS day
    FROM shape.order_items i JOIN shape.orders o ON o.id = i.order_id
    WHERE NOT o.status = 'cancelled'
),
recent AS (
    SELECT s.product_id, SUM(s.quantity) AS units
    FROM sold s
    WHERE s.day > (SELECT MAX(l.day) FROM sold l) - INTERVAL '30' DAY
    GROUP BY s.product_id
)
SELECT
    p.id AS product_id,
    p.name,
    p.stock_quantity,
    CAST(COALESCE(r.units, 0) AS BIGINT) AS units_30_days,
    CASE
        WHEN p.stock_quantity <= 0 THEN 'out'
        WHEN r.units IS NULL THEN 'idle'
        WHEN r.units * 7 > p.stock_quantity * 30 THEN 'critical'
        WHEN r.units * 28 > p.stock_quantity * 30 THEN 'low'
        ELSE 'ok'
    END AS risk
FROM shape.products p LEFT JOIN recent r ON r.product_id = p.id
