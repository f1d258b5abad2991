-- Sales per product over all orders that are not cancelled; products that were never sold have zeros.
-- units: sum of quantity. revenue: sum of quantity * price_at_purchase. orders: orders that hold the product.
SELECT
    p.id AS product_id,
    p.name AS name,
    p.category AS category,
    CAST(COALESCE(SUM(s.quantity), 0) AS BIGINT) AS units,
    CAST(COALESCE(SUM(s.quantity * s.price_at_purchase), 0) AS DECIMAL(18, 2)) AS revenue,
    COUNT(DISTINCT s.order_id) AS orders
FROM shape.products AS p
LEFT JOIN (
    SELECT i.product_id, i.order_id, i.quantity, i.price_at_purchase
    FROM shape.order_items AS i
    JOIN shape.orders AS o ON o.id = i.order_id
    WHERE o.status <> 'cancelled'
) AS s ON s.product_id = p.id
GROUP BY p.id, p.name, p.category
ORDER BY product_id
