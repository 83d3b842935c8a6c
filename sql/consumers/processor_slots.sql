-- emt_processor_slots: the position of each slot of a processor, and its holder. A processor has one slot, or several, so
-- that several workers share its streams. The holder is a worker of one process (owner, worker) until expires_at.
-- docs/design/slots.md has the rules.
--
--                  take                    lease runs out
--   free ------------------------> held ------------------> expired
--    ^ ^                           ^ | ^ <----- renew ------- | |
--    | |                ask lapses | | |                      | | take, where it was taken before
--    | +---------- release --------|-+ +-- take, further on --+ v
--    |                             | | ask                   after crash
--    | promise                     | v                       (like held: messages one by one)
--    | lapses          release   wanted
--    +------- promised <-----------+
--                |
--                +---- take, by the worker that asked ----> held
--
--   (no row) --- register --> free
--   any      --- reset -----> the same, at another position; failed becomes what it was
--   any      --- fail ------> failed     --- register ------> what it was
--   held     --- wait ------> waiting    --- go on ------> held
--   any      --- hold ------> rebuilding --- release -------> free
--                             rebuilding --- five minutes --> expired
--   not held --- forget ----> (no row)
--   any      --- its tenant is removed --> (no row)
--
--   epoch           raised by take, hold and reset, so the previous holder commits nothing more
--   store_epoch     the epoch of the store (emt_store_epochs) in which the position holds; below the present one, the slot
--                   does not run until it is reset
--   wanted_by       a worker with less than its share asks for the slot; its holder releases it, and no third worker takes it
--                   before wanted_until
--   taken_position  the position at which it was taken last
--   crashes         the number of leases in a row that expired there
--   attempted       after a crash, the message under trial
--   attempts        the number of holders that tried it; attempt_epoch is the last of them
--   status          'active' or 'failed'
--   retry_at        the database was not well, as last_error says; the holder retries then
--   projection      the projection of a projector; NULL for a reactor
--   busy_since      the start of the running handler, as of the last renewal; a checkpoint clears it
--   survived_error  the last error after which a holder continued, at survived_at; survived_count is the number of such errors
--                   in a row without progress
--   updated_at      the last time at which the position moved, or the slot failed or was reset
--   handled         the events of which all up to the position are handled, or were decided about: those of the last holder's
--                   code, as categories and types
--   passed_over     the events that older code did not handle, though newer code had; each is handled up to its "after"
--
-- Together, handled and passed_over never become less. fillfactor 50 leaves room for HOT updates: every batch updates its row.
--
-- The last four are for Emmett's clients, which see a processor's slots as one row of the view emt_processors:
--   emmett_name        its id there; NULL if no client of Emmett's knows it
--   emmett_lease       the duration of a client's lease, from each call of its holder; NULL for a holder of ours
--   emmett_checkpoint  the stored checkpoint of a client, "transaction:position", for the position emmett_position; at another
--                      position it says nothing
CREATE TABLE IF NOT EXISTS public.emt_processor_slots (
    partition       TEXT         NOT NULL,
    processor       TEXT         NOT NULL,
    version         INTEGER      NOT NULL,
    slot            INTEGER      NOT NULL,
    position        BIGINT       NOT NULL,
    epoch           BIGINT       NOT NULL DEFAULT 0,
    store_epoch     BIGINT       NOT NULL DEFAULT 0,
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
    projection      TEXT,
    handled         JSONB,
    passed_over     JSONB        NOT NULL DEFAULT '[]',
    last_error      TEXT,
    busy_since      TIMESTAMPTZ,
    survived_error  TEXT,
    survived_at     TIMESTAMPTZ,
    survived_count  INTEGER      NOT NULL DEFAULT 0,
    retry_at        TIMESTAMPTZ,
    updated_at      TIMESTAMPTZ  NOT NULL DEFAULT now(),
    emmett_name        TEXT,
    emmett_lease       INTERVAL,
    emmett_checkpoint  TEXT,
    emmett_position    BIGINT,
    PRIMARY KEY (partition, processor, version, slot)
) WITH (fillfactor = 50);

-- Returns the key of the advisory lock under which a processor gets its slots or a common position.
CREATE OR REPLACE FUNCTION public.emt_processor_lock_key(_partition TEXT, _name TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT hashtextextended('public' || '.processor/' || _partition || '/' || _name, 0) $$;

-- Returns whether a projection has a processor, of any version. It keeps the projection, or it is a client's of Emmett's
-- with the default name of the projection's projector.
CREATE OR REPLACE FUNCTION public.emt_processor_is_of(_partition TEXT, _projection TEXT) RETURNS BOOLEAN
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (SELECT FROM public.emt_processor_slots AS slot
                    WHERE slot.partition = _partition
                      AND (slot.projection = _projection OR slot.emmett_name = 'emt:processor:projector:' || _projection))
    $$;

-- A processor of Emmett's clients becomes one of ours, under our name, when a program of ours first registers it. Both share
-- its slots from then on. A projector is found by its projection, as long as it has no other name here. A custom id must be
-- our name, too. Its one slot becomes the wanted number of slots, with its holder.
CREATE OR REPLACE FUNCTION public.emt_processor_take_over(
    _partition   TEXT,
    _name        TEXT,
    _version     INTEGER,
    _slots       INTEGER,
    _projection  TEXT,
    _handled     JSONB
) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _begin BIGINT;
BEGIN
    UPDATE public.emt_processor_slots AS slot
       SET processor = _name
     WHERE slot.partition = _partition AND slot.processor <> _name
       AND slot.emmett_name = slot.processor AND slot.handled IS NULL
       AND (slot.projection = _projection
            OR slot.projection IS NULL AND slot.emmett_name = 'emt:processor:projector:' || _projection)
       AND NOT EXISTS (SELECT FROM public.emt_processor_slots AS own
                        WHERE own.partition = _partition AND own.processor = _name);
    UPDATE public.emt_processor_slots AS slot
       SET projection = _projection
     WHERE slot.partition = _partition AND slot.processor = _name AND slot.projection IS NULL
       AND slot.emmett_name IS NOT NULL AND slot.handled IS NULL;
    -- A rebuild that did not know this processor has stored its beginning under the projection's name.
    DELETE FROM public.emt_processor_beginnings AS began
     WHERE began.partition = _partition AND began.processor = _projection AND began.version = _version
       AND EXISTS (SELECT FROM public.emt_processor_slots AS slot
                    WHERE slot.partition = _partition AND slot.processor = _name AND slot.version = _version
                      AND slot.emmett_name IS NOT NULL AND slot.handled IS NULL)
    RETURNING began.position INTO _begin;
    UPDATE public.emt_processor_slots AS slot
       SET position = coalesce(_begin, slot.position), handled = _handled
     WHERE slot.partition = _partition AND slot.processor = _name AND slot.version = _version
       AND slot.emmett_name IS NOT NULL AND slot.handled IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO public.emt_processor_slots
        (partition, processor, version, slot, position, epoch, store_epoch, owner, worker, taken_at, expires_at, status,
         projection, handled, last_error, updated_at, emmett_name, emmett_lease, emmett_checkpoint, emmett_position)
    SELECT first.partition, first.processor, first.version, number, first.position, first.epoch, first.store_epoch,
           first.owner, first.worker, first.taken_at, first.expires_at, first.status, first.projection, first.handled,
           first.last_error, first.updated_at, first.emmett_name, first.emmett_lease, first.emmett_checkpoint,
           first.emmett_position
      FROM public.emt_processor_slots AS first
     CROSS JOIN generate_series(1, _slots - 1) AS number
     WHERE first.partition = _partition AND first.processor = _name AND first.version = _version AND first.slot = 0
    ON CONFLICT DO NOTHING;
    INSERT INTO public.emt_processor_beginnings (partition, processor, version, position)
    SELECT first.partition, first.processor, first.version, first.position
      FROM public.emt_processor_slots AS first
     WHERE first.partition = _partition AND first.processor = _name AND first.version = _version AND first.slot = 0
    ON CONFLICT DO NOTHING;
END
$$;

-- Raises SE013 if a projector would begin at the first message, though another program has filled its read model. That is a
-- collection of Pongo for Node, or any table of a client's projection.
CREATE OR REPLACE FUNCTION public.emt_processor_check_unfilled(_partition TEXT, _projection TEXT, _tables TEXT[])
    RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _is_emmetts BOOLEAN := EXISTS (
        SELECT FROM public.emt_projections AS projection
         WHERE projection.partition = _partition AND projection.name = _projection
           AND projection.definition ? 'emmett');
    _table TEXT;
    _is_filled BOOLEAN;
BEGIN
    FOR _table IN
        SELECT relation.relname FROM pg_class AS relation
         WHERE relation.relnamespace = 'public'::REGNAMESPACE AND relation.relname = ANY (_tables)
           AND relation.relkind IN ('r', 'p')
           AND (_is_emmetts OR EXISTS (SELECT FROM pg_trigger
                                        WHERE tgrelid = relation.oid AND tgname = 'emt_document_put_columns'))
    LOOP
        IF EXISTS (SELECT FROM public.emt_collections AS known WHERE known.name = _table) THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE _partition = $1)', _table)
                INTO _is_filled USING _partition;
        ELSE
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', _table) INTO _is_filled;
        END IF;
        IF _is_filled THEN
            RAISE EXCEPTION 'projection "%" would handle each event again: "%" has rows of Emmett for Node, and '
                'no checkpoint is known', _projection, _table
                USING ERRCODE = 'SE013',
                      HINT = 'Give the projector the name of Emmett''s processor, which "emmett adopt --plan" lists. '
                             'Otherwise rebuild the projection.';
        END IF;
    END LOOP;
END
$$;

-- Creates the slots of a processor that has none, at the position where it begins. That is the checkpoint of a client of
-- Emmett's or of a rebuild, else _start. Returns the number of slots. It never changes, because it decides which worker sees
-- a stream. A failed processor becomes active again. Raises SE010 if another version of its projection is the active one.
-- Raises SE013 if another processor keeps the projection, or another program has filled one of _tables: both would write
-- into one read model.
CREATE OR REPLACE FUNCTION public.emt_processor_register(
    _partition  TEXT,
    _name       TEXT,
    _version    INTEGER,
    _slots      INTEGER,
    _start      BIGINT,
    _projection TEXT DEFAULT NULL,
    _handled    JSONB DEFAULT NULL,
    _tables     TEXT[] DEFAULT NULL
) RETURNS INTEGER
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _active INTEGER;
    _present INTEGER;
    _checkpoint BIGINT;
    _store_epoch BIGINT;
    _other TEXT;
BEGIN
    PERFORM public.emt_partition_check(_partition);
    -- Two programs that start together must not both find none. The switch of a rebuild knows the projection's name only, so
    -- that is locked, too.
    PERFORM pg_advisory_xact_lock(public.emt_processor_lock_key(_partition, least(_name, _projection)));
    PERFORM pg_advisory_xact_lock(public.emt_processor_lock_key(_partition, greatest(_name, _projection)));
    SELECT projection.version INTO _active FROM public.emt_projections AS projection
     WHERE projection.partition = _partition AND projection.name = _projection
       AND projection.type = 'a' AND projection.status IN ('active', 'async_processing')
     ORDER BY projection.version = _version
     LIMIT 1;
    IF _active <> _version THEN
        RAISE EXCEPTION 'projection "%": this program has version %, the active one is %', _projection, _version, _active
            USING ERRCODE = 'SE010', HINT = 'Rebuild it with this program, or give it another name.';
    END IF;
    PERFORM public.emt_processor_take_over(_partition, _name, _version, _slots, _projection, _handled);
    SELECT slot.processor INTO _other FROM public.emt_processor_slots AS slot
     WHERE slot.partition = _partition AND slot.projection = _projection AND slot.processor <> _name
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'projection "%" is kept by the processor "%", so "%" cannot keep it', _projection, _other, _name
            USING ERRCODE = 'SE013', HINT = 'To give the processor another name, forget it and rebuild the projection.';
    END IF;
    SELECT slot.projection INTO _other FROM public.emt_processor_slots AS slot
     WHERE slot.partition = _partition AND slot.processor = _name AND slot.projection IS DISTINCT FROM _projection
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'processor "%" is %, but % here', _name,
            coalesce('the projector of "' || _other || '"', 'a reactor'),
            coalesce('the projector of "' || _projection || '"', 'a reactor')
            USING ERRCODE = 'SE013', HINT = 'Give one of them another name.';
    END IF;
    UPDATE public.emt_processor_slots AS slot
       SET status = 'active', last_error = NULL, updated_at = now()
     WHERE slot.partition = _partition AND slot.processor = _name AND slot.version = _version
       AND slot.status = 'failed';
    SELECT count(*) INTO _present FROM public.emt_processor_slots AS slot
     WHERE slot.partition = _partition AND slot.processor = _name AND slot.version = _version;
    IF _present > 0 THEN
        RETURN _present;
    END IF;
    -- A rebuild before the first start has stored the beginning under the projection's name, unless a reactor has that name.
    SELECT began.position, public.emt_store_epoch_of(began.position, began.updated_at) INTO _checkpoint, _store_epoch
      FROM public.emt_processor_beginnings AS began
     WHERE began.partition = _partition AND began.version = _version
       AND (began.processor = _name
            OR began.processor = _projection
               AND NOT EXISTS (SELECT FROM public.emt_processor_slots AS slot
                                WHERE slot.partition = _partition AND slot.processor = _projection))
     ORDER BY began.processor = _name DESC
     LIMIT 1;
    IF NOT FOUND AND _start = 0 THEN
        PERFORM public.emt_processor_check_unfilled(_partition, _projection, _tables);
    END IF;
    INSERT INTO public.emt_processor_beginnings AS began (partition, processor, version, position)
    VALUES (_partition, _name, _version, coalesce(_checkpoint, _start))
    ON CONFLICT (partition, processor, version) DO UPDATE
        SET updated_at = now()
    RETURNING began.position INTO _checkpoint;
    INSERT INTO public.emt_processor_slots
        (partition, processor, version, slot, position, store_epoch, projection, handled)
    SELECT _partition, _name, _version, number, _checkpoint, coalesce(_store_epoch, public.emt_store_epoch()), _projection,
           _handled
      FROM generate_series(0, _slots - 1) AS number;
    RETURN _slots;
END
$$;

-- Raises the epoch of slots, so their holder commits nothing more. Only this function does. Without a version: of all
-- versions. Without numbers: all slots.
CREATE OR REPLACE FUNCTION public.emt_slot_raise_epoch(
    _partition  TEXT,
    _processor  TEXT,
    _version    INTEGER,
    _slots      INTEGER[]
) RETURNS VOID
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE public.emt_processor_slots AS slot
       SET epoch = slot.epoch + 1
     WHERE slot.partition = _partition AND slot.processor = _processor
       AND (_version IS NULL OR slot.version = _version) AND (_slots IS NULL OR slot.slot = ANY (_slots))
    $$;

-- Makes the slots of a holder free, or only the wanted ones. Only this function does. Without a version: of all versions.
-- Without a worker: of all of the owner's. wanted_by stays: only that worker takes the slot before wanted_until. A holder
-- that releases a slot is alive, so its attempt at a message no longer counts. Attempts of other holders do.
CREATE OR REPLACE FUNCTION public.emt_slot_release(
    _partition    TEXT,
    _processor    TEXT,
    _version      INTEGER,
    _owner        TEXT,
    _worker       INTEGER,
    _only_wanted  BOOLEAN
) RETURNS VOID
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE public.emt_processor_slots AS slot
       SET owner = NULL, worker = NULL, expires_at = NULL, crashes = 0, busy_since = NULL, retry_at = NULL,
           attempts = CASE WHEN slot.attempt_epoch = slot.epoch THEN greatest(slot.attempts - 1, 0) ELSE slot.attempts END
     WHERE slot.partition = _partition AND slot.processor = _processor AND slot.owner = _owner
       AND (_version IS NULL OR slot.version = _version) AND (_worker IS NULL OR slot.worker = _worker)
       AND (NOT _only_wanted OR slot.wanted_until > clock_timestamp())
    $$;

-- Gives a worker its fair share of a processor's slots: free ones, and those with an expired lease. If other workers hold
-- more than their share, it asks for slots of theirs. _workers is the number of the owner's workers that run: those that
-- hold nothing yet have a share, too. Returns all slots that the worker holds then. A paused holder may still have a row
-- locked, in a transaction that it will never finish: that session is ended. Counts how often a lease expired at the position
-- at which it was taken: the message after it probably crashed the process. The times are the server's.
CREATE OR REPLACE FUNCTION public.emt_slot_take(
    _partition  TEXT,
    _processor  TEXT,
    _version    INTEGER,
    _owner      TEXT,
    _worker     INTEGER,
    _lease      INTERVAL,
    _workers    INTEGER
) RETURNS TABLE (slot INTEGER, "position" BIGINT, epoch BIGINT, crashes INTEGER)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _self TEXT := _owner || '/' || _worker;
    _now TIMESTAMPTZ := clock_timestamp();
    _slots INTEGER;
    _others INTEGER;
    _mine INTEGER;
    _share INTEGER;
    _promised INTEGER;
    _free INTEGER[];
    _locker INTEGER;
BEGIN
    SELECT count(*), count(*) FILTER (WHERE held.owner = _owner AND held.worker = _worker),
           (SELECT greatest(count(DISTINCT other.name) FILTER (WHERE starts_with(other.name, _owner || '/')), _workers - 1)
                   + count(DISTINCT other.name) FILTER (WHERE NOT starts_with(other.name, _owner || '/'))
              FROM public.emt_processor_slots AS shared,
                   LATERAL (VALUES (shared.owner || '/' || shared.worker, shared.expires_at),
                                   (shared.wanted_by, shared.wanted_until)) AS other (name, until)
             WHERE shared.partition = _partition AND shared.processor = _processor
               AND shared.version = _version AND other.until > _now AND other.name <> _self)
      INTO _slots, _mine, _others
      FROM public.emt_processor_slots AS held
     WHERE held.partition = _partition AND held.processor = _processor
       AND held.version = _version;
    _share := ceil(_slots / (_others + 1.0));

    IF _mine < _share THEN
        FOR _locker IN
            SELECT DISTINCT lock.pid
              FROM public.emt_processor_slots AS held
              JOIN pg_locks AS lock
                ON lock.locktype = 'transactionid' AND lock.mode = 'ExclusiveLock' AND lock.granted
               AND lock.transactionid = held.xmax
             WHERE held.partition = _partition AND held.processor = _processor
               AND held.version = _version AND held.expires_at <= _now AND lock.pid <> pg_backend_pid()
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
             WHERE held.partition = _partition AND held.processor = _processor
               AND held.version = _version AND held.status = 'active'
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
               emmett_lease = NULL,
               busy_since = NULL,
               wanted_by = NULL,
               wanted_until = NULL,
               retry_at = NULL
         WHERE taken.partition = _partition AND taken.processor = _processor
           AND taken.version = _version AND taken.slot = ANY (_free);
        _mine := _mine + cardinality(_free);
    END IF;

    IF _mine < _slots / (_others + 1) THEN
        SELECT count(*) INTO _promised
          FROM public.emt_processor_slots AS asked
         WHERE asked.partition = _partition AND asked.processor = _processor
           AND asked.version = _version AND asked.wanted_by = _self AND asked.wanted_until > _now;
        UPDATE public.emt_processor_slots AS asked
           SET wanted_by = _self, wanted_until = _now + _lease
          FROM (SELECT spare.slot
                  FROM (SELECT held.slot, held.wanted_by IS NULL OR held.wanted_until <= _now AS is_unwanted,
                               row_number() OVER (PARTITION BY held.owner, held.worker ORDER BY held.slot) AS number
                          FROM public.emt_processor_slots AS held
                         WHERE held.partition = _partition AND held.processor = _processor
                           AND held.version = _version AND held.expires_at > _now
                           AND held.owner || '/' || held.worker <> _self) AS spare
                 WHERE spare.number > _slots / (_others + 1) AND spare.is_unwanted
                 ORDER BY spare.number DESC
                 LIMIT greatest(0, _slots / (_others + 1) - _mine - _promised)) AS spare
         WHERE asked.partition = _partition AND asked.processor = _processor
           AND asked.version = _version AND asked.slot = spare.slot
           AND (asked.wanted_by IS NULL OR asked.wanted_until <= _now);
    END IF;

    RETURN QUERY
        SELECT held.slot, held.position, held.epoch, held.crashes
          FROM public.emt_processor_slots AS held
         WHERE held.partition = _partition AND held.processor = _processor
           AND held.version = _version AND held.owner = _owner
           AND held.worker = _worker
         ORDER BY held.slot;
END
$$;

-- Takes all slots of a processor, of all versions, from their holders, for the switch of a rebuild. If the switch dies, they
-- expire after five minutes. Without taken_position, that counts as no crash.
CREATE OR REPLACE FUNCTION public.emt_slot_hold(_partition TEXT, _processor TEXT, _owner TEXT) RETURNS VOID
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT public.emt_slot_raise_epoch(_partition, _processor, NULL::INTEGER, NULL::INTEGER[]);
    UPDATE public.emt_processor_slots AS slot
       SET owner = _owner, worker = 0, taken_at = clock_timestamp(),
           expires_at = clock_timestamp() + INTERVAL '5 minutes', taken_position = NULL, emmett_lease = NULL,
           busy_since = NULL,
           wanted_by = NULL, wanted_until = NULL, retry_at = NULL
     WHERE slot.partition = _partition AND slot.processor = _processor;
    $$;

-- Sets all slots of a processor to a position, and clears its failures, crashes and attempts. The holders stay, and continue
-- from there. A client of Emmett's would not notice. It loses them, and commits nothing more unless it is there already.
-- Returns the number of slots.
CREATE OR REPLACE FUNCTION public.emt_slot_reset(
    _partition  TEXT,
    _processor  TEXT,
    _version    INTEGER,
    _position   BIGINT
) RETURNS BIGINT
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT public.emt_slot_raise_epoch(_partition, _processor, _version, NULL::INTEGER[]);
    WITH reset AS (
        UPDATE public.emt_processor_slots AS slot
           SET position = _position, store_epoch = public.emt_store_epoch(), taken_position = NULL, crashes = 0,
               attempted = NULL, attempts = 0, status = 'active', last_error = NULL, busy_since = NULL,
               updated_at = now(), emmett_lease = NULL,
               owner = CASE WHEN slot.emmett_lease IS NULL THEN slot.owner END,
               worker = CASE WHEN slot.emmett_lease IS NULL THEN slot.worker END,
               expires_at = CASE WHEN slot.emmett_lease IS NULL THEN slot.expires_at END,
               -- Events after the position are handled anew, so nothing counts as handled there.
               passed_over = coalesce(
                   (SELECT jsonb_agg(jsonb_set(passed, '{after}', to_jsonb(least((passed ->> 'after')::BIGINT, _position))))
                      FROM jsonb_array_elements(slot.passed_over) AS passed), '[]')
         WHERE slot.partition = _partition AND slot.processor = _processor AND slot.version = _version
        RETURNING slot.slot
    )
    SELECT count(*) FROM reset;
    $$;

-- Returns the partitions in which a worker of ours holds a slot, and so listens. clock_timestamp is volatile, so the plan
-- looks into the index once for each partition.
CREATE OR REPLACE FUNCTION public.emt_slot_listening(_partitions TEXT[]) RETURNS SETOF TEXT
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT listening.partition
      FROM unnest(_partitions) AS listening (partition)
     WHERE EXISTS (SELECT FROM public.emt_processor_slots AS slot
                    WHERE slot.partition = listening.partition AND slot.expires_at > clock_timestamp()
                      AND slot.emmett_lease IS NULL)
    $$;
