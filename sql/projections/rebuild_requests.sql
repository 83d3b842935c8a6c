-- emt_rebuild_requests: rebuilds that a program without the projection's code has asked for; whoever has it and runs a
-- consumer carries them out. error: it failed, and is not tried again.
CREATE TABLE IF NOT EXISTS public.emt_rebuild_requests (
    partition     TEXT         NOT NULL,
    name          TEXT         NOT NULL,
    workers       INTEGER      NOT NULL,
    batch_size    INTEGER      NOT NULL,
    keep_old      BOOLEAN      NOT NULL,
    error         TEXT,
    requested_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, name)
);
