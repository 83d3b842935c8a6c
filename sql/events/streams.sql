-- emt_streams: one row for each stream. stream_position is the version of its last message, 1, 2, 3 ... A stream without
-- messages has no row. The row's lock orders the appends to the stream: an append takes it before it draws positions.
-- is_archived is the stream's side. A name is on one side at a time. The primary key has room for both, so the append of a
-- new stream checks the other side. archive.sql moves a stream.
CREATE TABLE IF NOT EXISTS public.emt_streams (
    stream_id        TEXT     NOT NULL,
    stream_position  BIGINT   NOT NULL,
    partition        TEXT     NOT NULL DEFAULT 'emt:default',
    stream_type      TEXT     NOT NULL,
    stream_metadata  JSONB    NOT NULL,
    is_archived      BOOLEAN  NOT NULL DEFAULT FALSE,
    PRIMARY KEY (stream_id, partition, is_archived)
) PARTITION BY LIST (partition);

-- Returns the category of a stream: the part of its name before the first '-'; for a workflow and its timers, the first
-- three parts. NULL for a name without one. It is computed from the name, because the caller of Emmett's function chooses
-- stream_type.
CREATE OR REPLACE FUNCTION public.emt_stream_category(_stream TEXT) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
               WHEN pg_catalog.starts_with(_stream, 'emt:workflow:')
                   THEN 'emt:workflow:' || nullif(pg_catalog.split_part(_stream, ':', 3), '')
               WHEN pg_catalog.starts_with(_stream, 'emt:timers:')
                   THEN 'emt:timers:' || nullif(pg_catalog.split_part(_stream, ':', 3), '')
               WHEN pg_catalog.strpos(_stream, '-') > 1 THEN pg_catalog.split_part(_stream, '-', 1)
           END
    $$;
