-- Appends to several streams at once: all or nothing. It takes the streams in the order of their names, so that two calls
-- cannot deadlock. The messages of all streams are one list, and _message_counts has the number for each stream. A stream
-- without messages is a condition: it must be at its expected version, and no other transaction changes it before this one
-- ends (emt_stream_require). Returns one row a stream: its number in the call, and the result of emt_append or
-- emt_stream_require. After a refusal, only that row counts, and nothing is stored. A repeated call finds its messages, and
-- its conditions no longer count.
CREATE OR REPLACE FUNCTION public.emt_append_to_streams(
    _stream_ids         TEXT[],
    _stream_types       TEXT[],
    _partition          TEXT,
    _expected_versions  BIGINT[],
    _message_counts     INTEGER[],
    _message_ids        TEXT[],
    _message_types      TEXT[],
    _message_kinds      TEXT[],
    _schema_versions    TEXT[],
    _messages_data      JSONB[],
    _messages_metadata  JSONB[],
    _find_repeated      BOOLEAN DEFAULT FALSE,
    _projections        JSONB DEFAULT NULL
) RETURNS TABLE (number INTEGER, result BIGINT[])
    LANGUAGE plpgsql
    AS $$
DECLARE
    _stream RECORD;
    _was_repeated BOOLEAN := FALSE;
    _broken_number INTEGER;
    _broken_result BIGINT[];
BEGIN
    -- As each append does: a call that waits for a projection holds no stream and not the feed.
    IF 0 = ANY (_message_counts) AND pg_catalog.cardinality(_message_types) > 0 THEN
        IF _projections IS NOT NULL THEN
            PERFORM public.emt_projection_share(_partition);
        END IF;
        PERFORM public.emt_fence(_partition);
    END IF;
    FOR _stream IN
        SELECT stream.number AS number, stream.id, stream.type, stream.expected_version,
               pg_catalog.sum(stream.count) OVER (ORDER BY stream.number) - stream.count + 1 AS first,
               pg_catalog.sum(stream.count) OVER (ORDER BY stream.number) AS last, stream.count
          FROM unnest(_stream_ids, _stream_types, _expected_versions, _message_counts)
               WITH ORDINALITY AS stream (id, type, expected_version, count, number)
         ORDER BY stream.id COLLATE "C", stream.number
    LOOP
        number := _stream.number;
        IF _stream.count = 0 THEN
            result := public.emt_stream_require(_stream.id, _partition, _stream.expected_version);
            IF result[1] <> 5 THEN
                _broken_number := coalesce(_broken_number, number);
                _broken_result := coalesce(_broken_result, result);
                EXIT WHEN NOT _find_repeated;
                result[1] := 5;
            END IF;
            RETURN NEXT;
            CONTINUE;
        END IF;
        result := public.emt_append(
            _stream.id, _stream.type, _partition, _stream.expected_version,
            _message_ids[_stream.first:_stream.last], _message_types[_stream.first:_stream.last],
            _message_kinds[_stream.first:_stream.last], _schema_versions[_stream.first:_stream.last],
            _messages_data[_stream.first:_stream.last], _messages_metadata[_stream.first:_stream.last],
            _find_repeated, _projections);
        RETURN NEXT;
        IF result[1] IN (1, 2) THEN
            -- An exception leaves the block and undoes the appends to the streams before this one. The code must not end in
            -- 000: that would catch its whole class, and so every other error of ours.
            RAISE EXCEPTION USING ERRCODE = 'SE040';
        END IF;
        _was_repeated := _was_repeated OR result[1] = 3;
    END LOOP;
    IF _broken_number IS NOT NULL AND NOT _was_repeated THEN
        number := _broken_number;
        result := _broken_result;
        RETURN NEXT;
        RAISE EXCEPTION USING ERRCODE = 'SE040';
    END IF;
EXCEPTION WHEN SQLSTATE 'SE040' THEN
    RETURN;
END
$$;

-- Creates a partition's own function for appends to several streams, emt_append_several_in_emt_default and so on. It is the
-- same call, in two statements for any number of streams: one advances all streams, in the order of their names, and one
-- inserts all messages. That settles the usual call, in which nothing is refused. Other calls are undone and passed to
-- emt_append_to_streams: those with conditions, with given message ids, with a stream that is named twice, at another version
-- than expected, or archived.
CREATE OR REPLACE FUNCTION public.emt_append_several_create(_partition TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
BEGIN
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION public.%1$I(
    _stream_ids         TEXT[],
    _stream_types       TEXT[],
    _partition          TEXT,
    _expected_versions  BIGINT[],
    _message_counts     INTEGER[],
    _message_ids        TEXT[],
    _message_types      TEXT[],
    _message_kinds      TEXT[],
    _schema_versions    TEXT[],
    _messages_data      JSONB[],
    _messages_metadata  JSONB[],
    _find_repeated      BOOLEAN,
    _projections        JSONB
) RETURNS TABLE (number INTEGER, result BIGINT[])
    LANGUAGE plpgsql
    AS $function$
DECLARE
    _fits BOOLEAN := NOT _find_repeated AND (0 >= ANY (_message_counts)) IS FALSE
                     AND pg_catalog.current_setting('transaction_isolation') = 'read committed';
    _has_new BOOLEAN;
    _looks BOOLEAN;
    _streams TEXT[];
    _positions BIGINT[];
    _stored RECORD;
BEGIN
    IF _fits THEN
        -- In this order, as in emt_append_in_.... Before the block: its rollback would release the fence.
        IF _projections IS NOT NULL THEN
            PERFORM public.emt_projection_share(_partition);
        END IF;
        PERFORM public.emt_fence(_partition);
        BEGIN
            WITH stream AS MATERIALIZED (
                SELECT one.id, one.type, one.expected_version, one.count, one.number
                  FROM unnest(_stream_ids, _stream_types, _expected_versions, _message_counts)
                       WITH ORDINALITY AS one (id, type, expected_version, count, number)
            ), advanced AS (
                INSERT INTO public.%2$I AS stored
                    (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
                SELECT stream.id, stream.count, _partition, stream.type, '{}', FALSE
                  FROM stream
                 ORDER BY stream.id COLLATE "C"
                ON CONFLICT (stream_id, partition, is_archived) DO UPDATE
                    SET stream_position = stored.stream_position + EXCLUDED.stream_position
                RETURNING stored.stream_id, stored.stream_position
            )
            SELECT pg_catalog.bool_and(stream.expected_version IS NULL
                                       OR stream.expected_version = advanced.stream_position - stream.count
                                       OR stream.expected_version = -1 AND advanced.stream_position > stream.count),
                   pg_catalog.bool_or(advanced.stream_position = stream.count),
                   pg_catalog.array_agg(stream.id ORDER BY stream.number, place),
                   pg_catalog.array_agg(advanced.stream_position - stream.count + place ORDER BY stream.number, place)
              INTO _fits, _has_new, _streams, _positions
              FROM stream
              JOIN advanced ON advanced.stream_id = stream.id
             CROSS JOIN LATERAL pg_catalog.generate_series(1, stream.count) AS place;
            -- Statements of their own: their snapshots see the commit of an archive for which the upsert waited.
            IF _has_new THEN
                IF (SELECT has_archived FROM public.emt_partitions WHERE partition = _partition) THEN
                    _fits := _fits AND NOT EXISTS (SELECT FROM public.%5$I AS archived WHERE archived.stream_id = ANY (_stream_ids));
                END IF;
            END IF;
            IF _fits IS NOT TRUE THEN
                RAISE EXCEPTION USING ERRCODE = 'SE040';
            END IF;
        EXCEPTION WHEN SQLSTATE 'SE040' OR cardinality_violation THEN
            _fits := FALSE;
        END;
    END IF;
    IF _fits IS NOT TRUE THEN
        RETURN QUERY SELECT one.number, one.result
          FROM public.emt_append_to_streams(
               _stream_ids, _stream_types, _partition, _expected_versions, _message_counts, _message_ids, _message_types,
               _message_kinds, _schema_versions, _messages_data, _messages_metadata, _find_repeated, _projections) AS one;
        RETURN;
    END IF;

    FOR _stored IN
        WITH message AS MATERIALIZED (
            SELECT one.*
              FROM unnest(_streams, _positions, _message_ids, _message_types, _message_kinds, _schema_versions, _messages_data,
                          _messages_metadata)
                   AS one (stream, place, id, type, kind, schema_version, data, metadata)
             ORDER BY one.stream COLLATE "C", one.place
        ), appended AS (
            INSERT INTO public.%3$I
                (stream_position, global_position, is_archived, message_kind, stream_id, partition,
                 message_schema_version, message_id, message_type, message_data, message_metadata)
            SELECT message.place, pg_catalog.nextval('public.emt_global_message_position'::REGCLASS), FALSE, message.kind, message.stream,
                   _partition, message.schema_version, message.id, message.type, message.data, message.metadata
              FROM message
            RETURNING stream_id, stream_position, global_position, created, message_type
        )
        SELECT first.number, appended.stream_id,
               ARRAY[0, pg_catalog.max(appended.stream_position),
                     CASE WHEN _projections IS NULL THEN 0
                          ELSE extract(EPOCH FROM pg_catalog.max(appended.created)) OPERATOR(pg_catalog.*) 1000000 END::BIGINT]
               OPERATOR(pg_catalog.||) pg_catalog.array_agg(appended.global_position ORDER BY appended.stream_position) AS result,
               pg_catalog.array_agg(appended.message_type ORDER BY appended.stream_position) AS types
          FROM appended
          JOIN pg_catalog.unnest(_stream_ids) WITH ORDINALITY AS first (stream, number) ON first.stream = appended.stream_id
         GROUP BY first.number, appended.stream_id
         ORDER BY first.number
    LOOP
        number := _stored.number;
        result := _stored.result;
        -- The query sorts its rows, so all messages are inserted when the first row comes. A writer draws its positions before
        -- it looks. So a program that activates a projection waits for those positions, or is seen here.
        IF _looks IS NULL THEN
            _looks := (pg_catalog.pg_sequence_last_value('public.%4$I'::REGCLASS) = 0 AND _projections IS NULL) IS NOT TRUE
                      AND (SELECT tenant.inline_versions = coalesce(_projections, '{}') AND NOT tenant.is_arming
                                  AND (SELECT missed.global_position FROM public.emt_missed AS missed
                                        WHERE missed.partition = _partition AND missed.global_position > tenant.missed_after
                                        LIMIT 1) IS NULL
                             FROM public.emt_partitions AS tenant WHERE tenant.partition = _partition) IS NOT TRUE;
        END IF;
        IF _looks THEN
            result := public.emt_append_look(_partition, _projections, _stored.stream_id, _stored.types, result);
        END IF;
        RETURN NEXT;
    END LOOP;
END
$function$
        $create$, 'emt_append_several_in_' || _suffix, 'emt_streams_' || _suffix || '_active',
        'emt_messages_' || _suffix || '_active', 'emt_inline_in_' || _suffix, 'emt_streams_' || _suffix || '_archived');
END
$$;

-- Whether a stream is at an expected version: {5, version} when it is, and emt_append's {1, version} or {2, version} when
-- not. Until the transaction ends, no other one appends to the stream, archives it or, where it does not exist, begins it.
-- _expected_version: 0 no stream, -1 the stream exists, n exactly n.
CREATE OR REPLACE FUNCTION public.emt_stream_require(
    _stream_id         TEXT,
    _partition         TEXT,
    _expected_version  BIGINT
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
    _actual_version BIGINT;
    _archived_version BIGINT;
    _is_held BOOLEAN := FALSE;
BEGIN
    IF _expected_version IS NULL THEN
        RAISE EXCEPTION 'stream "%" has neither messages nor an expected version', _stream_id
            USING ERRCODE = '22023', HINT = 'A stream without messages is a condition: give the version that it must have.';
    END IF;
    PERFORM public.emt_partition_check(_partition);
    -- A stream that does not exist has no row to lock. The placeholder makes a transaction wait that begins the stream:
    -- for a unique index, a row that this transaction has inserted and deleted is undecided until it ends. Where the stream
    -- was begun meanwhile, the insert has waited for that, and the next look sees it.
    LOOP
        EXECUTE pg_catalog.format('SELECT stream_position FROM public.%I WHERE stream_id = $1 FOR SHARE',
                                  'emt_streams_' || _suffix || '_active')
            INTO _actual_version USING _stream_id;
        EXIT WHEN _actual_version IS NOT NULL OR _is_held;
        EXECUTE pg_catalog.format($sql$
            INSERT INTO public.%I (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
            VALUES ($1, 0, $2, '', '{}', FALSE)
            ON CONFLICT DO NOTHING
            $sql$, 'emt_streams_' || _suffix || '_active')
            USING _stream_id, _partition;
        EXECUTE pg_catalog.format('DELETE FROM public.%I WHERE stream_id = $1 AND stream_position = 0',
                                  'emt_streams_' || _suffix || '_active')
            USING _stream_id;
        GET DIAGNOSTICS _is_held = ROW_COUNT;
    END LOOP;
    IF _actual_version = _expected_version OR (_expected_version = -1 AND _actual_version IS NOT NULL) THEN
        RETURN ARRAY[5, _actual_version];
    END IF;
    IF _actual_version IS NULL THEN
        EXECUTE pg_catalog.format('SELECT stream_position FROM public.%I WHERE stream_id = $1',
                                  'emt_streams_' || _suffix || '_archived')
            INTO _archived_version USING _stream_id;
        IF _archived_version IS NOT NULL THEN
            RETURN ARRAY[2, _archived_version];
        END IF;
        IF _expected_version = 0 THEN
            RETURN ARRAY[5, 0];
        END IF;
    END IF;
    RETURN ARRAY[1, coalesce(_actual_version, 0)];
END
$$;
