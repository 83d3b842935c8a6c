-- emt_streams: one row a stream. stream_position is the version of its last message, 1, 2, 3 ...; a stream without
-- messages has no row. The row's lock orders the appends to the stream: an append takes it before it draws positions.
-- is_archived says on which side the stream is. A name is on one side at a time; the append of a new stream looks at the
-- other side for that, because the primary key has room for both. archive.sql moves a stream.
CREATE TABLE IF NOT EXISTS public.emt_streams (
    stream_id        TEXT     NOT NULL,
    stream_position  BIGINT   NOT NULL,
    partition        TEXT     NOT NULL DEFAULT 'emt:default',
    stream_type      TEXT     NOT NULL,
    stream_metadata  JSONB    NOT NULL,
    is_archived      BOOLEAN  NOT NULL DEFAULT FALSE,
    PRIMARY KEY (stream_id, partition, is_archived)
) PARTITION BY LIST (partition);

-- The category of a stream: what stands before the first '-' of its name; of a workflow's, the first three parts. NULL for a
-- name without one. Computed from the name: stream_type is what the caller of Emmett's function says.
CREATE OR REPLACE FUNCTION public.emt_stream_category(_stream TEXT) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
               WHEN pg_catalog.starts_with(_stream, 'emt:workflow:')
                   THEN 'emt:workflow:' || nullif(pg_catalog.split_part(_stream, ':', 3), '')
               WHEN pg_catalog.strpos(_stream, '-') > 1 THEN pg_catalog.split_part(_stream, '-', 1)
           END
    $$;
