SELECT
    payment_method,
    count(*) AS payments,
    count(*) FILTER (WHERE status = 'paid') AS paid,
    count(*) FILTER (WHERE status = 'pending') AS pending,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    coalesce(sum(amount) FILTER (WHERE status = 'paid'), 0)::numeric(18, 2) AS paid_amount,
    coalesce(sum(amount) FILTER (WHERE status = 'pending'), 0)::numeric(18, 2) AS pending_amount,
    coalesce(sum(amount) FILTER (WHERE status = 'failed'), 0)::numeric(18, 2) AS failed_amount
FROM payments
GROUP BY payment_method
