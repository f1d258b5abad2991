WITH sold AS (
    SELECT i.product_id, i.quantity, o.created_at::date AS day
    FROM order_items i JOIN orders o ON o.id = i.order_id
    WHERE NOT o.status = 'cancelled'
),
recent AS (
    SELECT product_id, sum(quantity) AS units FROM sold WHERE day > (SELECT max(day) FROM sold) - 30 GROUP BY product_id
)
SELECT
    p.id AS product_id,
    p.name,
    p.stock_quantity,
    coalesce(r.units, 0) AS units_30_days,
    CASE
        WHEN p.stock_quantity <= 0 THEN 'out'
        WHEN r.units IS NULL THEN 'idle'
        WHEN r.units * 7 > p.stock_quantity * 30 THEN 'critical'
        WHEN r.units * 28 > p.stock_quantity * 30 THEN 'low'
        ELSE 'ok'
    END AS risk
FROM products p LEFT JOIN recent r ON r.product_id = p.id
