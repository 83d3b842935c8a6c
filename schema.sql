-- emmett-postgresql, schema version 2: the event store.
--
-- Apply it, after migrations/documents.sql, with `psql -1 -f`, with `emmett migrate run`, or by opening an `EventStore`;
-- applying it again changes nothing. The word "public" is the PostgreSQL schema; the library writes the configured one in its place.
-- Needs PostgreSQL 13 or newer, no extension, no superuser. Every name is qualified: nothing depends on search_path.
--
-- Reading order: tables, the fence (why the feed has no holes), append, read, feed, archive, tenants, projections,
-- consumers, rebuilds, grants. Locals begin with "_"; parameters are qualified by the function's name, and a bare
-- name is a column ("#variable_conflict use_column").
--
-- SQLSTATEs of our own: SE001 isolation, SE002 standby, SE003 sequence behind, SE004 tenant name, SE005 tenant unknown,
-- SE010 projection version, SE011 projection not registered, SE012 projection not active, SE013 projection kept otherwise,
-- SE020 message id reused, SE040 a refused stream among several (never leaves emt_append_to_streams).


------------------------------------------------------------------------------------------------------------ tables

-- emt_partitions: one row a partition (tenant). table_suffix is the part of its table names that tells it apart.
-- has_archived spares a new stream the search for an archived one of its name; it is set once and never unset.
-- inline_versions spares an append the search in emt_projections: the active version of each inline projection, by name.
CREATE TABLE IF NOT EXISTS public.emt_partitions (
    partition        TEXT         NOT NULL PRIMARY KEY,
    table_suffix     TEXT         NOT NULL UNIQUE,
    has_archived     BOOLEAN      NOT NULL DEFAULT FALSE,
    inline_versions  JSONB        NOT NULL DEFAULT '{}',
    created_at       TIMESTAMPTZ  NOT NULL DEFAULT now()
);

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

-- CACHE 1 is part of the fence: a cached position would be drawn long before the lock that announces it.
CREATE SEQUENCE IF NOT EXISTS public.emt_global_message_position CACHE 1;

-- The class of a partition's fence locks; NULL is the wildcard of writers that do not name their partition. The
-- schema is part of it: two stores in one database must not hold each other back.
CREATE OR REPLACE FUNCTION public.emt_fence_class(partition TEXT) RETURNS INTEGER
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT hashtext('public' || coalesce('.' || emt_fence_class.partition, '')) $$;

-- What the sequence has drawn last while it is not used since it was started or restarted: the value before its first.
CREATE OR REPLACE FUNCTION public.emt_unused_position() RETURNS BIGINT
    LANGUAGE sql
    AS $$ SELECT last_value - (NOT is_called)::INTEGER FROM public.emt_global_message_position $$;

-- Announces, until the transaction ends, that it may own positions above the sequence's present value. The value first,
-- then the lock: a reader that misses the lock has read a value below every position we draw. bit(32) keeps the low bits
-- as they are; arithmetic would overflow at 2^31.
CREATE OR REPLACE FUNCTION public.emt_fence_lock(partition TEXT) RETURNS BOOLEAN
    LANGUAGE sql
    AS $$
    SELECT pg_advisory_xact_lock_shared(
               public.emt_fence_class(emt_fence_lock.partition),
               coalesce(pg_sequence_last_value('public.emt_global_message_position'::REGCLASS),
                        public.emt_unused_position())::BIT(32)::INTEGER) IS NOT NULL
    $$;

-- Takes the lock unless the transaction holds it: emt.fence holds the transaction's id and what it has locked, for each
-- store and class. Both the setting and the lock roll back with a savepoint. The transaction's id is in it because a
-- session-level SET must not disarm it, the sequence because the classes of two stores may be the same by chance.
CREATE OR REPLACE FUNCTION public.emt_fence_once(partition TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
DECLARE
    _key TEXT := ',' || 'public.emt_global_message_position'::REGCLASS::OID || '/'
                     || public.emt_fence_class(emt_fence_once.partition) || ',';
    _transaction TEXT := pg_current_xact_id()::TEXT;
    _held TEXT := current_setting('emt.fence', TRUE);
BEGIN
    IF _held IS NULL OR split_part(_held, ':', 1) <> _transaction THEN
        _held := _transaction || ':';
    ELSIF position(_key IN _held) > 0 THEN
        RETURN FALSE;
    END IF;
    RETURN public.emt_fence_lock(emt_fence_once.partition)
       AND set_config('emt.fence', _held || _key, TRUE) IS NOT NULL;
END
$$;

-- The fence of every writer. A transaction that has no id yet has written nothing, so it takes the lock without a look
-- for one that it might hold; most appends are alone in their transaction, and this is two thirds of what the fence
-- would cost them. SQL, because PL/pgSQL puts such a function's expression in the place of its call.
CREATE OR REPLACE FUNCTION public.emt_fence(partition TEXT) RETURNS BOOLEAN
    LANGUAGE sql
    AS $$
    SELECT CASE WHEN pg_current_xact_id_if_assigned() IS NULL THEN public.emt_fence_lock(emt_fence.partition)
                ELSE public.emt_fence_once(emt_fence.partition) END
    $$;

-- The default of emt_messages.global_position: fences every writer that does not come through emt_append.
CREATE OR REPLACE FUNCTION public.emt_next_position() RETURNS BIGINT
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM public.emt_fence(NULL);
    RETURN nextval('public.emt_global_message_position'::REGCLASS);
END
$$;

-- emt_messages: every event and command ('E', 'C').
CREATE TABLE IF NOT EXISTS public.emt_messages (
    stream_position         BIGINT       NOT NULL,
    global_position         BIGINT       NOT NULL DEFAULT public.emt_next_position(),
    transaction_id          XID8         NOT NULL DEFAULT pg_current_xact_id(),
    created                 TIMESTAMPTZ  NOT NULL DEFAULT now(),
    is_archived             BOOLEAN      NOT NULL DEFAULT FALSE,
    message_kind            VARCHAR(1)   NOT NULL DEFAULT 'E',
    stream_id               TEXT         NOT NULL,
    partition               TEXT         NOT NULL DEFAULT 'emt:default',
    message_schema_version  TEXT         NOT NULL,
    message_id              TEXT         NOT NULL,
    message_type            TEXT         NOT NULL,
    message_data            JSONB        NOT NULL,
    message_metadata        JSONB        NOT NULL,
    PRIMARY KEY (stream_id, stream_position, partition, is_archived)
) PARTITION BY LIST (partition);

-- The feed's index. Unique, because the second of two equal positions at a page's end would never be delivered.
CREATE UNIQUE INDEX IF NOT EXISTS emt_messages_feed
    ON public.emt_messages (global_position, partition, is_archived);

-- emt_subscriptions: which processors there are, and where each began. How far they are is in emt_processor_slots.
CREATE TABLE IF NOT EXISTS public.emt_subscriptions (
    subscription_id                TEXT         NOT NULL,
    version                        INTEGER      NOT NULL DEFAULT 1,
    partition                      TEXT         NOT NULL DEFAULT 'emt:default',
    last_processed_position        BIGINT       NOT NULL,
    last_processed_transaction_id  XID8         NOT NULL DEFAULT pg_current_xact_id(),
    created_at                     TIMESTAMPTZ  NOT NULL DEFAULT now(),
    last_updated                   TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (subscription_id, partition, version)
) PARTITION BY LIST (partition);

-- emt_processor_slots: the position of each slot of a processor, and its holder. A processor has one slot, or several, so
-- that several workers share its streams. The holder is a worker of one process (owner, worker) until expires_at.
--
--                     register                      take                       time
--       no row ------------------> free -------------------------> held ----------------> expired
--                                   ^ ^                            | ^ ^                     |
--                                   | +------- release ------------+ | +---- renew ----------+
--                                   |                              | |                       | take: at the position where
--                                   | time                     ask | | time                  v the last holder took it
--                                   |                              v |   checkpoint     after crash
--                               promised <---- release ------- wanted      (held) <----------+
--                                   |                                                     attempt: counts a holder
--                                   +-- take, by the asking worker --> held
--
--       any --- fail ----> failed --- register ---> as before            any --- hold ---> held, by a rebuild
--       any --- reset ---> as before, at another position                rebuild --- release or reset ---> free
--
-- epoch is raised by take, reset and hold (emt_slot_raise_epoch), so the holder before can commit nothing more.
-- wanted_by, wanted_until: a worker that has less than its share asks for the slot, and its holder gives it up; until then
-- no other worker takes it. taken_position: where it was taken last. crashes: how many leases in a row ran out there.
-- attempted, attempts, attempt_epoch: after a crash, the message that is tried, by how many holders, and by which one last.
-- status: 'active' or 'failed'. Room in the pages keeps updates off the index: every batch writes here.
CREATE TABLE IF NOT EXISTS public.emt_processor_slots (
    partition       TEXT         NOT NULL,
    processor       TEXT         NOT NULL,
    version         INTEGER      NOT NULL,
    slot            INTEGER      NOT NULL,
    position        BIGINT       NOT NULL,
    epoch           BIGINT       NOT NULL DEFAULT 0,
    owner           TEXT,
    worker          INTEGER,
    taken_at        TIMESTAMPTZ,
    expires_at      TIMESTAMPTZ,
    wanted_by       TEXT,
    wanted_until    TIMESTAMPTZ,
    taken_position  BIGINT,
    crashes         INTEGER      NOT NULL DEFAULT 0,
    attempted       BIGINT,
    attempts        INTEGER      NOT NULL DEFAULT 0,
    attempt_epoch   BIGINT,
    status          TEXT         NOT NULL DEFAULT 'active',
    last_error      TEXT,
    updated_at      TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, processor, version, slot)
) WITH (fillfactor = 50);

-- emt_parked_messages: the messages that a processor could not handle, and the later ones of the same streams.
--
--                  the handler fails            replay                     handled
--       no row -----------------------> parked --------> replay requested --------> no row
--                                         ^                |          ^
--                                         +-- fails again -+          | replay, or follows an earlier one
--                  one is parked before   (attempts + 1)              |
--       no row -----------------------> after ------------------------+
--                                         ^                |
--                                         +----------------+ an earlier one fails again
--
--       parked, after, replay requested --- discard ---> discard requested --- its worker ---> no row
--       any --- reset, forget, switch of a rebuild ---> no row
--
-- error: NULL for a message that only comes after one that failed. request: 'replay' or 'discard', for the slot's holder.
CREATE TABLE IF NOT EXISTS public.emt_parked_messages (
    partition        TEXT         NOT NULL,
    processor        TEXT         NOT NULL,
    version          INTEGER      NOT NULL,
    slot             INTEGER      NOT NULL,
    global_position  BIGINT       NOT NULL,
    stream_id        TEXT         NOT NULL,
    stream_position  BIGINT       NOT NULL,
    message_type     TEXT         NOT NULL,
    attempts         INTEGER      NOT NULL DEFAULT 0,
    error            TEXT,
    request          TEXT,
    parked_at        TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, processor, version, slot, global_position)
);

-- emt_projections: the registry; type 'i' is inline, 'a' asynchronous; status 'active', 'inactive' or 'stale'.
CREATE TABLE IF NOT EXISTS public.emt_projections (
    version       INTEGER      NOT NULL DEFAULT 1,
    type          VARCHAR(1)   NOT NULL,
    name          TEXT         NOT NULL,
    partition     TEXT         NOT NULL DEFAULT 'emt:default',
    kind          TEXT         NOT NULL,
    status        TEXT         NOT NULL,
    definition    JSONB        NOT NULL DEFAULT '{}',
    created_at    TIMESTAMPTZ  NOT NULL DEFAULT now(),
    last_updated  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (name, partition, version)
) PARTITION BY LIST (partition);

-- emt_rebuilds: the read models that are being built beside the live ones, and how far they are. The tables of a rebuild
-- are emt_shadow_<id>_<number>, in the order of tables. What a crash leaves here is removed by the next rebuild.
CREATE TABLE IF NOT EXISTS public.emt_rebuilds (
    id          BIGINT       NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition   TEXT         NOT NULL,
    name        TEXT         NOT NULL,
    version     INTEGER      NOT NULL,
    tables      TEXT[]       NOT NULL,
    position    BIGINT       NOT NULL DEFAULT 0,
    started_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    updated_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    UNIQUE (partition, name)
);

-- emt_rebuild_requests: rebuilds that a program without the projection's code has asked for; whoever has it and runs a
-- consumer carries them out. error: it failed, and is not tried again.
CREATE TABLE IF NOT EXISTS public.emt_rebuild_requests (
    partition     TEXT         NOT NULL,
    name          TEXT         NOT NULL,
    workers       INTEGER      NOT NULL,
    batch_size    INTEGER      NOT NULL,
    keep_old      BOOLEAN      NOT NULL,
    error         TEXT,
    requested_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, name)
);

-- emt_imports: how much of an event log was imported: so many lines from its beginning, with this digest.
CREATE TABLE IF NOT EXISTS public.emt_imports (
    partition   TEXT         NOT NULL,
    name        TEXT         NOT NULL,
    lines       BIGINT       NOT NULL,
    digest      TEXT         NOT NULL,
    updated_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, name)
);


------------------------------------------------------------------------------------------------------------ append

-- The part of a partition's table names that tells it apart: 'emt:default' gives emt_streams_emt_default_active.
CREATE OR REPLACE FUNCTION public.emt_table_suffix(partition TEXT) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT regexp_replace(emt_table_suffix.partition, '[^a-zA-Z0-9_]', '_', 'g') $$;

-- Creates a partition's own function for appends, emt_append_in_emt_default and so on. It appends messages to one stream,
-- in one round trip, or refuses and stores nothing. Locks, in this order: the inline projections (shared), the fence, the
-- stream's row; then draws the positions, so that global order follows stream order. Returns codes and positions as one
-- array, because a scalar result is the cheapest to return:
--   {0, version, time, global positions ...}   appended
--   {1, version}                               refused: the stream is at this version
--   {2, version}                               refused: the stream is archived
--   {3, version, time, global positions ...}   these messages were appended before (only when find_repeated)
-- time is what "created" says, in microseconds since 1970, for the inline projections; 0 where there are none.
-- expected_version: NULL any, 0 no stream, -1 the stream exists, n exactly n.
-- find_repeated: look for the message ids in the stream first. Same type, kind and data: the first result again;
-- anything else raises SE020.
-- projections: the versions of the caller's inline projections, by name; raises SE010, SE011, SE012 unless each is the
-- active one.
-- It is the hottest code here. It names the leaf tables, because finding them from their parents costs each append a
-- tenth; and what few appends need stands elsewhere, because every expression costs all of them. The partition is a
-- parameter all the same: a name that only resembles this one's must not get in.
CREATE OR REPLACE FUNCTION public.emt_create_append(partition TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _suffix TEXT := public.emt_table_suffix(emt_create_append.partition);
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
    -- In this order: whoever waits for a projection must not hold the feed back meanwhile.
    _fenced BOOLEAN := CASE WHEN _projections IS NULL THEN public.emt_fence(_partition)
                            WHEN public.emt_share_projections(_partition, _projections) THEN public.emt_fence(_partition)
                       END;
    _version BIGINT;
    _result BIGINT[];
BEGIN
    -- Waits for the stream's other writers, and locks the row even where WHERE refuses.
    INSERT INTO public.%2$I AS stream
        (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
    VALUES
        (_stream_id, cardinality(_message_types), _partition, _stream_type, '{}', FALSE)
    ON CONFLICT (stream_id, partition, is_archived) DO UPDATE
        SET stream_position = stream.stream_position + EXCLUDED.stream_position
        WHERE _expected_version IS NULL
           OR _expected_version = stream.stream_position
           OR _expected_version = -1
    RETURNING stream.stream_position INTO _version;

    IF (_version > cardinality(_message_types) AND NOT _find_repeated) IS NOT TRUE THEN
        -- Seldom more than a new stream, in a partition that has never archived one. Looked at in a statement of its own:
        -- its snapshot sees what the writer that we waited for has committed. Above READ COMMITTED it might not.
        IF _version = cardinality(_message_types) AND coalesce(_expected_version, 0) = 0
           AND current_setting('transaction_isolation') = 'read committed'
           AND NOT (SELECT has_archived FROM public.emt_partitions WHERE partition = _partition) THEN
            _result := NULL;
        ELSE
            _result := public.emt_refusal(
                _stream_id, _partition, _expected_version, _version, cardinality(_message_types),
                CASE WHEN _find_repeated THEN _message_ids END, _message_types, _message_kinds, _messages_data);
        END IF;
        IF _result IS NOT NULL THEN
            RETURN _result;
        END IF;
    END IF;

    -- One message is the most common append; unnest would cost it a tenth.
    IF cardinality(_message_types) = 1 THEN
        INSERT INTO public.%3$I
            (stream_position, global_position, is_archived, message_kind, stream_id, partition,
             message_schema_version, message_id, message_type, message_data, message_metadata)
        VALUES
            (_version, nextval('public.emt_global_message_position'::REGCLASS), FALSE, _message_kinds[1], _stream_id,
             _partition, _schema_versions[1], _message_ids[1], _message_types[1], _messages_data[1],
             _messages_metadata[1])
        RETURNING ARRAY[0, _version, CASE WHEN _projections IS NULL THEN 0
                                          ELSE extract(EPOCH FROM created) * 1000000 END::BIGINT, global_position]
            INTO _result;
        RETURN _result;
    END IF;

    IF cardinality(_message_types) > 0 IS NOT TRUE THEN
        RAISE EXCEPTION 'no messages to append to stream "%%"', _stream_id USING ERRCODE = '22023';
    END IF;
    WITH appended AS (
        INSERT INTO public.%3$I
            (stream_position, global_position, is_archived, message_kind, stream_id, partition,
             message_schema_version, message_id, message_type, message_data, message_metadata)
        SELECT _version - cardinality(_message_types) + message.number,
               nextval('public.emt_global_message_position'::REGCLASS), FALSE, message.kind, _stream_id, _partition,
               message.schema_version, message.id, message.type, message.data, message.metadata
          FROM unnest(_message_ids, _message_types, _message_kinds, _schema_versions, _messages_data, _messages_metadata)
               WITH ORDINALITY AS message (id, type, kind, schema_version, data, metadata, number)
        RETURNING created, global_position
    )
    SELECT ARRAY[0, _version, CASE WHEN _projections IS NULL THEN 0
                                   ELSE extract(EPOCH FROM max(appended.created)) * 1000000 END::BIGINT]
           || array_agg(appended.global_position)
      FROM appended INTO _result;
    RETURN _result;
END
$function$
        $create$, 'emt_append_in_' || _suffix, 'emt_streams_' || _suffix || '_active',
        'emt_messages_' || _suffix || '_active');
END
$$;

-- The same for a partition that the statement does not know beforehand.
CREATE OR REPLACE FUNCTION public.emt_append(
    stream_id          TEXT,
    stream_type        TEXT,
    partition          TEXT,
    expected_version   BIGINT,
    message_ids        TEXT[],
    message_types      TEXT[],
    message_kinds      TEXT[],
    schema_versions    TEXT[],
    messages_data      JSONB[],
    messages_metadata  JSONB[],
    find_repeated      BOOLEAN DEFAULT FALSE,
    projections        JSONB DEFAULT NULL
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _result BIGINT[];
BEGIN
    PERFORM public.emt_check_partition(emt_append.partition);
    EXECUTE format('SELECT public.%I($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)',
                   'emt_append_in_' || public.emt_table_suffix(emt_append.partition))
        INTO _result
        USING emt_append.stream_id, emt_append.stream_type, emt_append.partition, emt_append.expected_version,
              emt_append.message_ids, emt_append.message_types, emt_append.message_kinds, emt_append.schema_versions,
              emt_append.messages_data, emt_append.messages_metadata, emt_append.find_repeated, emt_append.projections;
    RETURN _result;
END
$$;

-- What an append must refuse or repeat after its upsert, or NULL when it may go on. Runs with the stream's row locked
-- and in statements of its own: their snapshots see what the writer that we waited for has committed. Takes the upsert
-- back where it has to. version is what the upsert returned: NULL where it changed nothing.
CREATE OR REPLACE FUNCTION public.emt_refusal(
    stream_id         TEXT,
    partition         TEXT,
    expected_version  BIGINT,
    version           BIGINT,
    count             INTEGER,
    message_ids       TEXT[],
    message_types     TEXT[],
    message_kinds     TEXT[],
    messages_data     JSONB[]
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _suffix TEXT := public.emt_table_suffix(emt_refusal.partition);
    _is_new BOOLEAN := emt_refusal.version IS NOT DISTINCT FROM emt_refusal.count;
    _repeated BIGINT[];
    _archived_version BIGINT;
    _actual_version BIGINT := 0;
BEGIN
    IF emt_refusal.message_ids IS NOT NULL AND NOT _is_new THEN
        _repeated := public.emt_find_repeated(
            emt_refusal.stream_id, emt_refusal.partition, emt_refusal.message_ids, emt_refusal.message_types,
            emt_refusal.message_kinds, emt_refusal.messages_data);
        IF _repeated IS NOT NULL THEN
            IF emt_refusal.version IS NOT NULL THEN
                EXECUTE format('UPDATE public.%I SET stream_position = stream_position - $2 WHERE stream_id = $1',
                               'emt_streams_' || _suffix || '_active')
                    USING emt_refusal.stream_id, emt_refusal.count;
            END IF;
            RETURN 3 || _repeated;
        END IF;
    END IF;

    IF emt_refusal.version IS NULL THEN
        EXECUTE format('SELECT stream_position FROM public.%I WHERE stream_id = $1',
                       'emt_streams_' || _suffix || '_active')
            INTO _actual_version USING emt_refusal.stream_id;
        RETURN ARRAY[1, _actual_version];
    END IF;
    IF NOT _is_new THEN
        RETURN NULL;
    END IF;

    -- Above READ COMMITTED, this statement's snapshot is as old as the transaction and may not show a stream that was
    -- archived meanwhile. The unique index knows: it answers an insert with a serialization error then.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        EXECUTE format($sql$
            WITH probe AS (
                INSERT INTO public.%1$I
                    (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
                VALUES ($1, 0, $2, '', '{}', TRUE)
                ON CONFLICT DO NOTHING
            )
            SELECT stream_position FROM public.%1$I WHERE stream_id = $1
            $sql$, 'emt_streams_' || _suffix || '_archived')
            INTO _archived_version USING emt_refusal.stream_id, emt_refusal.partition;
        EXECUTE format('DELETE FROM public.%I WHERE stream_id = $1 AND stream_position = 0',
                       'emt_streams_' || _suffix || '_archived')
            USING emt_refusal.stream_id;
    ELSIF (SELECT tenant.has_archived FROM public.emt_partitions AS tenant
            WHERE tenant.partition = emt_refusal.partition) THEN
        EXECUTE format('SELECT stream_position FROM public.%I WHERE stream_id = $1',
                       'emt_streams_' || _suffix || '_archived')
            INTO _archived_version USING emt_refusal.stream_id;
    END IF;
    IF _archived_version IS NULL AND coalesce(emt_refusal.expected_version, 0) = 0 THEN
        RETURN NULL;
    END IF;
    EXECUTE format('DELETE FROM public.%I WHERE stream_id = $1', 'emt_streams_' || _suffix || '_active')
        USING emt_refusal.stream_id;
    RETURN CASE WHEN _archived_version IS NULL THEN ARRAY[1, 0] ELSE ARRAY[2, _archived_version] END;
END
$$;

-- The version and global positions of an append that is being repeated; NULL when none of its message ids is in the
-- stream; raises SE020 when they are there with other content, another order, or only in part.
CREATE OR REPLACE FUNCTION public.emt_find_repeated(
    stream_id      TEXT,
    partition      TEXT,
    message_ids    TEXT[],
    message_types  TEXT[],
    message_kinds  TEXT[],
    messages_data  JSONB[]
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
    -- Where all of them are there, in this order and with nothing between, each is as far from its number as the others.
    EXECUTE format($sql$
        SELECT count(*),
               count(*) FILTER (WHERE stored.message_type = message.type AND stored.message_kind = message.kind
                                  AND stored.message_data = message.data),
               min(stored.stream_position - message.number), max(stored.stream_position - message.number),
               max(stored.stream_position), array_agg(stored.global_position ORDER BY message.number)
          FROM public.%I AS stored
          JOIN unnest($2, $3, $4, $5) WITH ORDINALITY AS message (id, type, kind, data, number)
            ON message.id = stored.message_id
         WHERE stored.stream_id = $1
        $sql$, 'emt_messages_' || public.emt_table_suffix(emt_find_repeated.partition) || '_active')
        INTO _found, _same, _lowest_shift, _highest_shift, _version, _positions
        USING emt_find_repeated.stream_id, emt_find_repeated.message_ids, emt_find_repeated.message_types,
              emt_find_repeated.message_kinds, emt_find_repeated.messages_data;
    IF _found = 0 THEN
        RETURN NULL;
    END IF;
    IF _same = cardinality(emt_find_repeated.message_ids) AND _same = _found AND _lowest_shift = _highest_shift THEN
        RETURN ARRAY[_version, 0] || _positions;
    END IF;
    RAISE EXCEPTION 'stream "%" already has messages with these message ids, but not the same messages',
        emt_find_repeated.stream_id
        USING ERRCODE = 'SE020', DETAIL = emt_find_repeated.stream_id,
              HINT = 'A message id names one message. Use new ids for new messages.';
END
$$;

-- Appends to several streams at once: all or nothing. Takes the streams in the order of their names, so that two calls
-- cannot deadlock. The messages of all streams stand in one list, message_counts tells how many belong to each.
-- Returns one row a stream: its number in the call, and what emt_append returned; after a refusal, that row alone
-- counts, and nothing is stored.
CREATE OR REPLACE FUNCTION public.emt_append_to_streams(
    stream_ids           TEXT[],
    stream_types         TEXT[],
    partition            TEXT,
    expected_versions    BIGINT[],
    message_counts       INTEGER[],
    message_ids          TEXT[],
    message_types        TEXT[],
    message_kinds        TEXT[],
    schema_versions      TEXT[],
    messages_data        JSONB[],
    messages_metadata    JSONB[],
    find_repeated        BOOLEAN DEFAULT FALSE,
    projections          JSONB DEFAULT NULL
) RETURNS TABLE (number INTEGER, result BIGINT[])
    LANGUAGE plpgsql
    AS $$
DECLARE
    _stream RECORD;
BEGIN
    FOR _stream IN
        SELECT stream.number AS number, stream.id, stream.type, stream.expected_version,
               sum(stream.count) OVER (ORDER BY stream.number) - stream.count + 1 AS first,
               sum(stream.count) OVER (ORDER BY stream.number) AS last
          FROM unnest(
                   emt_append_to_streams.stream_ids, emt_append_to_streams.stream_types,
                   emt_append_to_streams.expected_versions, emt_append_to_streams.message_counts)
               WITH ORDINALITY AS stream (id, type, expected_version, count, number)
         ORDER BY stream.id COLLATE "C", stream.number
    LOOP
        number := _stream.number;
        result := public.emt_append(
            _stream.id, _stream.type, emt_append_to_streams.partition, _stream.expected_version,
            emt_append_to_streams.message_ids[_stream.first:_stream.last],
            emt_append_to_streams.message_types[_stream.first:_stream.last],
            emt_append_to_streams.message_kinds[_stream.first:_stream.last],
            emt_append_to_streams.schema_versions[_stream.first:_stream.last],
            emt_append_to_streams.messages_data[_stream.first:_stream.last],
            emt_append_to_streams.messages_metadata[_stream.first:_stream.last],
            emt_append_to_streams.find_repeated, emt_append_to_streams.projections);
        RETURN NEXT;
        IF result[1] IN (1, 2) THEN
            -- Left by an exception, the block takes back what the streams before this one have stored. The code must not
            -- end in 000: that would catch its whole class, and so every other error of ours.
            RAISE EXCEPTION USING ERRCODE = 'SE040';
        END IF;
    END LOOP;
EXCEPTION WHEN SQLSTATE 'SE040' THEN
    RETURN;
END
$$;

-- Emmett's own signature and result, for its Node client. NULL as expected position is "any".
CREATE OR REPLACE FUNCTION public.emt_append_to_stream(
    v_message_ids               TEXT[],
    v_messages_data             JSONB[],
    v_messages_metadata         JSONB[],
    v_message_schema_versions   TEXT[],
    v_message_types             TEXT[],
    v_message_kinds             TEXT[],
    v_stream_id                 TEXT,
    v_stream_type               TEXT,
    v_expected_stream_position  BIGINT DEFAULT NULL,
    v_partition                 TEXT DEFAULT 'emt:default'
) RETURNS TABLE (success BOOLEAN, next_stream_position BIGINT, global_positions BIGINT[], transaction_id XID8)
    LANGUAGE plpgsql
    AS $$
DECLARE
    _result BIGINT[] := public.emt_append(
        v_stream_id, v_stream_type, v_partition, v_expected_stream_position, v_message_ids, v_message_types,
        v_message_kinds, v_message_schema_versions, v_messages_data, v_messages_metadata);
BEGIN
    success := _result[1] = 0;
    next_stream_position := _result[2];
    global_positions := CASE WHEN success THEN _result[4:] END;
    transaction_id := pg_current_xact_id();
    RETURN NEXT;
END
$$;


-------------------------------------------------------------------------------------------------------------- read

-- A part of a stream, of page_size messages at the most, each with the stream's version; one row without a message where
-- the stream exists and the part is empty. The settings leave one plan, the walk along the versions: for a stream that is
-- longer than most, the planner would read and sort all that is left of it for each page.
CREATE OR REPLACE FUNCTION public.emt_read_page(
    partition         TEXT,
    stream_id         TEXT,
    first             BIGINT,
    last              BIGINT,
    page_size         BIGINT,
    backwards         BOOLEAN,
    include_archived  BOOLEAN
) RETURNS TABLE (
    stream_version BIGINT, stream_position BIGINT, global_position BIGINT, message_id TEXT, message_type TEXT,
    message_kind VARCHAR(1), message_schema_version TEXT, created TIMESTAMPTZ, message_data JSONB,
    message_metadata JSONB
)
    LANGUAGE plpgsql
    SET enable_seqscan TO off
    SET enable_bitmapscan TO off
    SET enable_sort TO off
    SET max_parallel_workers_per_gather TO 0
    SET jit TO off
    AS $$
DECLARE
    _tables TEXT := public.emt_table_suffix(emt_read_page.partition)
                    || CASE WHEN emt_read_page.include_archived THEN '' ELSE '_active' END;
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT stream.stream_position, message.*
          FROM public.%I AS stream
          LEFT JOIN LATERAL (
                   SELECT stream_position, global_position, message_id, message_type, message_kind,
                          message_schema_version, created, message_data, message_metadata
                     FROM public.%I
                    WHERE stream_id = stream.stream_id AND stream_position BETWEEN $3 AND $4
                    ORDER BY stream_position %s
                    LIMIT $5
               ) AS message ON TRUE
         WHERE stream.stream_id = $1 AND stream.partition = $2
        $sql$, 'emt_streams_' || _tables, 'emt_messages_' || _tables,
        CASE WHEN emt_read_page.backwards THEN 'DESC' ELSE 'ASC' END)
        USING emt_read_page.stream_id, emt_read_page.partition, emt_read_page.first, emt_read_page.last,
              emt_read_page.page_size;
END
$$;


-------------------------------------------------------------------------------------------------------------- feed

-- Raises SE005 for a partition that does not exist, or no longer: its name may give the table names of another one.
CREATE OR REPLACE FUNCTION public.emt_check_partition(partition TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM public.emt_partitions AS tenant
                    WHERE tenant.partition = emt_check_partition.partition) THEN
        RAISE EXCEPTION 'there is no tenant "%"', emt_check_partition.partition USING ERRCODE = 'SE005';
    END IF;
END
$$;

-- How far the partition's feed can be read: {horizon, head}. No transaction that is still open, and none that begins
-- later, will ever add a message at or below the horizon. head is the last position drawn so far by anybody.
-- The messages must be read by a later statement: its snapshot sees every commit that this one has waited for.
CREATE OR REPLACE FUNCTION public.emt_horizon(partition TEXT, after BIGINT) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _head BIGINT;
    _lowest BIGINT;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'the feed cannot be read from a standby: it does not show which appends are still open'
            USING ERRCODE = 'SE002', HINT = 'Connect to the primary server.';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the feed cannot be read at isolation level "%"', current_setting('transaction_isolation')
            USING ERRCODE = 'SE001', HINT = 'Read it at READ COMMITTED: an older snapshot would skip messages.';
    END IF;
    PERFORM public.emt_check_partition(emt_horizon.partition);

    -- This value first, then the locks: whoever owns a position at or below it has taken its lock before.
    _head := pg_sequence_last_value('public.emt_global_message_position'::REGCLASS);
    IF _head IS NULL THEN
        SELECT last_value - (NOT is_called)::INTEGER INTO _head FROM public.emt_global_message_position;
    END IF;
    IF _head < emt_horizon.after THEN
        RAISE EXCEPTION 'the sequence emt_global_message_position is at %, behind the position % that was read before',
            _head, emt_horizon.after
            USING ERRCODE = 'SE003',
                  HINT = 'Was the database restored? Set the sequence beyond the last position, or reset the reader.';
    END IF;
    IF _head = emt_horizon.after THEN
        RETURN ARRAY[_head, _head];
    END IF;

    -- The lock holds the low 32 bits of a position near _head, below or above: a signed difference rebuilds it.
    -- classid is unsigned: compared as an integer, no negative class would ever be found.
    SELECT min(_head + (((objid::BIGINT - (_head & 4294967295)) + 6442450944) & 4294967295) - 2147483648)
      INTO _lowest
      FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND mode = 'ShareLock'
       AND classid IN (public.emt_fence_class(emt_horizon.partition)::OID, public.emt_fence_class(NULL)::OID)
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    RETURN ARRAY[least(_head, _lowest), _head];
END
$$;


-- Creates a partition's own function for its feed, emt_feed_in_emt_default and so on: the first messages after one position
-- and up to another; of these types, or of all. is_readable: up_to is known to be at or below a horizon. Else the horizon is
-- asked first, and is where the page ends; the first row tells it and the head, and has no message. Active and archived
-- ones: a move between the two must not hide one.
-- It names the tables, so that its plan is made once a session: a reader that waits for news has most of its time from it.
-- The settings leave one plan, the walk along the positions: without statistics, or with rare types, the planner would read
-- and sort all that is left of the feed for each page.
CREATE OR REPLACE FUNCTION public.emt_create_feed(partition TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _suffix TEXT := public.emt_table_suffix(emt_create_feed.partition);
BEGIN
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION public.%1$I(
    _partition    TEXT,
    _after        BIGINT,
    _up_to        BIGINT,
    _is_readable  BOOLEAN,
    _page_size    BIGINT,
    _types        TEXT[]
) RETURNS TABLE (
    horizon BIGINT, head BIGINT,
    stream_id TEXT, stream_position BIGINT, global_position BIGINT, message_id TEXT, message_type TEXT,
    message_kind VARCHAR(1), message_schema_version TEXT, created TIMESTAMPTZ, message_data JSONB,
    message_metadata JSONB
)
    LANGUAGE plpgsql
    SET enable_seqscan TO off
    SET enable_bitmapscan TO off
    SET enable_sort TO off
    SET max_parallel_workers_per_gather TO 0
    SET jit TO off
    SET plan_cache_mode TO force_generic_plan
    AS $function$
#variable_conflict use_column
DECLARE
    _horizon BIGINT[];
    _end BIGINT := _up_to;
BEGIN
    IF NOT _is_readable THEN
        _horizon := public.emt_horizon(_partition, _after);
        horizon := _horizon[1];
        head := _horizon[2];
        RETURN NEXT;
        _end := least(_up_to, _horizon[1]);
    END IF;
    IF _end > _after THEN
        -- A statement of its own: its snapshot sees what the horizon has waited for. The types are looked at above the
        -- merge of the two sides: else each page would search all of one side for them.
        RETURN QUERY
            SELECT NULL::BIGINT, NULL::BIGINT, message.* FROM (
                SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind,
                       message_schema_version, created, message_data, message_metadata
                  FROM public.%2$I
                 WHERE global_position > _after AND global_position <= _end
                 ORDER BY global_position
                OFFSET 0
            ) AS message
             WHERE _types IS NULL OR message_type = ANY (_types)
             ORDER BY global_position
             LIMIT _page_size;
    END IF;
END
$function$
        $create$, 'emt_feed_in_' || _suffix, 'emt_messages_' || _suffix);
END
$$;

-- How many messages of the partition stand behind a position, counted up to most, and when the first of them was stored.
-- Open appends are not counted. The settings leave the walk along the positions: without statistics, the planner would
-- read the whole feed for a reader that is at its end.
CREATE OR REPLACE FUNCTION public.emt_lag(partition TEXT, after BIGINT, most BIGINT)
    RETURNS TABLE (messages BIGINT, oldest TIMESTAMPTZ)
    LANGUAGE plpgsql
    SET enable_seqscan TO off
    SET enable_bitmapscan TO off
    SET enable_sort TO off
    SET max_parallel_workers_per_gather TO 0
    SET jit TO off
    AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT (SELECT count(*) FROM (SELECT FROM public.%1$I WHERE global_position > $1 LIMIT $2) AS behind),
               (SELECT created FROM public.%1$I WHERE global_position > $1 ORDER BY global_position LIMIT 1)
        $sql$, 'emt_messages_' || public.emt_table_suffix(emt_lag.partition))
        USING emt_lag.after, emt_lag.most;
END
$$;


----------------------------------------------------------------------------------------------------------- archive

-- Moves a stream and its messages between the active and the archived tables. Returns its version; NULL where there is
-- no such stream on the side it should come from. Locks the stream's row first, by deleting it; the messages follow in
-- a later statement, whose snapshot sees those of an append that we waited for. (An UPDATE of is_archived would make
-- appends that wait for the row fail.) Positions are kept, and the feed reads both sides, so it never misses one.
CREATE OR REPLACE FUNCTION public.emt_move_stream(stream_id TEXT, partition TEXT, to_archive BOOLEAN) RETURNS BIGINT
    LANGUAGE plpgsql
    AS $$
DECLARE
    _suffix TEXT := public.emt_table_suffix(emt_move_stream.partition);
    _source TEXT := CASE WHEN emt_move_stream.to_archive THEN '_active' ELSE '_archived' END;
    _target TEXT := CASE WHEN emt_move_stream.to_archive THEN '_archived' ELSE '_active' END;
    _version BIGINT;
BEGIN
    PERFORM public.emt_check_partition(emt_move_stream.partition);
    IF emt_move_stream.to_archive THEN
        UPDATE public.emt_partitions AS tenant
           SET has_archived = TRUE
         WHERE tenant.partition = emt_move_stream.partition AND NOT tenant.has_archived;
    END IF;
    EXECUTE format($sql$
        WITH moved AS (
            DELETE FROM public.%I WHERE stream_id = $1
            RETURNING stream_id, stream_position, partition, stream_type, stream_metadata
        )
        INSERT INTO public.%I (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
        SELECT stream_id, stream_position, partition, stream_type, stream_metadata, $2 FROM moved
        RETURNING stream_position
        $sql$, 'emt_streams_' || _suffix || _source, 'emt_streams_' || _suffix || _target)
        INTO _version USING emt_move_stream.stream_id, emt_move_stream.to_archive;
    IF _version IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format($sql$
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
        USING emt_move_stream.stream_id, emt_move_stream.to_archive;
    RETURN _version;
END
$$;


----------------------------------------------------------------------------------------------------------- tenants

-- Creates the tables of a partition and attaches them. They are built first and attached last: CREATE TABLE ..
-- PARTITION OF would wait for every open append and read, and everybody else would queue behind it; ATTACH does not.
-- Raises SE004 for a name that gives no table name, or the table name of another partition.
CREATE OR REPLACE FUNCTION public.emt_create_partition(partition TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    _suffix TEXT := public.emt_table_suffix(emt_create_partition.partition);
    _other TEXT;
    _table TEXT;
BEGIN
    -- emt_messages_ and _archived leave 41 of the 63 bytes that a table's name may have.
    IF length(_suffix) NOT BETWEEN 1 AND 41 THEN
        RAISE EXCEPTION 'a tenant''s name must have 1 to 41 characters, "%" has %', emt_create_partition.partition,
            length(_suffix) USING ERRCODE = 'SE004';
    END IF;
    -- emt_streams_shop_active would be the tables of tenant "shop_active", and a leaf table of tenant "shop".
    IF _suffix ~ '_(active|archived)$' THEN
        RAISE EXCEPTION 'a tenant''s name must not end with _active or _archived, as "%" does',
            emt_create_partition.partition USING ERRCODE = 'SE004';
    END IF;
    INSERT INTO public.emt_partitions (partition, table_suffix)
    VALUES (emt_create_partition.partition, _suffix)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT tenant.partition INTO _other FROM public.emt_partitions AS tenant WHERE tenant.table_suffix = _suffix;
        IF _other IS DISTINCT FROM emt_create_partition.partition THEN
            RAISE EXCEPTION 'tenant "%" would have the table names of tenant "%"', emt_create_partition.partition, _other
                USING ERRCODE = 'SE004', HINT = 'Letters, digits and _ tell tables apart; other characters do not.';
        END IF;
        RETURN FALSE;
    END IF;

    FOREACH _table IN ARRAY ARRAY['emt_streams', 'emt_messages'] LOOP
        PERFORM public.emt_attach_partition(
            _table, _table || '_' || _suffix, emt_create_partition.partition, ' PARTITION BY LIST (is_archived)');
        -- Room in the page lets an append update the stream's row without touching its index.
        EXECUTE format('CREATE TABLE IF NOT EXISTS public.%I PARTITION OF public.%I FOR VALUES IN (FALSE) %s',
                       _table || '_' || _suffix || '_active', _table || '_' || _suffix,
                       CASE _table WHEN 'emt_streams' THEN 'WITH (fillfactor = 80)' ELSE '' END);
        EXECUTE format('CREATE TABLE IF NOT EXISTS public.%I PARTITION OF public.%I FOR VALUES IN (TRUE)',
                       _table || '_' || _suffix || '_archived', _table || '_' || _suffix);
        PERFORM public.emt_copy_grants(_table, _table || '_' || _suffix);
        PERFORM public.emt_copy_grants(_table, _table || '_' || _suffix || '_active');
        PERFORM public.emt_copy_grants(_table, _table || '_' || _suffix || '_archived');
    END LOOP;
    FOREACH _table IN ARRAY ARRAY['emt_subscriptions', 'emt_projections'] LOOP
        PERFORM public.emt_attach_partition(_table, _table || '_' || _suffix, emt_create_partition.partition, '');
        PERFORM public.emt_copy_grants(_table, _table || '_' || _suffix);
    END LOOP;
    PERFORM public.emt_create_append(emt_create_partition.partition);
    PERFORM public.emt_create_feed(emt_create_partition.partition);
    RETURN TRUE;
END
$$;

CREATE OR REPLACE FUNCTION public.emt_attach_partition(parent TEXT, child TEXT, partition TEXT, partitioned_by TEXT)
    RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _attached OID;
    _is_own BOOLEAN;
BEGIN
    SELECT inhrelid INTO _attached FROM pg_inherits
     WHERE inhrelid = to_regclass(format('public.%I', emt_attach_partition.child));
    IF FOUND THEN
        -- A tenant that was removed has left it. It takes the rows of that tenant's name and of no other.
        EXECUTE format('SELECT %s FROM (SELECT $1 AS partition) AS tenant', pg_get_partition_constraintdef(_attached))
            INTO _is_own USING emt_attach_partition.partition;
        IF NOT _is_own THEN
            RAISE EXCEPTION 'tenant "%" would have the table names of another tenant, which was removed',
                emt_attach_partition.partition
                USING ERRCODE = 'SE004', HINT = 'Letters, digits and _ tell tables apart; other characters do not.';
        END IF;
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)%s',
                   emt_attach_partition.child, emt_attach_partition.parent, emt_attach_partition.partitioned_by);
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES IN (%L)',
                   emt_attach_partition.parent, emt_attach_partition.child, emt_attach_partition.partition);
END
$$;

-- Removes a partition with everything in it; FALSE where there is none. Drops the tables that hold its rows, which waits
-- for its own open transactions only. The empty parents of those tables stay attached: detaching them, concurrently or
-- not, would wait for the appends of all other tenants. A tenant that is added again under the name uses them.
CREATE OR REPLACE FUNCTION public.emt_drop_partition(partition TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    _suffix TEXT := public.emt_table_suffix(emt_drop_partition.partition);
    _table TEXT;
BEGIN
    IF emt_drop_partition.partition = 'emt:default' THEN
        RAISE EXCEPTION 'the default partition cannot be removed' USING ERRCODE = 'SE004';
    END IF;
    DELETE FROM public.emt_partitions AS tenant WHERE tenant.partition = emt_drop_partition.partition;
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    EXECUTE format('DROP FUNCTION public.%I', 'emt_append_in_' || _suffix);
    EXECUTE format('DROP FUNCTION public.%I', 'emt_feed_in_' || _suffix);
    FOREACH _table IN ARRAY ARRAY['emt_streams', 'emt_messages'] LOOP
        EXECUTE format('DROP TABLE public.%I, public.%I',
                       _table || '_' || _suffix || '_active', _table || '_' || _suffix || '_archived');
    END LOOP;
    FOREACH _table IN ARRAY ARRAY['emt_subscriptions', 'emt_projections'] LOOP
        EXECUTE format('DELETE FROM public.%I', _table || '_' || _suffix);
    END LOOP;
    DELETE FROM public.emt_imports AS import WHERE import.partition = emt_drop_partition.partition;
    DELETE FROM public.emt_processor_slots AS slot WHERE slot.partition = emt_drop_partition.partition;
    DELETE FROM public.emt_parked_messages AS parked WHERE parked.partition = emt_drop_partition.partition;
    DELETE FROM public.emt_rebuild_requests AS request WHERE request.partition = emt_drop_partition.partition;
    PERFORM public.emt_end_rebuild(rebuild.id)
       FROM public.emt_rebuilds AS rebuild WHERE rebuild.partition = emt_drop_partition.partition;
    PERFORM public.emt_delete_documents(emt_drop_partition.partition);
    RETURN TRUE;
END
$$;

-- Emmett's names for the two above; its migrations may replace them, so they hold no logic.
CREATE OR REPLACE FUNCTION public.emt_sanitize_name(input_name TEXT) RETURNS TEXT
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN public.emt_table_suffix(input_name);
END
$$;

CREATE OR REPLACE FUNCTION public.emt_add_partition(partition_name TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM public.emt_create_partition(partition_name);
END
$$;


------------------------------------------------------------------------------------------------------- projections

-- The advisory lock of a partition's inline projections: appends hold it shared, whoever replaces a read model exclusively.
CREATE OR REPLACE FUNCTION public.emt_projections_lock(partition TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT hashtextextended('public' || '.projections/' || emt_projections_lock.partition, 0) $$;

-- Keeps emt_partitions.inline_versions, whoever changes emt_projections. Runs as the owner: a writer may register its
-- projections, but not change the row of a partition. Each change stands for itself, so concurrent ones add up.
CREATE OR REPLACE FUNCTION public.emt_note_projection() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _projection public.emt_projections;
    _is_active BOOLEAN := TG_OP <> 'DELETE';
BEGIN
    _projection := CASE WHEN _is_active THEN NEW ELSE OLD END;
    _is_active := _is_active AND _projection.type = 'i' AND _projection.status = 'active';
    UPDATE public.emt_partitions AS tenant
       SET inline_versions = CASE
               WHEN _is_active THEN inline_versions || jsonb_build_object(_projection.name, _projection.version)
               ELSE inline_versions - _projection.name
           END
     WHERE tenant.partition = _projection.partition
       AND (inline_versions -> _projection.name = to_jsonb(_projection.version)) IS DISTINCT FROM _is_active
       AND (_is_active OR inline_versions -> _projection.name = to_jsonb(_projection.version));
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS emt_note_projection ON public.emt_projections;
CREATE TRIGGER emt_note_projection
    AFTER INSERT OR UPDATE OR DELETE ON public.emt_projections
    FOR EACH ROW EXECUTE FUNCTION public.emt_note_projection();

-- Holds the inline projections of an append in place until it ends, and checks that the caller's code is of the active
-- versions. Looks after the lock, in a statement of its own: a version may have changed while we waited.
CREATE OR REPLACE FUNCTION public.emt_share_projections(partition TEXT, projections JSONB) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
DECLARE
    _held BOOLEAN := pg_advisory_xact_lock_shared(
        public.emt_projections_lock(emt_share_projections.partition)) IS NOT NULL;
    _active BOOLEAN;
BEGIN
    -- Above READ COMMITTED, the snapshot is older than the lock; a row lock fails where the row has changed since.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        EXECUTE format('SELECT FROM public.%I WHERE $1 ? name FOR SHARE',
                       'emt_projections_' || public.emt_table_suffix(emt_share_projections.partition))
            USING emt_share_projections.projections;
    END IF;
    SELECT tenant.inline_versions @> emt_share_projections.projections INTO _active
      FROM public.emt_partitions AS tenant WHERE tenant.partition = emt_share_projections.partition;
    IF _active IS NOT TRUE THEN
        PERFORM public.emt_refuse_projections(emt_share_projections.partition, emt_share_projections.projections);
    END IF;
    RETURN TRUE;
END
$$;

-- Says which of these inline projections is not the active one, and why.
CREATE OR REPLACE FUNCTION public.emt_refuse_projections(partition TEXT, projections JSONB) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _name TEXT;
    _version INTEGER;
    _active INTEGER;
    _status TEXT;
BEGIN
    PERFORM public.emt_check_partition(emt_refuse_projections.partition);
    SELECT projection.key, projection.value, (tenant.inline_versions ->> projection.key)::INTEGER
      INTO _name, _version, _active
      FROM public.emt_partitions AS tenant, jsonb_each(emt_refuse_projections.projections) AS projection
     WHERE tenant.partition = emt_refuse_projections.partition
       AND (tenant.inline_versions -> projection.key) IS DISTINCT FROM projection.value
     LIMIT 1;
    IF _active IS NOT NULL THEN
        RAISE EXCEPTION 'inline projection "%": this program has version %, the active one is %',
            _name, _version, _active USING ERRCODE = 'SE010';
    END IF;
    EXECUTE format('SELECT status FROM public.%I WHERE name = $1 AND version = $2',
                   'emt_projections_' || public.emt_table_suffix(emt_refuse_projections.partition))
        INTO _status USING _name, _version;
    IF _status IS NULL THEN
        RAISE EXCEPTION 'inline projection "%" is not registered', _name USING ERRCODE = 'SE011';
    END IF;
    RAISE EXCEPTION 'inline projection "%" is %: its read model is not kept', _name, _status
        USING ERRCODE = 'SE012', HINT = 'Rebuild it, then append again.';
END
$$;

-- Registers a projection; where none of its name is active yet, this version becomes the active one.
CREATE OR REPLACE FUNCTION public.emt_register(
    partition   TEXT,
    name        TEXT,
    version     INTEGER,
    type        TEXT,
    kind        TEXT,
    definition  JSONB
) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM public.emt_check_partition(emt_register.partition);
    -- Two programs that start together must not both find none active.
    PERFORM pg_advisory_xact_lock(hashtextextended('public' || '.register/' || emt_register.partition || '/'
                                                            || emt_register.name, 0));
    -- Its events would be counted twice.
    IF EXISTS (SELECT FROM public.emt_projections AS other
                WHERE other.partition = emt_register.partition AND other.name = emt_register.name
                  AND other.type <> emt_register.type) THEN
        RAISE EXCEPTION 'projection "%" is kept %', emt_register.name,
            CASE emt_register.type WHEN 'i' THEN 'by a consumer, so it cannot be inline'
                                   ELSE 'inline, so no consumer can keep it' END
            USING ERRCODE = 'SE013', HINT = 'Give one of them another name.';
    END IF;
    INSERT INTO public.emt_projections AS projection (version, type, name, partition, kind, status, definition)
    SELECT emt_register.version, emt_register.type, emt_register.name, emt_register.partition, emt_register.kind,
           CASE WHEN EXISTS (SELECT FROM public.emt_projections AS other
                              WHERE other.partition = emt_register.partition AND other.name = emt_register.name)
                THEN 'inactive' ELSE 'active' END,
           emt_register.definition
    ON CONFLICT (name, partition, version) DO UPDATE
        SET definition = EXCLUDED.definition, last_updated = now()
        WHERE projection.definition IS DISTINCT FROM EXCLUDED.definition;
END
$$;


--------------------------------------------------------------------------------------------------------- consumers

-- The advisory lock of whoever gives a processor its slots, or a position from which they all go on.
CREATE OR REPLACE FUNCTION public.emt_processor_lock(partition TEXT, name TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT hashtextextended('public' || '.processor/' || emt_processor_lock.partition || '/' || emt_processor_lock.name, 0)
    $$;

-- The slot rows of a processor that has none, at the position where it begins: where Emmett or an earlier version of the
-- library left a checkpoint, that, else start. Returns how many slots it has: that number stays as it was first chosen,
-- because it decides which worker sees a stream. One that has failed may be run again. Raises SE010 where it is a
-- projection of which another version is the active one: both would write into one read model.
CREATE OR REPLACE FUNCTION public.emt_register_processor(
    partition  TEXT,
    name       TEXT,
    version    INTEGER,
    slots      INTEGER,
    start      BIGINT
) RETURNS INTEGER
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    _active INTEGER;
    _slots INTEGER;
    _start BIGINT;
BEGIN
    PERFORM public.emt_check_partition(emt_register_processor.partition);
    -- Two programs that start together must not both find none, and the switch of a rebuild must not be overlooked.
    PERFORM pg_advisory_xact_lock(
        public.emt_processor_lock(emt_register_processor.partition, emt_register_processor.name));
    SELECT projection.version INTO _active FROM public.emt_projections AS projection
     WHERE projection.partition = emt_register_processor.partition AND projection.name = emt_register_processor.name
       AND projection.type = 'a' AND projection.status = 'active';
    IF _active <> emt_register_processor.version THEN
        RAISE EXCEPTION 'projection "%": this program has version %, the active one is %', emt_register_processor.name,
            emt_register_processor.version, _active
            USING ERRCODE = 'SE010', HINT = 'Rebuild it with this program, or give it another name.';
    END IF;
    UPDATE public.emt_processor_slots AS slot
       SET status = 'active', last_error = NULL, updated_at = now()
     WHERE slot.partition = emt_register_processor.partition AND slot.processor = emt_register_processor.name
       AND slot.version = emt_register_processor.version AND slot.status = 'failed';
    SELECT count(*) INTO _slots FROM public.emt_processor_slots AS slot
     WHERE slot.partition = emt_register_processor.partition AND slot.processor = emt_register_processor.name
       AND slot.version = emt_register_processor.version;
    IF _slots > 0 THEN
        RETURN _slots;
    END IF;
    INSERT INTO public.emt_subscriptions AS subscription (subscription_id, version, partition, last_processed_position)
    VALUES (emt_register_processor.name, emt_register_processor.version, emt_register_processor.partition,
            emt_register_processor.start)
    ON CONFLICT (subscription_id, partition, version) DO UPDATE
        SET last_updated = now()
    RETURNING last_processed_position INTO _start;
    INSERT INTO public.emt_processor_slots (partition, processor, version, slot, position)
    SELECT emt_register_processor.partition, emt_register_processor.name, emt_register_processor.version, number, _start
      FROM generate_series(0, emt_register_processor.slots - 1) AS number;
    RETURN emt_register_processor.slots;
END
$$;

-- Raises the epoch of slots: their holder commits nothing more. Nothing else raises it. Without a version, of all; without
-- numbers, all slots.
CREATE OR REPLACE FUNCTION public.emt_slot_raise_epoch(
    _partition  TEXT,
    _processor  TEXT,
    _version    INTEGER,
    _slots      INTEGER[]
) RETURNS VOID
    LANGUAGE sql
    AS $$
    UPDATE public.emt_processor_slots AS slot
       SET epoch = slot.epoch + 1
     WHERE slot.partition = _partition AND slot.processor = _processor
       AND (_version IS NULL OR slot.version = _version) AND (_slots IS NULL OR slot.slot = ANY (_slots))
    $$;

-- Makes the slots of a holder free, or only those that are wanted. Nothing else does. Without a version, of all; without a
-- worker, of all of the owner's. wanted_by stays: no worker but that one takes the slot before wanted_until. A holder that
-- gives a slot back is alive, so its attempt at a message is no longer counted; those of other holders are.
CREATE OR REPLACE FUNCTION public.emt_slot_release(
    _partition    TEXT,
    _processor    TEXT,
    _version      INTEGER,
    _owner        TEXT,
    _worker       INTEGER,
    _only_wanted  BOOLEAN
) RETURNS VOID
    LANGUAGE sql
    AS $$
    UPDATE public.emt_processor_slots AS slot
       SET owner = NULL, worker = NULL, expires_at = NULL, crashes = 0,
           attempted = CASE WHEN slot.attempt_epoch = slot.epoch THEN NULL ELSE slot.attempted END,
           attempts = CASE WHEN slot.attempt_epoch = slot.epoch THEN 0 ELSE slot.attempts END
     WHERE slot.partition = _partition AND slot.processor = _processor AND slot.owner = _owner
       AND (_version IS NULL OR slot.version = _version) AND (_worker IS NULL OR slot.worker = _worker)
       AND (NOT _only_wanted OR slot.wanted_until > clock_timestamp())
    $$;

-- Gives a worker its fair share of a processor's slots: the free ones, and those whose holder has not renewed its lease in
-- time. Where others hold more than their share, asks them for it. Returns all slots that the worker holds then. A holder
-- that was paused may still have a row locked, in a transaction that it will never finish: that session is ended. Counts how
-- often a lease ran out at the position at which it was taken: the message after it has ended the process. The times are the
-- server's.
CREATE OR REPLACE FUNCTION public.emt_slot_take(
    _partition  TEXT,
    _processor  TEXT,
    _version    INTEGER,
    _owner      TEXT,
    _worker     INTEGER,
    _lease      INTERVAL
) RETURNS TABLE (slot INTEGER, "position" BIGINT, epoch BIGINT, crashes INTEGER)
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    _self TEXT := _owner || '/' || _worker;
    _now TIMESTAMPTZ := clock_timestamp();
    _all INTEGER;
    _others INTEGER;
    _mine INTEGER;
    _share INTEGER;
    _free INTEGER[];
    _locker INTEGER;
BEGIN
    SELECT count(*), count(*) FILTER (WHERE held.owner = _owner AND held.worker = _worker),
           (SELECT count(DISTINCT other.name)
              FROM public.emt_processor_slots AS shared,
                   LATERAL (VALUES (shared.owner || '/' || shared.worker, shared.expires_at),
                                   (shared.wanted_by, shared.wanted_until)) AS other (name, until)
             WHERE shared.partition = _partition AND shared.processor = _processor AND shared.version = _version
               AND other.until > _now AND other.name <> _self)
      INTO _all, _mine, _others
      FROM public.emt_processor_slots AS held
     WHERE held.partition = _partition AND held.processor = _processor AND held.version = _version;
    _share := ceil(_all / (_others + 1.0));

    IF _mine < _share THEN
        FOR _locker IN
            SELECT DISTINCT lock.pid
              FROM public.emt_processor_slots AS held
              JOIN pg_locks AS lock
                ON lock.locktype = 'transactionid' AND lock.mode = 'ExclusiveLock' AND lock.granted
               AND lock.transactionid = held.xmax
             WHERE held.partition = _partition AND held.processor = _processor AND held.version = _version
               AND held.expires_at <= _now AND lock.pid <> pg_backend_pid()
        LOOP
            BEGIN
                PERFORM pg_terminate_backend(_locker);
            EXCEPTION WHEN insufficient_privilege THEN
                -- Another role's session: its own timeout ends it.
                NULL;
            END;
        END LOOP;
        _free := ARRAY(
            SELECT held.slot
              FROM public.emt_processor_slots AS held
             WHERE held.partition = _partition AND held.processor = _processor AND held.version = _version
               AND held.status = 'active'
               AND (held.owner IS NULL OR held.expires_at <= _now)
               AND (held.wanted_by IS NULL OR held.wanted_by = _self OR held.wanted_until <= _now)
             ORDER BY held.slot
             LIMIT _share - _mine
               FOR UPDATE SKIP LOCKED);
        PERFORM public.emt_slot_raise_epoch(_partition, _processor, _version, _free);
        UPDATE public.emt_processor_slots AS taken
           SET owner = _owner,
               worker = _worker,
               taken_at = _now,
               expires_at = _now + _lease,
               crashes = CASE WHEN taken.owner IS NOT NULL AND taken.taken_position = taken.position
                              THEN taken.crashes + 1 ELSE 0 END,
               taken_position = taken.position,
               wanted_by = NULL,
               wanted_until = NULL
         WHERE taken.partition = _partition AND taken.processor = _processor AND taken.version = _version
           AND taken.slot = ANY (_free);
        _mine := _mine + cardinality(_free);
    END IF;

    IF _mine < _all / (_others + 1) THEN
        UPDATE public.emt_processor_slots AS asked
           SET wanted_by = _self, wanted_until = _now + _lease
          FROM (SELECT spare.slot
                  FROM (SELECT held.slot,
                               row_number() OVER (PARTITION BY held.owner, held.worker ORDER BY held.slot) AS number
                          FROM public.emt_processor_slots AS held
                         WHERE held.partition = _partition AND held.processor = _processor AND held.version = _version
                           AND held.expires_at > _now AND held.owner || '/' || held.worker <> _self) AS spare
                 WHERE spare.number > _share
                 ORDER BY spare.number DESC
                 LIMIT _all / (_others + 1) - _mine) AS spare
         WHERE asked.partition = _partition AND asked.processor = _processor AND asked.version = _version
           AND asked.slot = spare.slot
           AND (asked.wanted_by IS NULL OR asked.wanted_until <= _now);
    END IF;

    RETURN QUERY
        SELECT held.slot, held.position, held.epoch, held.crashes
          FROM public.emt_processor_slots AS held
         WHERE held.partition = _partition AND held.processor = _processor AND held.version = _version
           AND held.owner = _owner AND held.worker = _worker
         ORDER BY held.slot;
END
$$;

-- Takes all slots of a processor, of all versions, from their holders: for the switch of a rebuild. A switch that dies
-- leaves them free after five minutes. Without taken_position, their position is not blamed for that.
CREATE OR REPLACE FUNCTION public.emt_slot_hold(_partition TEXT, _processor TEXT, _owner TEXT) RETURNS VOID
    LANGUAGE sql
    AS $$
    SELECT public.emt_slot_raise_epoch(_partition, _processor, NULL, NULL);
    UPDATE public.emt_processor_slots AS slot
       SET owner = _owner, worker = 0, taken_at = clock_timestamp(),
           expires_at = clock_timestamp() + INTERVAL '5 minutes', taken_position = NULL,
           wanted_by = NULL, wanted_until = NULL
     WHERE slot.partition = _partition AND slot.processor = _processor;
    $$;

-- Sets all slots of a processor to a position, and clears its failures, crashes and attempts. The holders stay, and go on
-- from there. Returns how many slots it has.
CREATE OR REPLACE FUNCTION public.emt_slot_reset(
    _partition  TEXT,
    _processor  TEXT,
    _version    INTEGER,
    _position   BIGINT
) RETURNS BIGINT
    LANGUAGE sql
    AS $$
    SELECT public.emt_slot_raise_epoch(_partition, _processor, _version, NULL);
    WITH reset AS (
        UPDATE public.emt_processor_slots AS slot
           SET position = _position, taken_position = NULL, crashes = 0, attempted = NULL, attempts = 0,
               status = 'active', last_error = NULL, updated_at = now()
         WHERE slot.partition = _partition AND slot.processor = _processor AND slot.version = _version
        RETURNING slot.slot
    )
    SELECT count(*) FROM reset;
    $$;

-- Those of the partitions in which a worker holds a slot, and so listens. clock_timestamp, which is volatile, makes the plan
-- look into the index once for each partition, whatever the planner believes.
CREATE OR REPLACE FUNCTION public.emt_slots_listening(_partitions TEXT[]) RETURNS SETOF TEXT
    LANGUAGE sql STABLE
    AS $$
    SELECT listening.partition
      FROM unnest(_partitions) AS listening (partition)
     WHERE EXISTS (SELECT FROM public.emt_processor_slots AS slot
                    WHERE slot.partition = listening.partition AND slot.expires_at > clock_timestamp())
    $$;


---------------------------------------------------------------------------------------------------------- rebuilds

-- The advisory lock of whoever rebuilds a projection: one at a time.
CREATE OR REPLACE FUNCTION public.emt_rebuild_lock(partition TEXT, name TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT hashtextextended('public' || '.rebuild/' || emt_rebuild_lock.partition || '/' || emt_rebuild_lock.name, 0)
    $$;

-- The role that called a function which runs as the owner.
CREATE OR REPLACE FUNCTION public.emt_caller() RETURNS TEXT
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE current_setting('role') WHEN 'none' THEN session_user::TEXT ELSE current_setting('role') END
    $$;

-- A writer may rebuild its read models without owning the schema: the functions that create and drop tables for that
-- run as the owner, and everybody could call them.
CREATE OR REPLACE FUNCTION public.emt_require_writer() RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NOT has_table_privilege(public.emt_caller(), 'public.emt_projections', 'UPDATE') THEN
        RAISE EXCEPTION 'role "%" may not rebuild projections', public.emt_caller()
            USING ERRCODE = '42501', HINT = 'It needs the access of a writer: see emt_grant.';
    END IF;
END
$$;

-- Creates an empty table like another one, with its indexes and grants, which the caller may write. What numbers the rows
-- of the other one also numbers those of the copy, so that it goes on behind them when they have moved there.
CREATE OR REPLACE FUNCTION public.emt_create_like(source TEXT, target TEXT, unlogged BOOLEAN) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _column NAME;
BEGIN
    EXECUTE format('CREATE %s TABLE public.%I (LIKE public.%I INCLUDING ALL EXCLUDING IDENTITY)',
                   CASE WHEN emt_create_like.unlogged THEN 'UNLOGGED' END, emt_create_like.target,
                   emt_create_like.source);
    FOR _column IN
        SELECT attname FROM pg_attribute
         WHERE attrelid = to_regclass(format('public.%I', emt_create_like.source)) AND attidentity <> ''
    LOOP
        EXECUTE format('ALTER TABLE public.%I ALTER COLUMN %I SET DEFAULT nextval(%L::REGCLASS)', emt_create_like.target,
                       _column, pg_get_serial_sequence(format('public.%I', emt_create_like.source), _column));
    END LOOP;
    PERFORM public.emt_copy_grants(emt_create_like.source, emt_create_like.target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON public.%I TO %I', emt_create_like.target,
                   public.emt_caller());
END
$$;

-- Begins a rebuild: creates an empty table beside each of the read model's, and removes what an earlier rebuild has left.
-- Returns its id. The caller holds emt_rebuild_lock, so nobody else is at it. The tables are not logged: a crash of the
-- server ends that lock, too, and with it the rebuild.
CREATE OR REPLACE FUNCTION public.emt_begin_rebuild(partition TEXT, name TEXT, version INTEGER, tables TEXT[])
    RETURNS BIGINT
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s'
    AS $$
DECLARE
    _id BIGINT;
BEGIN
    PERFORM public.emt_require_writer();
    PERFORM public.emt_check_partition(emt_begin_rebuild.partition);
    PERFORM public.emt_end_rebuild(rebuild.id)
       FROM public.emt_rebuilds AS rebuild
      WHERE rebuild.partition = emt_begin_rebuild.partition AND rebuild.name = emt_begin_rebuild.name;
    INSERT INTO public.emt_rebuilds AS rebuild (partition, name, version, tables)
    VALUES (emt_begin_rebuild.partition, emt_begin_rebuild.name, emt_begin_rebuild.version, emt_begin_rebuild.tables)
    RETURNING rebuild.id INTO _id;
    FOR _number IN 1 .. cardinality(emt_begin_rebuild.tables) LOOP
        PERFORM public.emt_create_like(
            emt_begin_rebuild.tables[_number], format('emt_shadow_%s_%s', _id, _number), TRUE);
    END LOOP;
    RETURN _id;
END
$$;

-- Ends a rebuild and drops its tables; FALSE where another one has taken its place.
CREATE OR REPLACE FUNCTION public.emt_end_rebuild(id BIGINT) RETURNS BOOLEAN
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _tables INTEGER;
BEGIN
    PERFORM public.emt_require_writer();
    DELETE FROM public.emt_rebuilds AS rebuild WHERE rebuild.id = emt_end_rebuild.id
    RETURNING cardinality(rebuild.tables) INTO _tables;
    FOR _number IN 1 .. coalesce(_tables, 0) LOOP
        EXECUTE format('DROP TABLE IF EXISTS public.%I', format('emt_shadow_%s_%s', emt_end_rebuild.id, _number));
    END LOOP;
    RETURN _tables IS NOT NULL;
END
$$;

-- Makes the documents of a partition in one table those of another table. Documents that are equal are not touched. A
-- document that changes gets the next version, as if it had been written; a copy gets the version of its original.
CREATE OR REPLACE FUNCTION public.emt_replace_documents(partition TEXT, source TEXT, target TEXT, is_copy BOOLEAN)
    RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format($sql$
        DELETE FROM public.%I AS old
         WHERE old._partition = $1
           AND NOT EXISTS (SELECT FROM public.%I AS new WHERE new._id = old._id AND new._partition = $1)
        $sql$, emt_replace_documents.target, emt_replace_documents.source)
        USING emt_replace_documents.partition;
    EXECUTE format($sql$
        INSERT INTO public.%1$I AS old (_id, _partition, data, metadata, _version, _archived, _created, _updated)
        SELECT new._id, new._partition, new.data, new.metadata, CASE WHEN $2 THEN new._version ELSE 1 END, new._archived,
               new._created, new._updated
          FROM public.%2$I AS new
          LEFT JOIN public.%1$I AS same ON same._id = new._id AND same._partition = new._partition
         WHERE new._partition = $1
           AND (same._id IS NULL OR $2 AND same._version <> new._version
                -- Columns stand in the JSON of a table that Pongo's Node library uses, too, and not in what was built beside it.
                OR (same.data - '{_id,_version}'::TEXT[], same.metadata, same._archived)
                   IS DISTINCT FROM (new.data - '{_id,_version}'::TEXT[], new.metadata, new._archived))
         ORDER BY new._id
        ON CONFLICT (_id, _partition) DO UPDATE
            SET data = EXCLUDED.data, metadata = EXCLUDED.metadata, _archived = EXCLUDED._archived, _updated = now(),
                _version = CASE WHEN $2 THEN EXCLUDED._version ELSE old._version + 1 END
        $sql$, emt_replace_documents.target, emt_replace_documents.source)
        USING emt_replace_documents.partition, emt_replace_documents.is_copy;
END
$$;

-- Puts the rows of one table into another of the same columns.
CREATE OR REPLACE FUNCTION public.emt_copy_rows(source TEXT, target TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _columns TEXT;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO _columns
      FROM pg_attribute
     WHERE attrelid = to_regclass(format('public.%I', emt_copy_rows.target))
       AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format('INSERT INTO public.%I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM public.%I',
                   emt_copy_rows.target, _columns, emt_copy_rows.source);
END
$$;

-- Creates the collection that keeps the documents which a rebuild replaces. Raises SE030 where there is something else
-- under that name.
CREATE OR REPLACE FUNCTION public.emt_create_old(collection TEXT, old TEXT) RETURNS VOID
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM public.emt_require_writer();
    IF octet_length(emt_create_old.old) > 63 THEN
        RAISE EXCEPTION 'a collection''s name must have 1 to 63 bytes, "%" has %', emt_create_old.old,
            octet_length(emt_create_old.old) USING ERRCODE = 'SE030';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('public' || '.collection/' || emt_create_old.old, 0));
    IF EXISTS (SELECT FROM public.emt_collections AS known
                WHERE known.name = emt_create_old.old AND known.old_of = emt_create_old.collection) THEN
        RETURN;
    END IF;
    IF to_regclass(format('public.%I', emt_create_old.old)) IS NOT NULL THEN
        RAISE EXCEPTION 'the old documents of "%" cannot be kept as "%": there is something of that name',
            emt_create_old.collection, emt_create_old.old USING ERRCODE = 'SE030';
    END IF;
    IF NOT EXISTS (SELECT FROM public.emt_collections AS known
                    WHERE known.name = emt_create_old.collection AND known.old_of IS NULL) THEN
        RAISE EXCEPTION '"%" is not a collection', emt_create_old.collection USING ERRCODE = 'SE030';
    END IF;
    PERFORM public.emt_create_like(emt_create_old.collection, emt_create_old.old, FALSE);
    INSERT INTO public.emt_collections (name, old_of) VALUES (emt_create_old.old, emt_create_old.collection);
END
$$;

-- Deletes the documents of a partition that rebuilds of a collection have replaced and kept; FALSE where there are none.
-- Drops the tables that no partition needs any more.
CREATE OR REPLACE FUNCTION public.emt_drop_old(partition TEXT, collection TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _table TEXT;
    _deleted BIGINT;
    _found BOOLEAN := FALSE;
    _is_needed BOOLEAN;
BEGIN
    PERFORM public.emt_require_writer();
    FOR _table IN SELECT known.name FROM public.emt_collections AS known
                   WHERE known.old_of = emt_drop_old.collection ORDER BY known.name LOOP
        EXECUTE format('LOCK TABLE public.%I', _table);
        EXECUTE format('DELETE FROM public.%I WHERE _partition = $1', _table) USING emt_drop_old.partition;
        GET DIAGNOSTICS _deleted = ROW_COUNT;
        _found := _found OR _deleted > 0;
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', _table) INTO _is_needed;
        IF NOT _is_needed THEN
            _found := TRUE;
            EXECUTE format('DROP TABLE public.%I', _table);
            DELETE FROM public.emt_collections AS known WHERE known.name = _table;
        END IF;
    END LOOP;
    RETURN _found;
END
$$;


------------------------------------------------------------------------------------------------------------ grants

-- Gives a role what it needs, and no more: 'reader' reads streams, feed, documents and how far the processors are;
-- 'writer' also appends, keeps documents, and runs, resets and forgets processors. Neither can change or delete a stored
-- message. New tenants and collections give the same grants.
CREATE OR REPLACE FUNCTION public.emt_grant(role_name TEXT, access TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _writes BOOLEAN := emt_grant.access = 'writer';
    _table TEXT;
    _privileges TEXT;
BEGIN
    IF emt_grant.access IN ('reader', 'writer') IS NOT TRUE THEN
        RAISE EXCEPTION 'access must be reader or writer, not "%"', emt_grant.access USING ERRCODE = '22023';
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', emt_grant.role_name);
    EXECUTE format('GRANT SELECT%s ON SEQUENCE public.emt_global_message_position TO %I',
                   CASE WHEN _writes THEN ', USAGE' ELSE '' END, emt_grant.role_name);
    FOR _table, _privileges IN
        SELECT relation.relname, CASE
                   WHEN NOT _writes THEN 'SELECT'
                   WHEN relation.relname ~ '^emt_streams' THEN 'SELECT, INSERT, UPDATE, DELETE'
                   WHEN relation.relname ~ '^emt_messages' THEN 'SELECT, INSERT'
                   WHEN relation.relname ~ '^emt_projections' THEN 'SELECT, INSERT, UPDATE'
                   WHEN relation.relname ~ '^emt_(partitions|migrations|imports|collections)$' THEN 'SELECT'
                   WHEN relation.relname = 'emt_rebuilds' THEN 'SELECT, UPDATE'
                   ELSE 'SELECT, INSERT, UPDATE, DELETE'
               END
          FROM pg_class AS relation
         WHERE relation.relnamespace = 'public'::REGNAMESPACE AND relation.relkind IN ('r', 'p')
           AND (relation.relname ~ '^emt_(streams|messages|subscriptions|projections)(_|$)'
                OR relation.relname IN ('emt_migrations', 'emt_partitions', 'emt_collections', 'emt_imports',
                                     'emt_processor_slots', 'emt_parked_messages', 'emt_rebuilds',
                                     'emt_rebuild_requests')
                OR relation.relname IN (SELECT name FROM public.emt_collections))
    LOOP
        EXECUTE format('GRANT %s ON public.%I TO %I', _privileges, _table, emt_grant.role_name);
    END LOOP;
END
$$;

SELECT public.emt_create_partition('emt:default');

INSERT INTO public.emt_migrations (version, name) VALUES (2, 'schema') ON CONFLICT DO NOTHING;
