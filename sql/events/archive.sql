-- The archive: the other side of emt_streams and emt_messages, which appends and reads leave out.

-- Moves a stream and its messages between the active and the archived tables. Returns its version; NULL if the source side
-- has no such stream. It locks the stream's row first, by deleting it. A later statement moves the messages. Its snapshot
-- sees those of an append for which the move waited. (An UPDATE of is_archived would make appends fail that wait for the
-- row.) Positions are kept, and the feed reads both sides, so it never misses a message.
CREATE OR REPLACE FUNCTION public.emt_stream_move(_stream_id TEXT, _partition TEXT, _to_archive BOOLEAN) RETURNS BIGINT
    LANGUAGE plpgsql
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
    _source TEXT := CASE WHEN _to_archive THEN '_active' ELSE '_archived' END;
    _target TEXT := CASE WHEN _to_archive THEN '_archived' ELSE '_active' END;
    _version BIGINT;
BEGIN
    PERFORM public.emt_partition_check(_partition);
    IF _to_archive THEN
        UPDATE public.emt_partitions AS tenant
           SET has_archived = TRUE
         WHERE tenant.partition = _partition AND NOT tenant.has_archived;
    END IF;
    EXECUTE pg_catalog.format($sql$
        WITH moved AS (
            DELETE FROM public.%I WHERE stream_id = $1
            RETURNING stream_id, stream_position, partition, stream_type, stream_metadata
        )
        INSERT INTO public.%I (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
        SELECT stream_id, stream_position, partition, stream_type, stream_metadata, $2 FROM moved
        RETURNING stream_position
        $sql$, 'emt_streams_' || _suffix || _source, 'emt_streams_' || _suffix || _target)
        INTO _version USING _stream_id, _to_archive;
    IF _version IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE pg_catalog.format($sql$
        WITH moved AS (
            DELETE FROM public.%I WHERE stream_id = $1
            RETURNING stream_position, global_position, transaction_id, created, message_kind, stream_id, partition,
                      message_schema_version, message_id, message_type, message_data, message_metadata
        )
        INSERT INTO public.%I
            (stream_position, global_position, transaction_id, created, is_archived, message_kind, stream_id, partition,
             message_schema_version, message_id, message_type, message_data, message_metadata)
        SELECT stream_position, global_position, transaction_id, created, $2, message_kind, stream_id, partition,
               message_schema_version, message_id, message_type, message_data, message_metadata
          FROM moved
        $sql$, 'emt_messages_' || _suffix || _source, 'emt_messages_' || _suffix || _target)
        USING _stream_id, _to_archive;
    RETURN _version;
END
$$;
