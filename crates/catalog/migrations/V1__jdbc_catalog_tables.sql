-- The tables of Iceberg's JDBC catalog (schema version V1), so that Java's JdbcCatalog and PyIceberg's SqlCatalog open
-- the same lake. Columns and keys are theirs; the texts may be longer than theirs.
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name text NOT NULL,
    table_namespace text NOT NULL,
    table_name text NOT NULL,
    metadata_location text,
    previous_metadata_location text,
    iceberg_type text,
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);

CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name text NOT NULL,
    namespace text NOT NULL,
    property_key text NOT NULL,
    property_value text,
    PRIMARY KEY (catalog_name, namespace, property_key)
);
