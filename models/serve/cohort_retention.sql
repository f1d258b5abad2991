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
-- A cohort is counted by those who ordered in its own month, which is the month of the first order of each of them: engines
-- compute a query again wherever it is named, so that each is named once.
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
    SELECT t.customer_id AS customer_id, CAST(date_trunc('month', MIN(t.day)) AS DATE) AS cohort
    FROM shape.order_totals AS t
    WHERE t.status <> 'cancelled' AND t.day IS NOT NULL
    GROUP BY t.customer_id
),
counts AS (
    SELECT f.cohort AS cohort, m.month AS month, COUNT(*) AS customers, SUM(m.revenue) AS revenue
    FROM months AS m
    JOIN firsts AS f ON f.customer_id = m.customer_id
    GROUP BY f.cohort, m.month
)
SELECT
    c.cohort AS cohort,
    CAST(
        (EXTRACT(YEAR FROM c.month) - EXTRACT(YEAR FROM c.cohort)) * 12
        + EXTRACT(MONTH FROM c.month) - EXTRACT(MONTH FROM c.cohort) AS INT
    ) AS months_since,
    MAX(CASE WHEN c.month = c.cohort THEN c.customers END) OVER (PARTITION BY c.cohort) AS cohort_customers,
    c.customers AS customers,
    CAST(c.revenue AS DECIMAL(18, 2)) AS revenue
FROM counts AS c
