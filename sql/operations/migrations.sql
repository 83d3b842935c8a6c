-- The PostgreSQL schema, and which versions of ours it has.

DO $$
BEGIN
    IF to_regnamespace('public') IS NULL THEN
        CREATE SCHEMA public;
    END IF;
END
$$;

-- emt_migrations: one row an applied version: 1 is sql/documents.sql, 2 is schema.sql. The row comes last, in the same
-- transaction, so a version that is listed is complete. psql leaves checksum NULL, and the library accepts that: it
-- compares names then, and notes the checksum of its own files when it migrates. Other content of the same version is
-- refused.
CREATE TABLE IF NOT EXISTS public.emt_migrations (
    version     INTEGER      NOT NULL PRIMARY KEY,
    name        TEXT         NOT NULL,
    checksum    TEXT,
    applied_at  TIMESTAMPTZ  NOT NULL DEFAULT now()
);
