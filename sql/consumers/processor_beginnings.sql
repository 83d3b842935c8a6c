-- emt_processor_beginnings: where a version of a processor began, one row a version. emt_processor_slots says how far it is
-- now; a row without slots is where a processor will begin that has not run yet.
CREATE TABLE IF NOT EXISTS public.emt_processor_beginnings (
    partition   TEXT         NOT NULL,
    processor   TEXT         NOT NULL,
    version     INTEGER      NOT NULL,
    position    BIGINT       NOT NULL,
    created_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    updated_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, processor, version)
);
