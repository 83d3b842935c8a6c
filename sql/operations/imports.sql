-- emt_imports: one row an event log that is being imported: so many lines from its beginning are stored, with this digest
-- (SHA-256, in hexadecimal). Another log under the name is noticed by the digest.
CREATE TABLE IF NOT EXISTS public.emt_imports (
    partition   TEXT         NOT NULL,
    name        TEXT         NOT NULL,
    lines       BIGINT       NOT NULL,
    digest      TEXT         NOT NULL,
    updated_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, name)
);
