-- emt_processor_beginnings: the first position of a version of a processor, one row for each version. emt_processor_slots
-- has the present position. A row without slots is the first position of a processor that has not run yet.
CREATE TABLE IF NOT EXISTS public.emt_processor_beginnings (
    partition   TEXT         NOT NULL,
    processor   TEXT         NOT NULL,
    version     INTEGER      NOT NULL,
    position    BIGINT       NOT NULL,
    created_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    updated_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, processor, version)
);
