-- The user that change data capture logs in as, and what it may read.

-- A role belongs to the whole cluster while this script runs once per database, so the role may exist already.
-- The lock keeps two databases that are migrated at once from altering it under each other's feet.
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

DO $do$
DECLARE
    -- The blanks are needed: Flyway sees no placeholder right behind a dollar sign.
    login CONSTANT text := btrim($name$ ${debezium_user} $name$);
    secret CONSTANT text := btrim($secret$ ${debezium_password} $secret$);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = login) THEN
        EXECUTE format('CREATE ROLE %I', login);
    END IF;
    EXECUTE format('ALTER ROLE %I WITH REPLICATION LOGIN PASSWORD %L', login, secret);

    -- CREATE on the database lets the connector make a publication of its own.
    EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO %I', current_database(), login);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', login);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA public TO %I', login);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO %I', login);
END
$do$;

CREATE PUBLICATION "${debezium_storefront_publication_name}" FOR ALL TABLES;
