/* ---
description: >-
  Of the customers whose first order was in a month, how many ordered again so many months later, over all orders that are
  not cancelled. The share is customers / cohort_customers, left to the reader because engines divide differently.
owner: shop
tags: [customers]
keys: [cohort, months_since]
columns:
  cohort: {description: First day of the month of the first order.}
  months_since: {description: "Months since then; 0 is the month itself."}
  cohort_customers: {description: Customers of the cohort.}
  customers: {description: Those of them who ordered in that month.}
  revenue: {description: What they bought in it.}
tests:
  - expression: months_since >= 0
  - expression: customers <= cohort_customers
--- */
WITH months AS (
    SELECT
        t.customer_id AS customer_id,
        CAST(date_trunc('month', t.day) AS DATE) AS month,
        SUM(t.revenue) AS revenue
    FROM shape.order_totals AS t
    WHERE t.status <> 'cancelled' AND t.day IS NOT NULL
    GROUP BY t.customer_id, CAST(date_trunc('month', t.day) AS DATE)
),
firsts AS (
    SELECT m.customer_id AS customer_id, MIN(m.month) AS cohort FROM months AS m GROUP BY m.customer_id
),
sizes AS (
    SELECT f.cohort AS cohort, COUNT(*) AS cohort_customers FROM firsts AS f GROUP BY f.cohort
)
SELECT
    f.cohort AS cohort,
    CAST(
        (EXTRACT(YEAR FROM m.month) - EXTRACT(YEAR FROM f.cohort)) * 12
        + EXTRACT(MONTH FROM m.month) - EXTRACT(MONTH FROM f.cohort) AS INT
    ) AS months_since,
    s.cohort_customers AS cohort_customers,
    COUNT(*) AS customers,
    CAST(SUM(m.revenue) AS DECIMAL(18, 2)) AS revenue
FROM months AS m
JOIN firsts AS f ON f.customer_id = m.customer_id
JOIN sizes AS s ON s.cohort = f.cohort
GROUP BY f.cohort, m.month, s.cohort_customers
