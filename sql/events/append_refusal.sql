-- Rare appends: refused ones, repeated ones, and appends to an archived stream.

-- Returns the refusal or the repeated result of an append after its upsert; NULL if the append may continue. It runs with
-- the stream's row locked and in statements of its own. Their snapshots see the commit of the writer for which the append
-- waited. It undoes the upsert where necessary. _version is the upsert's result: NULL if the upsert changed nothing.
CREATE OR REPLACE FUNCTION public.emt_append_refusal(
    _stream_id         TEXT,
    _partition         TEXT,
    _expected_version  BIGINT,
    _version           BIGINT,
    _count             INTEGER,
    _message_ids       TEXT[],
    _message_types     TEXT[],
    _message_kinds     TEXT[],
    _messages_data     JSONB[]
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
    _is_new BOOLEAN := _version IS NOT DISTINCT FROM _count;
    _repeated BIGINT[];
    _archived_version BIGINT;
    _actual_version BIGINT := 0;
BEGIN
    IF _message_ids IS NOT NULL AND NOT _is_new THEN
        _repeated := public.emt_append_find_repeated(
            _stream_id, _partition, _message_ids, _message_types, _message_kinds, _messages_data);
        IF _repeated IS NOT NULL THEN
            IF _version IS NOT NULL THEN
                EXECUTE pg_catalog.format('UPDATE public.%I SET stream_position = stream_position - $2 WHERE stream_id = $1',
                               'emt_streams_' || _suffix || '_active')
                    USING _stream_id, _count;
            END IF;
            RETURN ARRAY[3::BIGINT] OPERATOR(pg_catalog.||) _repeated;
        END IF;
    END IF;

    IF _version IS NULL THEN
        EXECUTE pg_catalog.format('SELECT stream_position FROM public.%I WHERE stream_id = $1',
                       'emt_streams_' || _suffix || '_active')
            INTO _actual_version USING _stream_id;
        RETURN ARRAY[1, _actual_version];
    END IF;
    IF NOT _is_new THEN
        RETURN NULL;
    END IF;

    -- Above READ COMMITTED, this statement's snapshot is as old as the transaction. It may not show that a stream was
    -- archived meanwhile. The unique index knows: it answers an insert with a serialization error then.
    IF pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
        EXECUTE pg_catalog.format($sql$
            WITH probe AS (
                INSERT INTO public.%1$I
                    (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
                VALUES ($1, 0, $2, '', '{}', TRUE)
                ON CONFLICT DO NOTHING
            )
            SELECT stream_position FROM public.%1$I WHERE stream_id = $1
            $sql$, 'emt_streams_' || _suffix || '_archived')
            INTO _archived_version USING _stream_id, _partition;
        EXECUTE pg_catalog.format('DELETE FROM public.%I WHERE stream_id = $1 AND stream_position = 0',
                       'emt_streams_' || _suffix || '_archived')
            USING _stream_id;
    ELSIF (SELECT tenant.has_archived FROM public.emt_partitions AS tenant WHERE tenant.partition = _partition) THEN
        EXECUTE pg_catalog.format('SELECT stream_position FROM public.%I WHERE stream_id = $1',
                       'emt_streams_' || _suffix || '_archived')
            INTO _archived_version USING _stream_id;
    END IF;
    IF _archived_version IS NULL AND coalesce(_expected_version, 0) = 0 THEN
        RETURN NULL;
    END IF;
    EXECUTE pg_catalog.format('DELETE FROM public.%I WHERE stream_id = $1', 'emt_streams_' || _suffix || '_active')
        USING _stream_id;
    RETURN CASE WHEN _archived_version IS NULL THEN ARRAY[1, 0] ELSE ARRAY[2, _archived_version] END;
END
$$;

-- Returns the version and global positions of a repeated append; NULL if none of its message ids was given for a message of
-- the stream. Raises SE020 if they were given with other content, in another order, or only in part. OFFSET 0 keeps the
-- planner from another join order. Each id is one lookup in the index of the ids, and one in the index of the messages.
CREATE OR REPLACE FUNCTION public.emt_append_find_repeated(
    _stream_id      TEXT,
    _partition      TEXT,
    _message_ids    TEXT[],
    _message_types  TEXT[],
    _message_kinds  TEXT[],
    _messages_data  JSONB[]
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _found INTEGER;
    _same INTEGER;
    _lowest_shift BIGINT;
    _highest_shift BIGINT;
    _version BIGINT;
    _positions BIGINT[];
BEGIN
    -- If all are there, in this order and without gaps, each has the same distance from its number.
    EXECUTE pg_catalog.format($sql$
        SELECT pg_catalog.count(*),
               pg_catalog.count(*) FILTER (WHERE stored.message_type = message.type AND stored.message_kind::TEXT = message.kind
                                  AND stored.message_data = message.data),
               pg_catalog.min(stored.stream_position - message.number), pg_catalog.max(stored.stream_position - message.number),
               pg_catalog.max(stored.stream_position), pg_catalog.array_agg(stored.global_position ORDER BY message.number)
          FROM unnest($2, $3, $4, $5) WITH ORDINALITY AS message (id, type, kind, data, number)
         CROSS JOIN LATERAL (
               SELECT noted.stream_position FROM public.emt_message_ids AS noted
                WHERE noted.stream_id = $1 AND noted.partition = $6
                  AND noted.id_hash = public.emt_append_id_hash(message.id)
               OFFSET 0) AS noted
         CROSS JOIN LATERAL (
               SELECT stored.stream_position, stored.global_position, stored.message_type, stored.message_kind,
                      stored.message_data
                 FROM public.%I AS stored
                WHERE stored.stream_id = $1 AND stored.stream_position = noted.stream_position
                  AND stored.message_id = message.id
               OFFSET 0) AS stored
        $sql$, 'emt_messages_' || public.emt_partition_suffix(_partition) || '_active')
        INTO _found, _same, _lowest_shift, _highest_shift, _version, _positions
        USING _stream_id, _message_ids, _message_types, _message_kinds, _messages_data, _partition;
    IF _found = 0 THEN
        RETURN NULL;
    END IF;
    IF _same = pg_catalog.cardinality(_message_ids) AND _same = _found AND _lowest_shift = _highest_shift THEN
        RETURN ARRAY[_version, 0] OPERATOR(pg_catalog.||) _positions;
    END IF;
    RAISE EXCEPTION 'stream "%" already has messages with these message ids, but not the same messages', _stream_id
        USING ERRCODE = 'SE020', DETAIL = _stream_id,
              HINT = 'A message id names one message. Use new ids for new messages.';
END
$$;
