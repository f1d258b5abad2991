SELECT
    p.payment_method,
    COUNT(p.id) AS payments,
    COUNT(p.id) FILTER (WHERE p.status = 'paid') AS paid,
    COUNT(p.id) FILTER (WHERE p.status = 'pending') AS pending,
    COUNT(p.id) FILTER (WHERE p.status = 'failed') AS failed,
    CAST(COALESCE(SUM(p.amount) FILTER (WHERE p.status = 'paid'), 0) AS DECIMAL(18, 2)) AS paid_amount,
    CAST(COALESCE(SUM(p.amount) FILTER (WHERE p.status = 'pending'), 0) AS DECIMAL(18, 2)) AS pending_amount,
    CAST(COALESCE(SUM(p.amount) FILTER (WHERE p.status = 'failed'), 0) AS DECIMAL(18, 2)) AS failed_amount
FROM shape.payments p
GROUP BY p.payment_method
