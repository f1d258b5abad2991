SELECT
    p.id AS product_id,
    p.name,
    p.category,
    coalesce(s.units, 0) AS units,
    coalesce(s.revenue, 0)::numeric(18, 2) AS revenue,
    coalesce(s.orders, 0) AS orders
FROM products p
LEFT JOIN (
    SELECT
        product_id,
        sum(quantity) AS units,
        sum(quantity * price_at_purchase) AS revenue,
        count(DISTINCT order_id) AS orders
    FROM order_items i
    WHERE NOT EXISTS (SELECT FROM orders o WHERE o.id = i.order_id AND o.status = 'cancelled')
    GROUP BY product_id
) s ON s.product_id = p.id
