/* ---
description: Payments per method and how they went.
owner: finance
tags: [payments, operations]
keys: [payment_method]
columns:
  payment_method: {description: How was paid.}
  payments: {description: All payments.}
  paid: {description: Those that went through.}
  pending: {description: Those that are awaited.}
  failed: {description: Those that failed.}
  paid_amount: {description: Sum of those that went through.}
  pending_amount: {description: Sum of those that are awaited.}
  failed_amount: {description: Sum of those that failed.}
tests:
  - expression: paid + pending + failed <= payments
  - reconcile:
      name: what was paid
      lake: SELECT CAST(COALESCE(SUM(payments), 0) AS BIGINT) AS payments, SUM(paid_amount) AS paid FROM serve.payment_health
      source: SELECT count(*), coalesce(sum(amount) FILTER (WHERE status = 'paid'), 0)::numeric(18, 2) FROM payments
--- */
SELECT
    p.payment_method AS payment_method,
    COUNT(*) AS payments,
    CAST(SUM(CASE WHEN p.status = 'paid' THEN 1 ELSE 0 END) AS BIGINT) AS paid,
    CAST(SUM(CASE WHEN p.status = 'pending' THEN 1 ELSE 0 END) AS BIGINT) AS pending,
    CAST(SUM(CASE WHEN p.status = 'failed' THEN 1 ELSE 0 END) AS BIGINT) AS failed,
    CAST(COALESCE(SUM(CASE WHEN p.status = 'paid' THEN p.amount END), 0) AS DECIMAL(18, 2)) AS paid_amount,
    CAST(COALESCE(SUM(CASE WHEN p.status = 'pending' THEN p.amount END), 0) AS DECIMAL(18, 2)) AS pending_amount,
    CAST(COALESCE(SUM(CASE WHEN p.status = 'failed' THEN p.amount END), 0) AS DECIMAL(18, 2)) AS failed_amount
FROM shape.payments AS p
GROUP BY p.payment_method
