-- Appending to one stream.

-- Creates a partition's own function for appends, emt_append_in_emt_default and so on. It appends messages to one stream,
-- in one round trip, or refuses and stores nothing. It locks, in this order, the inline projections (shared), the fence, and
-- the stream's row. Then it draws the positions, so that global order follows stream order. Last it notes the messages for
-- inline projections that miss them (emt_append_look). It returns codes and positions as one array, because a scalar result is
-- the cheapest:
--   {0, version, time, global positions ...}   appended; the caller runs all its projections
--   {1, version}                               refused: the stream is at this version
--   {2, version}                               refused: the stream is archived
--   {3, version, time, global positions ...}   these messages were appended before (only with _find_repeated)
--   {4, version, time, n, numbers ..., global positions ...}   appended; the caller runs n of its projections only, by their
--                                              numbers in the order of the names, from 1. The others follow.
-- time is the column "created", in microseconds since 1970, for the inline projections; 0 without any.
-- _expected_version: NULL any, 0 no stream, -1 the stream exists, n exactly n.
-- _find_repeated: the callers gave the message ids. They are looked up among the noted ids of the stream, and noted. A message
-- with the same type, kind and data gives the first result again. Any other raises SE020.
-- _projections: the versions of the caller's inline projections, by name. An unregistered projection raises SE011.
-- It is the hottest code here. It names the leaf tables, because finding them from their parents costs each append a
-- tenth. Rare cases stand elsewhere, because every expression costs each append. The partition is a parameter all the same:
-- a name that only resembles this partition's must not get in.
CREATE OR REPLACE FUNCTION public.emt_append_create(_partition TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
BEGIN
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION public.%1$I(
    _stream_id          TEXT,
    _stream_type        TEXT,
    _partition          TEXT,
    _expected_version   BIGINT,
    _message_ids        TEXT[],
    _message_types      TEXT[],
    _message_kinds      TEXT[],
    _schema_versions    TEXT[],
    _messages_data      JSONB[],
    _messages_metadata  JSONB[],
    _find_repeated      BOOLEAN,
    _projections        JSONB
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $function$
DECLARE
    -- In this order: an append that waits for a projection must not hold the feed back meanwhile.
    _fenced BOOLEAN := CASE WHEN _projections IS NULL THEN public.emt_fence(_partition)
                            WHEN public.emt_projection_share(_partition) THEN public.emt_fence(_partition)
                       END;
    _version BIGINT;
    _result BIGINT[];
BEGIN
    -- Waits for the stream's other writers, and locks the row even if WHERE refuses.
    INSERT INTO public.%2$I AS stream
        (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
    VALUES
        (_stream_id, pg_catalog.cardinality(_message_types), _partition, _stream_type, '{}', FALSE)
    ON CONFLICT (stream_id, partition, is_archived) DO UPDATE
        SET stream_position = stream.stream_position + EXCLUDED.stream_position
        WHERE _expected_version IS NULL
           OR _expected_version = stream.stream_position
           OR _expected_version = -1
    RETURNING stream.stream_position INTO _version;

    IF (_version > pg_catalog.cardinality(_message_types) AND NOT _find_repeated) IS NOT TRUE THEN
        -- Usually it is a new stream, in a partition that has never archived one. The check is a statement of its own: its
        -- snapshot sees the commit of the writer for which this append waited. Above READ COMMITTED it might not.
        IF _version = pg_catalog.cardinality(_message_types) AND coalesce(_expected_version, 0) = 0
           AND pg_catalog.current_setting('transaction_isolation') = 'read committed'
           AND NOT (SELECT has_archived FROM public.emt_partitions WHERE partition = _partition) THEN
            _result := NULL;
        ELSE
            _result := public.emt_append_refusal(
                _stream_id, _partition, _expected_version, _version, pg_catalog.cardinality(_message_types),
                CASE WHEN _find_repeated THEN _message_ids END, _message_types, _message_kinds, _messages_data);
        END IF;
        IF _result IS NOT NULL THEN
            RETURN _result;
        END IF;
        IF _find_repeated THEN
            PERFORM public.emt_append_note_ids(_stream_id, _partition, _version, _message_ids);
        END IF;
    END IF;

    -- One message is the most common append; unnest would cost it a tenth.
    IF pg_catalog.cardinality(_message_types) = 1 THEN
        INSERT INTO public.%3$I
            (stream_position, global_position, is_archived, message_kind, stream_id, partition,
             message_schema_version, message_id, message_type, message_data, message_metadata)
        VALUES
            (_version, pg_catalog.nextval('public.emt_global_message_position'::REGCLASS), FALSE, _message_kinds[1], _stream_id,
             _partition, _schema_versions[1], _message_ids[1], _message_types[1], _messages_data[1],
             _messages_metadata[1])
        RETURNING ARRAY[0, _version, CASE WHEN _projections IS NULL THEN 0
                                          ELSE extract(EPOCH FROM created) OPERATOR(pg_catalog.*) 1000000 END::BIGINT, global_position]
            INTO _result;
    ELSIF pg_catalog.cardinality(_message_types) > 0 IS NOT TRUE THEN
        RAISE EXCEPTION 'no messages to append to stream "%%"', _stream_id USING ERRCODE = '22023';
    ELSE
        WITH appended AS (
            INSERT INTO public.%3$I
                (stream_position, global_position, is_archived, message_kind, stream_id, partition,
                 message_schema_version, message_id, message_type, message_data, message_metadata)
            SELECT _version - pg_catalog.cardinality(_message_types) + message.number,
                   pg_catalog.nextval('public.emt_global_message_position'::REGCLASS), FALSE, message.kind, _stream_id, _partition,
                   message.schema_version, message.id, message.type, message.data, message.metadata
              FROM unnest(_message_ids, _message_types, _message_kinds, _schema_versions, _messages_data, _messages_metadata)
                   WITH ORDINALITY AS message (id, type, kind, schema_version, data, metadata, number)
            RETURNING created, global_position
        )
        SELECT ARRAY[0, _version, CASE WHEN _projections IS NULL THEN 0
                                       ELSE extract(EPOCH FROM pg_catalog.max(appended.created))
                                            OPERATOR(pg_catalog.*) 1000000 END::BIGINT]
               OPERATOR(pg_catalog.||) pg_catalog.array_agg(appended.global_position)
          FROM appended INTO _result;
    END IF;

    -- The flag is 0 until a first inline projection is registered, and is read without a snapshot. Both looks come after the
    -- lock of the stream's row, because its last writer may have noted an event.
    IF pg_catalog.pg_sequence_last_value('public.%4$I'::REGCLASS) = 0 AND _projections IS NULL THEN
        RETURN _result;
    END IF;
    IF pg_catalog.current_setting('transaction_isolation') = 'read committed'
       AND (SELECT tenant.inline_versions = coalesce(_projections, '{}') AND NOT tenant.is_arming
                   AND (SELECT missed.global_position FROM public.emt_missed AS missed
                         WHERE missed.partition = _partition AND missed.global_position > tenant.missed_after
                         LIMIT 1) IS NULL
              FROM public.emt_partitions AS tenant WHERE tenant.partition = _partition) THEN
        RETURN _result;
    END IF;
    RETURN public.emt_append_look(_partition, _projections, _stream_id, _message_types, _result);
END
$function$
        $create$, 'emt_append_in_' || _suffix, 'emt_streams_' || _suffix || '_active',
        'emt_messages_' || _suffix || '_active', 'emt_inline_in_' || _suffix);
END
$$;

-- The same for a partition that the statement does not know beforehand.
CREATE OR REPLACE FUNCTION public.emt_append(
    _stream_id          TEXT,
    _stream_type        TEXT,
    _partition          TEXT,
    _expected_version   BIGINT,
    _message_ids        TEXT[],
    _message_types      TEXT[],
    _message_kinds      TEXT[],
    _schema_versions    TEXT[],
    _messages_data      JSONB[],
    _messages_metadata  JSONB[],
    _find_repeated      BOOLEAN DEFAULT FALSE,
    _projections        JSONB DEFAULT NULL
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _result BIGINT[];
BEGIN
    PERFORM public.emt_partition_check(_partition);
    EXECUTE pg_catalog.format('SELECT public.%I($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)',
                   'emt_append_in_' || public.emt_partition_suffix(_partition))
        INTO _result
        USING _stream_id, _stream_type, _partition, _expected_version, _message_ids, _message_types, _message_kinds,
              _schema_versions, _messages_data, _messages_metadata, _find_repeated, _projections;
    RETURN _result;
END
$$;
