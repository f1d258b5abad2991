SELECT status, COUNT(id) AS orders, CAST(COALESCE(SUM(total), 0) AS DECIMAL(18, 2)) AS total
FROM (SELECT id, status, total FROM shape.orders) AS o
GROUP BY status
