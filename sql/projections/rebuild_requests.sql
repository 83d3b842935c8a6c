-- emt_rebuild_requests: one row for each rebuild that a program without the projection's code has requested. A consumer with
-- the code carries it out and deletes the row. error: the rebuild failed, and is not retried.
CREATE TABLE IF NOT EXISTS public.emt_rebuild_requests (
    partition        TEXT         NOT NULL,
    name             TEXT         NOT NULL,
    workers          INTEGER      NOT NULL,
    batch_size       BIGINT       NOT NULL,
    max_batch_bytes  BIGINT       NOT NULL,
    keep_old         BOOLEAN      NOT NULL,
    error            TEXT,
    requested_at     TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, name)
);

-- Returns whether a partition has an open request for a rebuild. Workers ask whenever they renew their leases.
CREATE OR REPLACE FUNCTION public.emt_rebuild_requested(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (SELECT FROM public.emt_rebuild_requests AS request
                    WHERE request.partition = _partition AND request.error IS NULL)
    $$;
