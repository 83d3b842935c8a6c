-- The feed: a partition's messages in global order, without holes.

-- Returns the end of the readable feed of a partition: {horizon, head}. No open or later transaction will ever add a message
-- at or below the horizon. head is the last position that was drawn for any partition. A later statement must read the
-- messages: its snapshot sees every commit for which this one has waited.
CREATE OR REPLACE FUNCTION public.emt_horizon(_partition TEXT, _after BIGINT) RETURNS BIGINT[]
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
    IF pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the feed cannot be read at isolation level "%"', pg_catalog.current_setting('transaction_isolation')
            USING ERRCODE = 'SE001', HINT = 'Read it at READ COMMITTED: an older snapshot would skip messages.';
    END IF;
    PERFORM public.emt_partition_check(_partition);

    -- This value first, then the locks: the owner of a position at or below it has taken its lock before.
    _head := pg_catalog.pg_sequence_last_value('public.emt_global_message_position'::REGCLASS);
    IF _head IS NULL THEN
        SELECT last_value - (NOT is_called)::INTEGER INTO _head FROM public.emt_global_message_position;
    END IF;
    IF _head < _after THEN
        RAISE EXCEPTION 'the sequence emt_global_message_position is at %, below the position % that was read before',
            _head, _after
            USING ERRCODE = 'SE003',
                  HINT = 'If the database was restored, run `emmett repair sequence`. Then reset the reader.';
    END IF;
    IF _head = _after THEN
        RETURN ARRAY[_head, _head];
    END IF;

    -- classid is unsigned: compared as an integer, a negative class would never be found.
    SELECT pg_catalog.min(public.emt_fence_position(_head, objid::BIGINT))
      INTO _lowest
      FROM pg_catalog.pg_locks
     WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND mode = 'ShareLock'
       AND classid IN (public.emt_fence_class(_partition)::OID, public.emt_fence_class(NULL::TEXT)::OID)
       AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database());
    RETURN ARRAY[least(_head, _lowest), _head];
END
$$;

-- Creates a partition's own function for its feed, emt_feed_in_emt_default and so on. It returns the first messages after
-- one position and up to another: of these types, or of all; of streams of these categories, or of all. _is_readable: _up_to
-- is known to be at or below a horizon. Otherwise the function asks for the horizon first, and the page ends there. The
-- first row then has the horizon and the head, and no message. Active and archived messages are in the feed: a move between
-- the two must not hide one. The function names the tables, so that its plan is made once a session. A reader that waits for
-- news would spend most of its time on planning. The settings leave one plan, the walk along the positions. Without
-- statistics, or with rare types, the planner would read and sort the rest of the feed for each page.
CREATE OR REPLACE FUNCTION public.emt_feed_create(_partition TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
BEGIN
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION public.%1$I(
    _partition    TEXT,
    _after        BIGINT,
    _up_to        BIGINT,
    _is_readable  BOOLEAN,
    _page_size    BIGINT,
    _types        TEXT[],
    _categories   TEXT[]
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
-- The returned columns have the names of the table's columns. The query never means them.
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
        -- A later statement: its snapshot sees every commit for which the horizon has waited. Types and categories are
        -- filtered above the merge of the two sides. Otherwise each page would search all of one side for them.
        RETURN QUERY
            SELECT NULL::BIGINT, NULL::BIGINT, message.* FROM (
                SELECT stream_id, stream_position, global_position, message_id, message_type, message_kind,
                       message_schema_version, created, message_data, message_metadata
                  FROM public.%2$I
                 WHERE global_position > _after AND global_position <= _end
                 ORDER BY global_position
                OFFSET 0
            ) AS message
             WHERE (_types IS NULL OR message_type = ANY (_types))
               AND (_categories IS NULL OR public.emt_stream_category(stream_id) = ANY (_categories))
             ORDER BY global_position
             LIMIT _page_size;
    END IF;
END
$function$
        $create$, 'emt_feed_in_' || _suffix, 'emt_messages_' || _suffix);
END
$$;

-- Returns the number of messages of the partition after a position, up to _most, and the time of the first. Open appends are
-- not counted. The settings leave the walk along the positions. Without statistics, the planner would read the whole feed
-- for a reader at its end.
CREATE OR REPLACE FUNCTION public.emt_feed_lag(_partition TEXT, _after BIGINT, _most BIGINT)
    RETURNS TABLE (messages BIGINT, oldest TIMESTAMPTZ)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET enable_seqscan TO off
    SET enable_bitmapscan TO off
    SET enable_sort TO off
    SET max_parallel_workers_per_gather TO 0
    SET jit TO off
    AS $$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT (SELECT count(*) FROM (SELECT FROM public.%1$I WHERE global_position > $1 LIMIT $2) AS message),
               (SELECT created FROM public.%1$I WHERE global_position > $1 ORDER BY global_position LIMIT 1)
        $sql$, 'emt_messages_' || public.emt_partition_suffix(_partition))
        USING _after, _most;
END
$$;

-- Returns the changes for a reader of many partitions. The first row has the change 'head' and the sequence's value. The
-- others name a partition each:
--   'added', 'removed'  compared with the reader's list, by name and time of creation
--   'readable'          it has a message after the reader's position; a position of NULL is skipped
--   'held'              an open append may still add one
-- At _quiet_at, no partition was readable or held. While the sequence is there, no partition's table is read.
-- A locked table must not delay the others: it counts as readable, and its own reader waits.
CREATE OR REPLACE FUNCTION public.emt_feed_news(
    _partitions TEXT[], _created_at TIMESTAMPTZ[], _after BIGINT[], _quiet_at BIGINT
) RETURNS TABLE (change TEXT, partition TEXT, created_at TIMESTAMPTZ, head BIGINT)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET lock_timeout TO '10ms'
    SET enable_seqscan TO off
    SET enable_bitmapscan TO off
    SET jit TO off
    AS $$
DECLARE
    _head BIGINT := (public.emt_horizon('emt:default', 0))[2];
    _known RECORD;
    _is_readable BOOLEAN;
BEGIN
    RETURN QUERY SELECT 'head', NULL::TEXT, NULL::TIMESTAMPTZ, _head;
    RETURN QUERY
        SELECT CASE WHEN known.partition IS NULL THEN 'added' ELSE 'removed' END,
               coalesce(tenant.partition, known.partition), coalesce(tenant.created_at, known.created_at), _head
          FROM (SELECT other.partition, other.created_at FROM public.emt_partitions AS other
                 WHERE other.partition <> 'emt:default') AS tenant
          FULL JOIN unnest(_partitions, _created_at) AS known (partition, created_at)
            ON known.partition = tenant.partition AND known.created_at = tenant.created_at
         WHERE known.partition IS NULL OR tenant.partition IS NULL;
    IF _head = _quiet_at THEN
        RETURN;
    END IF;
    -- The locks after the head and before the messages, as in emt_horizon.
    FOR _known IN
        WITH fence AS MATERIALIZED (
            SELECT lock.classid::INTEGER AS class,
                   min(public.emt_fence_position(_head, lock.objid::BIGINT)) AS lowest
              FROM pg_locks AS lock
             WHERE lock.locktype = 'advisory' AND lock.objsubid = 2 AND lock.granted AND lock.mode = 'ShareLock'
               AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
             GROUP BY lock.classid
        )
        SELECT known.partition, known.created_at, known.after, public.emt_partition_suffix(known.partition) AS suffix,
               least(_head, own.lowest, wildcard.lowest) AS horizon
          FROM unnest(_partitions, _created_at, _after) AS known (partition, created_at, after)
          LEFT JOIN fence AS own ON own.class = public.emt_fence_class(known.partition)
          LEFT JOIN fence AS wildcard ON wildcard.class = public.emt_fence_class(NULL::TEXT)
         WHERE known.after IS NOT NULL
    LOOP
        BEGIN
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE global_position > $1 AND global_position <= $2)
                                OR EXISTS (SELECT FROM public.%I WHERE global_position > $1 AND global_position <= $2)',
                           'emt_messages_' || _known.suffix || '_active', 'emt_messages_' || _known.suffix || '_archived')
               INTO _is_readable USING _known.after, _known.horizon;
        EXCEPTION
            -- Removed just now: the next look reports it.
            WHEN undefined_table THEN _is_readable := FALSE;
            WHEN lock_not_available THEN _is_readable := TRUE;
        END;
        IF _is_readable THEN
            RETURN QUERY SELECT 'readable', _known.partition, _known.created_at, _head;
        ELSIF _known.horizon < _head THEN
            RETURN QUERY SELECT 'held', _known.partition, _known.created_at, _head;
        END IF;
    END LOOP;
END
$$;
