-- The PostgreSQL schema, and its applied versions.

DO $$
BEGIN
    IF to_regnamespace('public') IS NULL THEN
        CREATE SCHEMA public;
    END IF;
END
$$;

-- Lets the transaction create its tables in the database's default place, if default_tablespace names that place: PostgreSQL
-- refuses partitioned tables then. Another tablespace stays.
CREATE OR REPLACE FUNCTION public.emt_table_use_default_space() RETURNS VOID
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT set_config('default_tablespace', '', TRUE)
      FROM pg_database AS here
      JOIN pg_tablespace AS space ON space.oid = here.dattablespace
     WHERE here.datname = current_database() AND space.spcname = current_setting('default_tablespace')
    $$;

SELECT public.emt_table_use_default_space();

-- emt_migrations: one row for each applied version: 1 is sql/documents.sql, 2 is schema.sql. The row comes last, in the same
-- transaction, so a listed version is complete. psql leaves checksum NULL, and the library accepts that. It compares names
-- then, and notes the checksum of its own files when it migrates. Other content of the same version is refused.
CREATE TABLE IF NOT EXISTS public.emt_migrations (
    version     INTEGER      NOT NULL PRIMARY KEY,
    name        TEXT         NOT NULL,
    checksum    TEXT,
    applied_at  TIMESTAMPTZ  NOT NULL DEFAULT now()
);
