SELECT s.status, count(*) AS orders, coalesce(sum(o.total), 0)::numeric(18, 2) AS total
FROM (SELECT DISTINCT status FROM orders) s JOIN orders o USING (status)
GROUP BY s.status
