-- emt_missed: one row for each event that an inline projection has not handled yet. A transaction that adds an event without
-- running a projection notes the event here. Such a writer is a program without it or with another version, a client of
-- Emmett's, psql, or an import. A read model is right if its projection is active and has no row here, both in one snapshot.
-- Programs with the code follow: they handle the event and delete its row, in one transaction. error: the reason of the last
-- failure; they retry.
--
-- Why this is exact. A row and its event commit together. A later append to the same stream has waited for the stream's row
-- and looks after that. It sees the row and notes its own event, so the order of a stream is kept. A projection that becomes
-- active waits for each append that looked before it was arming. In every writer the fence comes first, then the positions,
-- then the look. The arming reads the last drawn position after its commit. Once the horizon has passed it, all those
-- appends have ended.
CREATE TABLE IF NOT EXISTS public.emt_missed (
    partition        TEXT         NOT NULL,
    name             TEXT         NOT NULL,
    version          INTEGER      NOT NULL,
    global_position  BIGINT       NOT NULL,
    noted_at         TIMESTAMPTZ  NOT NULL DEFAULT now(),
    error            TEXT,
    PRIMARY KEY (partition, name, version, global_position)
);

-- For the look of each append: it searches after missed_after, because there are only dead rows below.
CREATE INDEX IF NOT EXISTS emt_missed_look ON public.emt_missed (partition, global_position);

-- Returns whether a projection may handle an event. Only this function interprets a definition's "handles" and "categories".
-- Null is all. They are the unions over several enums: more may be noted than the code handles, and never less. A follower
-- handles exactly the events of its code, and deletes all rows.
CREATE OR REPLACE FUNCTION public.emt_projection_handles(_definition JSONB, _stream_id TEXT, _message_type TEXT)
    RETURNS BOOLEAN
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT (pg_catalog.jsonb_typeof(_definition -> 'handles'::TEXT) IS DISTINCT FROM 'array'
            OR _definition -> 'handles'::TEXT ? _message_type)
       AND (pg_catalog.jsonb_typeof(_definition -> 'categories'::TEXT) IS DISTINCT FROM 'array'
            OR coalesce(_definition -> 'categories'::TEXT ? public.emt_stream_category(_stream_id), FALSE))
    $$;

-- Above READ COMMITTED, the snapshot may be older than a change of the projections. Locking the row fails then, with a
-- serialization error. Runs as the owner, because writers may only read the row.
CREATE OR REPLACE FUNCTION public.emt_partition_share(_partition TEXT) RETURNS VOID
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM FROM public.emt_partitions AS tenant WHERE tenant.partition = _partition FOR SHARE;
END
$$;

-- Returns the result of an append that does not run all active projections, or finds an event noted. It notes the messages,
-- and adds the projections that the caller runs to the result. It is called after the lock of the stream's row, in a
-- statement of its own. An earlier snapshot would miss the notes of the stream's last writer.
CREATE OR REPLACE FUNCTION public.emt_append_look(
    _partition      TEXT,
    _projections    JSONB,
    _stream_id      TEXT,
    _message_types  TEXT[],
    _result         BIGINT[]
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _run BIGINT[] := public.emt_missed_note(
        _partition, _projections, pg_catalog.array_fill(_stream_id, ARRAY[pg_catalog.cardinality(_message_types)]),
        _message_types,
        _result[4:]);
BEGIN
    IF _projections IS NULL THEN
        RETURN _result;
    END IF;
    RETURN ARRAY[4, _result[2], _result[3], pg_catalog.cardinality(_run)]
           OPERATOR(pg_catalog.||) _run OPERATOR(pg_catalog.||) _result[4:];
END
$$;

-- Notes messages for active and arming projections that the caller does not run, or for which an event is noted. Returns the
-- numbers of the projections that the caller runs, in the order of the names; none without _projections. Raises SE011 for an
-- unregistered projection.
CREATE OR REPLACE FUNCTION public.emt_missed_note(
    _partition         TEXT,
    _projections       JSONB,
    _stream_ids        TEXT[],
    _message_types     TEXT[],
    _global_positions  BIGINT[]
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _unknown TEXT;
    _run BIGINT[];
BEGIN
    IF pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM public.emt_partition_share(_partition);
    END IF;
    -- A stranger runs none, so it need not look for noted events.
    IF _projections IS NULL THEN
        INSERT INTO public.emt_missed (partition, name, version, global_position)
        SELECT _partition, known.value ->> 'name'::TEXT, (known.value -> 'version'::TEXT)::INTEGER, message.global_position
          FROM public.emt_partitions AS tenant, pg_catalog.jsonb_each(tenant.inline_projections) AS known,
               unnest(_stream_ids, _message_types, _global_positions) AS message (stream_id, type, global_position)
         WHERE tenant.partition = _partition AND known.value ->> 'status'::TEXT IN ('active', 'arming')
           AND public.emt_projection_handles(known.value, message.stream_id, message.type)
        ON CONFLICT DO NOTHING;
        RETURN '{}';
    END IF;
    SELECT mine.key INTO _unknown
      FROM public.emt_partitions AS tenant, pg_catalog.jsonb_each(_projections) AS mine
     WHERE tenant.partition = _partition AND NOT tenant.inline_projections ? (mine.value::TEXT || ':' || mine.key)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'inline projection "%" is not registered', _unknown USING ERRCODE = 'SE011';
    END IF;
    WITH followed AS MATERIALIZED (
        SELECT known.value ->> 'name'::TEXT AS name, (known.value -> 'version'::TEXT)::INTEGER AS version,
               known.value AS definition,
               (known.value ->> 'status'::TEXT = 'active'
                AND _projections -> (known.value ->> 'name'::TEXT) = known.value -> 'version'::TEXT
                AND (SELECT missed.global_position FROM public.emt_missed AS missed
                      WHERE missed.partition = _partition AND missed.name = known.value ->> 'name'::TEXT
                        AND missed.version = (known.value -> 'version'::TEXT)::INTEGER
                        AND missed.global_position > tenant.missed_after
                      LIMIT 1) IS NULL) IS TRUE AS is_run
          FROM public.emt_partitions AS tenant, pg_catalog.jsonb_each(tenant.inline_projections) AS known
         WHERE tenant.partition = _partition AND known.value ->> 'status'::TEXT IN ('active', 'arming')
    ), noted AS (
        INSERT INTO public.emt_missed (partition, name, version, global_position)
        SELECT _partition, followed.name, followed.version, message.global_position
          FROM followed, unnest(_stream_ids, _message_types, _global_positions) AS message (stream_id, type, global_position)
         WHERE NOT followed.is_run
           AND public.emt_projection_handles(followed.definition, message.stream_id, message.type)
        ON CONFLICT DO NOTHING
    )
    SELECT coalesce(pg_catalog.array_agg(mine.number), '{}') INTO _run
      FROM (SELECT name, pg_catalog.row_number() OVER (ORDER BY name COLLATE "C") AS number
              FROM pg_catalog.jsonb_object_keys(_projections) AS name) AS mine
      JOIN followed ON followed.name = mine.name AND followed.is_run;
    RETURN _run;
END
$$;

-- Notes the messages of writers that do not use emt_append: psql, COPY, other libraries. It does not fire for a statement
-- that names a leaf table. Our own statements do, and note their messages themselves.
CREATE OR REPLACE FUNCTION public.emt_missed_note_inserted() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM public.emt_missed_note(message.partition, NULL::JSONB, pg_catalog.array_agg(message.stream_id),
                                   pg_catalog.array_agg(message.message_type), pg_catalog.array_agg(message.global_position))
       FROM inserted AS message GROUP BY message.partition;
    RETURN NULL;
END
$$;

-- Prepares a partition for notes: creates the flag that appends read and the trigger of its table. The flag is 0 until a
-- first inline projection is registered, and stays set. An append reads it without a snapshot, as the fence reads positions.
CREATE OR REPLACE FUNCTION public.emt_missed_watch(_partition TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
BEGIN
    EXECUTE format('CREATE SEQUENCE public.%I MINVALUE 0', 'emt_inline_in_' || _suffix);
    -- Not nextval: after a crash of the server, that would be the value of 32 calls later.
    PERFORM setval(format('public.%I', 'emt_inline_in_' || _suffix), 0);
    PERFORM public.emt_table_copy_grants('emt_global_message_position', 'emt_inline_in_' || _suffix);
    PERFORM public.emt_missed_watch_table('emt_messages_' || _suffix);
END
$$;

CREATE OR REPLACE FUNCTION public.emt_missed_watch_table(_table TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- A look first: CREATE TRIGGER would wait for all users of the table.
    IF NOT EXISTS (SELECT FROM pg_trigger
                    WHERE tgrelid = format('public.%I', _table)::REGCLASS AND tgname = 'emt_missed_note_inserted') THEN
        EXECUTE format('CREATE TRIGGER emt_missed_note_inserted AFTER INSERT ON public.%I
                        REFERENCING NEW TABLE AS inserted
                        FOR EACH STATEMENT EXECUTE FUNCTION public.emt_missed_note_inserted()', _table);
    END IF;
END
$$;

SELECT public.emt_missed_watch_table('emt_messages');

-- Returns the key of the advisory lock of a follower: one at a time for each projection.
CREATE OR REPLACE FUNCTION public.emt_missed_lock_key(_partition TEXT, _name TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT hashtextextended('public' || '.missed/' || _partition || '/' || _name, 0) $$;

-- Returns the versions of projections with noted events, and their partitions. Skips along the index: there may be many
-- rows.
CREATE OR REPLACE FUNCTION public.emt_missed_projections() RETURNS TABLE (partition TEXT, name TEXT, version INTEGER)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH RECURSIVE noted AS (
        (SELECT missed.partition, missed.name, missed.version FROM public.emt_missed AS missed
          ORDER BY missed.partition, missed.name, missed.version LIMIT 1)
        UNION ALL
        SELECT following.partition, following.name, following.version
          FROM noted CROSS JOIN LATERAL (
               SELECT missed.partition, missed.name, missed.version FROM public.emt_missed AS missed
                WHERE (missed.partition, missed.name, missed.version) > (noted.partition, noted.name, noted.version)
                ORDER BY missed.partition, missed.name, missed.version LIMIT 1) AS following
    )
    SELECT noted.partition, noted.name, noted.version FROM noted
    $$;

-- Returns TRUE if an inline projection is active and has missed nothing. Otherwise raises SE014. A STABLE function shares
-- the snapshot of the statement that calls it. A statement that also reads the read model reads the checked state.
CREATE OR REPLACE FUNCTION public.emt_projection_require_active(_partition TEXT, _name TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
DECLARE
    _status TEXT;
    _version INTEGER;
    _lowest BIGINT;
BEGIN
    -- The version of the live read model; else the version that comes next.
    SELECT CASE WHEN projection.status = 'arming' THEN 'building' ELSE projection.status END, projection.version,
           missed.lowest
      INTO _status, _version, _lowest
      FROM public.emt_projections AS projection
      JOIN public.emt_partitions AS tenant ON tenant.partition = projection.partition
     CROSS JOIN LATERAL (
           SELECT pg_catalog.min(missed.global_position) AS lowest FROM public.emt_missed AS missed
            WHERE missed.partition = projection.partition AND missed.name = projection.name
              AND missed.version = projection.version AND missed.global_position > tenant.missed_after) AS missed
     WHERE projection.partition = _partition AND projection.name = _name
       AND projection.type::TEXT = 'i' AND projection.definition ? 'handles'::TEXT
     ORDER BY projection.status IN ('active', 'stale') DESC, projection.version DESC
     LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION '"%" is not known to be right: no inline projection of that name is registered', _name
            USING ERRCODE = 'SE014';
    END IF;
    IF _status <> 'active' THEN
        RAISE EXCEPTION 'the read model of projection "%" (version %) is %', _name, _version, _status
            USING ERRCODE = 'SE014';
    END IF;
    IF _lowest IS NOT NULL THEN
        RAISE EXCEPTION 'the read model of projection "%" (version %) is following: it misses events from position % on',
            _name, _version, _lowest USING ERRCODE = 'SE014';
    END IF;
    RETURN TRUE;
END
$$;

-- Raises missed_after up to where nothing more can be noted, so that a look skips the deleted rows. Runs as the owner,
-- because writers may only read the row. It asks for the horizon first, and then sees every commit for which that has
-- waited.
CREATE OR REPLACE FUNCTION public.emt_missed_advance(_partition TEXT) RETURNS VOID
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _horizon BIGINT := (public.emt_horizon(_partition, 0::BIGINT))[1];
    _lowest BIGINT;
BEGIN
    SELECT min(missed.global_position) - 1 INTO _lowest
      FROM public.emt_missed AS missed WHERE missed.partition = _partition;
    -- Only now and then: at higher isolation levels, each change of the row fails an append.
    UPDATE public.emt_partitions AS tenant
       SET missed_after = least(_horizon, _lowest)
     WHERE tenant.partition = _partition AND tenant.missed_after < least(_horizon, _lowest) - 1000;
END
$$;

-- Makes a projection stale that no program has followed for a minute, and deletes its rows. More than _rows events are noted
-- then, or the first was noted longer than _age ago. Otherwise FALSE.
CREATE OR REPLACE FUNCTION public.emt_projection_expire(
    _partition TEXT, _name TEXT, _version INTEGER, _rows BIGINT, _age INTERVAL
) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _count BIGINT;
    _since TIMESTAMPTZ;
BEGIN
    IF NOT EXISTS (SELECT FROM public.emt_projections AS projection
                    WHERE projection.partition = _partition AND projection.name = _name
                      AND projection.version = _version AND projection.status IN ('active', 'arming')
                      AND projection.last_updated < now() - INTERVAL '1 minute') THEN
        RETURN FALSE;
    END IF;
    SELECT count(*), min(missed.noted_at) INTO _count, _since
      FROM (SELECT missed.noted_at FROM public.emt_missed AS missed
             WHERE missed.partition = _partition AND missed.name = _name AND missed.version = _version
             ORDER BY missed.global_position LIMIT _rows + 1) AS missed;
    IF coalesce(_since > now() - CASE WHEN _count > _rows THEN INTERVAL '1 minute' ELSE _age END, TRUE) THEN
        RETURN FALSE;
    END IF;
    UPDATE public.emt_projections AS projection SET status = 'stale'
     WHERE projection.partition = _partition AND projection.name = _name AND projection.version = _version
       AND projection.status IN ('active', 'arming') AND projection.last_updated < now() - INTERVAL '1 minute';
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    DELETE FROM public.emt_missed AS missed
     WHERE missed.partition = _partition AND missed.name = _name AND missed.version = _version;
    RETURN TRUE;
END
$$;

-- Removes a projection with all its versions and notes; FALSE if there is none. Its documents stay.
CREATE OR REPLACE FUNCTION public.emt_projection_forget(_partition TEXT, _name TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _is_known BOOLEAN;
BEGIN
    PERFORM public.emt_caller_require_writer();
    PERFORM public.emt_partition_check(_partition);
    DELETE FROM public.emt_projections AS projection
     WHERE projection.partition = _partition AND projection.name = _name;
    _is_known := FOUND;
    DELETE FROM public.emt_missed AS missed WHERE missed.partition = _partition AND missed.name = _name;
    DELETE FROM public.emt_rebuild_requests AS request WHERE request.partition = _partition AND request.name = _name;
    RETURN _is_known;
END
$$;
