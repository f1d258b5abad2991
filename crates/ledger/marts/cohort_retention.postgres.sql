WITH kept AS (
    SELECT id, customer_id, created_at, min(created_at) OVER (PARTITION BY customer_id) AS first_at
    FROM orders
    WHERE status <> 'cancelled' AND created_at IS NOT NULL
),
placed AS (
    SELECT
        k.*,
        to_char(first_at, 'YYYY-MM-01') AS cohort,
        (date_part('year', created_at) * 12 + date_part('month', created_at)
            - date_part('year', first_at) * 12 - date_part('month', first_at))::int AS months_since
    FROM kept k
)
SELECT
    p.cohort,
    p.months_since,
    (SELECT count(DISTINCT customer_id) FROM placed s WHERE s.cohort = p.cohort) AS cohort_customers,
    count(DISTINCT p.customer_id) AS customers,
    coalesce(sum((SELECT sum(quantity * price_at_purchase) FROM order_items i WHERE i.order_id = p.id)), 0)::numeric(18, 2)
        AS revenue
FROM placed p
GROUP BY p.cohort, p.months_since
