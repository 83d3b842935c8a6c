-- emt_message_ids: one row for each message whose id its caller gave. So a repeated append is found without a look at the
-- whole stream. Appends with such ids write it under the lock of the stream's row, and imports do; nothing else does.
-- id_hash is SHA-256 of the id's UTF-8: an id has any length, and an index entry has not. A row only says where to look. The
-- message itself decides. Rows stay when the stream is archived, because the messages keep their positions.
CREATE TABLE IF NOT EXISTS public.emt_message_ids (
    partition        TEXT    NOT NULL,
    stream_id        TEXT    NOT NULL,
    id_hash          BYTEA   NOT NULL,
    stream_position  BIGINT  NOT NULL,
    PRIMARY KEY (stream_id, id_hash, stream_position, partition)
);

-- Returns the hash of a message id.
CREATE OR REPLACE FUNCTION public.emt_append_id_hash(_message_id TEXT) RETURNS BYTEA
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.sha256(pg_catalog.convert_to(_message_id, 'UTF8'::NAME)) $$;

-- Notes the ids of the last messages of a stream, which is at _version. The caller has locked the stream's row.
CREATE OR REPLACE FUNCTION public.emt_append_note_ids(
    _stream_id    TEXT,
    _partition    TEXT,
    _version      BIGINT,
    _message_ids  TEXT[]
) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO public.emt_message_ids (partition, stream_id, id_hash, stream_position)
    SELECT _partition, _stream_id, public.emt_append_id_hash(message.id),
           _version - pg_catalog.cardinality(_message_ids) + message.number
      FROM pg_catalog.unnest(_message_ids) WITH ORDINALITY AS message (id, number)
    -- The row may exist, because the messages were deleted by hand.
    ON CONFLICT DO NOTHING;
END
$$;
