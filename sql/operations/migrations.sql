DO $$
BEGIN
    IF to_regnamespace('public') IS NULL THEN
        CREATE SCHEMA public;
    END IF;
END
$$;

-- emt_migrations: one row an applied migration. The checksum is NULL where psql applied it.
CREATE TABLE IF NOT EXISTS public.emt_migrations (
    version     INTEGER      NOT NULL PRIMARY KEY,
    name        TEXT         NOT NULL,
    checksum    TEXT,
    applied_at  TIMESTAMPTZ  NOT NULL DEFAULT now()
);
