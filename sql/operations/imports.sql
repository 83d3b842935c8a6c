-- emt_imports: how much of an event log was imported: so many lines from its beginning, with this digest.
CREATE TABLE IF NOT EXISTS public.emt_imports (
    partition   TEXT         NOT NULL,
    name        TEXT         NOT NULL,
    lines       BIGINT       NOT NULL,
    digest      TEXT         NOT NULL,
    updated_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, name)
);
