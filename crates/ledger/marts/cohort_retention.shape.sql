WITH kept AS (
    SELECT o.id, o.customer_id, o.created_at, MIN(o.created_at) OVER (PARTITION BY o.customer_id) AS first_at
    FROM shape.orders o
    WHERE NOT o.status = 'cancelled' AND o.created_at IS NOT NULL
),
sold AS (
    SELECT i.order_id, SUM(i.quantity * i.price_at_purchase) AS amount FROM shape.order_items i GROUP BY i.order_id
),
placed AS (
    SELECT
        k.customer_id,
        CAST(date_trunc('month', k.first_at) AS DATE) AS cohort,
        CAST(date_part('year', k.created_at) * 12 + date_part('month', k.created_at)
            - date_part('year', k.first_at) * 12 - date_part('month', k.first_at) AS INT) AS months_since,
        s.amount
    FROM kept k LEFT JOIN sold s ON s.order_id = k.id
),
sizes AS (
    SELECT p.cohort, COUNT(DISTINCT p.customer_id) AS cohort_customers FROM placed p GROUP BY p.cohort
)
SELECT
    p.cohort,
    p.months_since,
    MAX(z.cohort_customers) AS cohort_customers,
    COUNT(DISTINCT p.customer_id) AS customers,
    CAST(COALESCE(SUM(p.amount), 0) AS DECIMAL(18, 2)) AS revenue
FROM placed p JOIN sizes z ON z.cohort = p.cohort
GROUP BY p.cohort, p.months_since
