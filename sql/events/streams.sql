-- emt_streams: one row a stream, with the version of its last message.
CREATE TABLE IF NOT EXISTS public.emt_streams (
    stream_id        TEXT     NOT NULL,
    stream_position  BIGINT   NOT NULL,
    partition        TEXT     NOT NULL DEFAULT 'emt:default',
    stream_type      TEXT     NOT NULL,
    stream_metadata  JSONB    NOT NULL,
    is_archived      BOOLEAN  NOT NULL DEFAULT FALSE,
    PRIMARY KEY (stream_id, partition, is_archived)
) PARTITION BY LIST (partition);
