-- Commits that came with an idempotency key, written in the commit's own transaction: a client that lost the answer and asks
-- again is told the same.
CREATE TABLE catalog_receipts (
    catalog_name text NOT NULL,
    idempotency_key uuid NOT NULL,
    request_sha256 bytea NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (catalog_name, idempotency_key)
);
CREATE INDEX catalog_receipts_committed_at ON catalog_receipts (committed_at);
