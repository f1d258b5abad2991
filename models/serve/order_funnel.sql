-- Orders per status. total: sum of the orders' own totals.
SELECT
    o.status AS status,
    COUNT(*) AS orders,
    CAST(COALESCE(SUM(o.total), 0) AS DECIMAL(18, 2)) AS total
FROM shape.orders AS o
GROUP BY o.status
ORDER BY status
