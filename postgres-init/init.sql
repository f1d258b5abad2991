-- Databases of the source Postgres; runs once, when its volume is new. Add yours here to keep it.
CREATE DATABASE storefront;
