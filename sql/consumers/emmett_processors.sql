-- Processors as Emmett's clients see them: one row each in emt_processors, a view of emt_processor_slots, and functions with
-- Emmett's names, parameters and results. So a processor has one checkpoint and one lease: a client of Emmett's and a
-- program of ours exclude each other. Emmett's migrations may replace the functions. Our migration restores them.
--
-- Such a client takes all slots of a processor or none: they have to be free and at one position. It does not renew its
-- lease while it is idle. A lease therefore lasts its own time from its last call, the checkpoint included. Its expiry says
-- nothing of the next message, so it never counts as a crash.

-- Emmett's own table. The adoption copies and drops it.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_class
                WHERE relnamespace = 'public'::REGNAMESPACE::OID AND relname = 'emt_processors'::NAME
                  AND relkind IN ('r'::"char", 'p'::"char")) THEN
        ALTER TABLE public.emt_processors RENAME TO emt_adopted_processors;
    END IF;
END
$$;

-- Returns the position of a checkpoint of Emmett's: a number, or "transaction:number".
CREATE OR REPLACE FUNCTION public.emt_neighbour_number(_checkpoint TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT regexp_replace(_checkpoint, '^.*:', '')::BIGINT $$;

-- Returns the position up to which a client of Emmett's has seen everything. A checkpoint with a transaction orders messages
-- by transaction and position. A message with a lower position but a later transaction may be unprocessed: the position is
-- below the first such message. A number alone orders by position.
CREATE OR REPLACE FUNCTION public.emt_neighbour_position(_partition TEXT, _checkpoint TEXT) RETURNS BIGINT
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN _checkpoint LIKE '%:%' THEN least(
               public.emt_neighbour_number(_checkpoint),
               (SELECT min(message.global_position) - 1
                  FROM public.emt_messages AS message
                 WHERE message.partition = _partition
                   AND message.global_position < public.emt_neighbour_number(_checkpoint)
                   AND message.transaction_id > split_part(_checkpoint, ':', 1)::NUMERIC::TEXT::XID8))
           ELSE public.emt_neighbour_number(_checkpoint) END
    $$;

-- Returns the checkpoint of a slot, as a client of Emmett's reads it: the stored text for this position, else the number.
CREATE OR REPLACE FUNCTION public.emt_neighbour_checkpoint(_position BIGINT, _stored TEXT, _stored_position BIGINT)
    RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT CASE WHEN _stored_position = _position THEN _stored ELSE lpad(_position::TEXT, 19, '0') END $$;

-- The row of a processor has its lowest slot. 'running' means that it has a holder, even with an expired lease.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_class
                WHERE relnamespace = 'public'::REGNAMESPACE::OID AND relname = 'emt_processors'::NAME) THEN
        RETURN;
    END IF;
    CREATE VIEW public.emt_processors AS
        SELECT CASE WHEN seen.checkpoint LIKE '%:%'::TEXT
                    THEN pg_catalog.split_part(seen.checkpoint, ':'::TEXT, 1)::NUMERIC::TEXT::XID8
                    ELSE '0'::XID8 END AS last_processed_transaction_id,
               seen.version, seen.processor_id, seen.partition, seen.status, seen.checkpoint AS last_processed_checkpoint,
               seen.processor_instance_id, seen.created_at, seen.last_updated
          FROM (SELECT slot.partition, slot.version,
                       coalesce(pg_catalog.max(slot.emmett_name), slot.processor) AS processor_id,
                       CASE WHEN pg_catalog.count(slot.owner) > 0::BIGINT THEN 'running'::TEXT ELSE 'stopped'::TEXT END AS status,
                       (pg_catalog.array_agg(
                           public.emt_neighbour_checkpoint(slot.position, slot.emmett_checkpoint, slot.emmett_position)
                           ORDER BY slot.position, slot.slot))[1] AS checkpoint,
                       coalesce(pg_catalog.min(slot.owner), 'emt:unknown'::TEXT) AS processor_instance_id,
                       pg_catalog.min(least(slot.updated_at, slot.taken_at)) AS created_at,
                       pg_catalog.max(greatest(slot.updated_at, slot.taken_at)) AS last_updated
                  FROM public.emt_processor_slots AS slot
                 GROUP BY slot.partition, slot.processor, slot.version) AS seen;
    ALTER VIEW public.emt_processors
        ALTER COLUMN last_processed_transaction_id SET DEFAULT '0'::XID8,
        ALTER COLUMN version SET DEFAULT 1,
        ALTER COLUMN partition SET DEFAULT 'emt:default',
        ALTER COLUMN status SET DEFAULT 'stopped',
        ALTER COLUMN processor_instance_id SET DEFAULT 'emt:unknown',
        ALTER COLUMN created_at SET DEFAULT now(),
        ALTER COLUMN last_updated SET DEFAULT now();
END
$$;

-- Returns our name of the processor _id of a client of Emmett's; NULL if there is none. A projector that the client does not
-- know yet, and a program of ours does, is found by its projection.
CREATE OR REPLACE FUNCTION public.emt_neighbour_processor(
    _partition TEXT, _id TEXT, _version INTEGER, _projection TEXT
) RETURNS TEXT
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT slot.processor FROM public.emt_processor_slots AS slot
     WHERE slot.partition = _partition AND slot.version = _version
       AND (slot.emmett_name = _id OR slot.processor = _id
            OR slot.projection = _projection AND slot.emmett_name IS NULL)
     ORDER BY slot.emmett_name IS NOT DISTINCT FROM _id DESC, slot.projection IS NOT DISTINCT FROM _projection DESC, slot.slot
     LIMIT 1
    $$;

-- Adds the processor of a client of Emmett's, with one slot.
CREATE OR REPLACE FUNCTION public.emt_neighbour_processor_add(
    _partition TEXT, _id TEXT, _version INTEGER, _checkpoint TEXT, _projection TEXT
) RETURNS VOID
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO public.emt_processor_slots
        (partition, processor, version, slot, position, store_epoch, projection, emmett_name, emmett_checkpoint,
         emmett_position)
    SELECT _partition, _id, _version, 0, reached.position, public.emt_store_epoch(), _projection, _id,
           _checkpoint, reached.position
      FROM (SELECT public.emt_neighbour_position(_partition, _checkpoint) AS position) AS reached
    $$;

-- Returns whether a client of Emmett's may keep this version of a projection. It may not if the projection is inline for a
-- program of ours, or such a program keeps another version.
CREATE OR REPLACE FUNCTION public.emt_neighbour_may_keep(_partition TEXT, _projection TEXT, _version INTEGER) RETURNS BOOLEAN
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT NOT EXISTS (
        SELECT FROM public.emt_projections AS projection
         WHERE projection.partition = _partition AND projection.name = _projection AND projection.definition ? 'handles'
           AND (projection.type = 'i' OR projection.version <> _version AND projection.status = 'active'))
    $$;

-- Takes a processor for a client of Emmett's.
CREATE OR REPLACE FUNCTION public.emt_try_acquire_processor_lock(
    p_lock_key               BIGINT,
    p_processor_id           TEXT,
    p_version                INTEGER,
    p_partition              TEXT       DEFAULT 'emt:default',
    p_processor_instance_id  TEXT       DEFAULT 'emt:unknown',
    p_projection_name        TEXT       DEFAULT NULL,
    p_projection_type        VARCHAR(1) DEFAULT NULL,
    p_projection_kind        TEXT       DEFAULT NULL,
    p_lock_timeout_seconds   INTEGER    DEFAULT 300
) RETURNS TABLE (acquired BOOLEAN, checkpoint TEXT)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _now TIMESTAMPTZ := clock_timestamp();
    _lease INTERVAL := make_interval(secs => p_lock_timeout_seconds);
    _name TEXT;
BEGIN
    acquired := FALSE;
    PERFORM public.emt_partition_check(p_partition);
    IF NOT pg_try_advisory_xact_lock(p_lock_key)
       OR NOT public.emt_neighbour_may_keep(p_partition, p_projection_name, p_version) THEN
        RETURN NEXT;
        RETURN;
    END IF;
    -- The same locks as a program of ours that registers a processor.
    PERFORM pg_advisory_xact_lock(public.emt_processor_lock_key(p_partition, least(p_processor_id, p_projection_name)));
    PERFORM pg_advisory_xact_lock(public.emt_processor_lock_key(p_partition, greatest(p_processor_id, p_projection_name)));
    _name := public.emt_neighbour_processor(p_partition, p_processor_id, p_version, p_projection_name);
    IF EXISTS (SELECT FROM public.emt_processor_slots AS other
                WHERE other.partition = p_partition AND other.projection = p_projection_name
                  AND other.processor IS DISTINCT FROM _name AND (other.handled IS NOT NULL OR other.expires_at > _now)) THEN
        RETURN NEXT;
        RETURN;
    END IF;
    -- A client of Emmett's may give its projector another id.
    UPDATE public.emt_processor_slots AS other SET projection = NULL
     WHERE other.partition = p_partition AND other.projection = p_projection_name
       AND other.processor IS DISTINCT FROM _name;
    IF _name IS NULL THEN
        _name := p_processor_id;
        PERFORM public.emt_neighbour_processor_add(
            p_partition, p_processor_id, p_version, lpad('0', 19, '0'), p_projection_name);
    END IF;
    PERFORM FROM public.emt_processor_slots AS slot
      WHERE slot.partition = p_partition AND slot.processor = _name AND slot.version = p_version
      ORDER BY slot.slot
        FOR UPDATE;
    -- In a later statement, which sees the commit of the previous holder.
    SELECT bool_and((slot.owner IS NULL OR slot.owner IN (p_processor_instance_id, 'emt:unknown') OR slot.expires_at <= _now
                     OR slot.expires_at - slot.emmett_lease + _lease <= _now) IS TRUE
                    AND (slot.wanted_by IS NULL OR slot.wanted_until <= _now)
                    AND slot.store_epoch = public.emt_store_epoch()
                    AND (slot.projection IS NOT DISTINCT FROM p_projection_name
                         OR slot.projection IS NULL AND slot.handled IS NULL))
           AND min(slot.position) = max(slot.position)
      INTO acquired
      FROM public.emt_processor_slots AS slot
     WHERE slot.partition = p_partition AND slot.processor = _name AND slot.version = p_version;
    IF NOT acquired THEN
        RETURN NEXT;
        RETURN;
    END IF;
    PERFORM public.emt_slot_raise_epoch(p_partition, _name, p_version, NULL::INTEGER[]);
    UPDATE public.emt_processor_slots AS slot
       SET owner = p_processor_instance_id, worker = 0, taken_at = _now, expires_at = _now + _lease, taken_position = NULL,
           crashes = 0, attempted = NULL, attempts = 0, status = 'active', last_error = NULL, busy_since = NULL,
           retry_at = NULL, wanted_by = NULL, wanted_until = NULL, projection = p_projection_name,
           emmett_name = coalesce(slot.emmett_name, p_processor_id), emmett_lease = _lease
     WHERE slot.partition = p_partition AND slot.processor = _name AND slot.version = p_version;
    PERFORM public.emt_neighbour_projection_run(
        p_partition, p_projection_name, p_version, p_projection_type::TEXT, p_projection_kind);
    SELECT public.emt_neighbour_checkpoint(slot.position, slot.emmett_checkpoint, slot.emmett_position) INTO checkpoint
      FROM public.emt_processor_slots AS slot
     WHERE slot.partition = p_partition AND slot.processor = _name AND slot.version = p_version AND slot.slot = 0;
    RETURN NEXT;
END
$$;

-- Releases a processor; FALSE if the client does not hold it.
CREATE OR REPLACE FUNCTION public.emt_release_processor_lock(
    p_lock_key               BIGINT,
    p_processor_id           TEXT,
    p_partition              TEXT,
    p_version                INTEGER,
    p_processor_instance_id  TEXT DEFAULT 'emt:unknown',
    p_projection_name        TEXT DEFAULT NULL
) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _name TEXT := public.emt_neighbour_processor(p_partition, p_processor_id, p_version, p_projection_name);
BEGIN
    PERFORM FROM public.emt_processor_slots AS slot
      WHERE slot.partition = p_partition AND slot.processor = _name AND slot.version = p_version
        AND slot.owner = p_processor_instance_id AND slot.emmett_lease IS NOT NULL
        FOR UPDATE;
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    PERFORM public.emt_slot_release(p_partition, _name, p_version, p_processor_instance_id, NULL::INTEGER, FALSE);
    PERFORM public.emt_neighbour_projection_rest(p_partition, p_projection_name, p_version);
    RETURN TRUE;
END
$$;

-- Moves the checkpoint of a processor, in the transaction of a batch, and returns 1. If it is not at p_check_position, it
-- changes nothing. The result is 0 at p_position, 3 after it, 2 otherwise. Emmett's clients commit their batch whatever the
-- answer is, and do not name themselves. So if a program of ours holds the processor, or held it last and moved it, the
-- batch fails: it was handled already.
CREATE OR REPLACE FUNCTION public.store_processor_checkpoint(
    p_processor_id           TEXT,
    p_version                BIGINT,
    p_position               TEXT,
    p_check_position         TEXT,
    p_transaction_id         XID8,
    p_partition              TEXT DEFAULT 'emt:default',
    p_processor_instance_id  TEXT DEFAULT 'emt:unknown'
) RETURNS INTEGER
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _name TEXT := public.emt_neighbour_processor(p_partition, p_processor_id, p_version::INTEGER, NULL);
    _number BIGINT := public.emt_neighbour_number(p_position);
    _at BIGINT;
    _is_even BOOLEAN;
    _is_ours BOOLEAN;
    _is_old BOOLEAN;
    _owner TEXT;
BEGIN
    IF _name IS NULL AND p_check_position IS NULL THEN
        PERFORM public.emt_partition_check(p_partition);
        PERFORM pg_advisory_xact_lock(public.emt_processor_lock_key(p_partition, p_processor_id));
        _name := public.emt_neighbour_processor(p_partition, p_processor_id, p_version::INTEGER, NULL);
        IF _name IS NULL THEN
            PERFORM public.emt_neighbour_processor_add(p_partition, p_processor_id, p_version::INTEGER, p_position, NULL);
            RETURN 1;
        END IF;
    END IF;
    PERFORM FROM public.emt_processor_slots AS slot
      WHERE slot.partition = p_partition AND slot.processor = _name AND slot.version = p_version
      ORDER BY slot.slot
        FOR UPDATE;
    -- In a later statement, which sees the commit of the previous holder.
    SELECT min(public.emt_neighbour_number(
               public.emt_neighbour_checkpoint(slot.position, slot.emmett_checkpoint, slot.emmett_position))),
           min(slot.position) = max(slot.position),
           bool_or(slot.taken_at IS NOT NULL AND slot.emmett_lease IS NULL),
           bool_or(slot.store_epoch < public.emt_store_epoch()),
           min(slot.owner) FILTER (WHERE slot.emmett_lease IS NULL AND slot.expires_at > clock_timestamp())
      INTO _at, _is_even, _is_ours, _is_old, _owner
      FROM public.emt_processor_slots AS slot
     WHERE slot.partition = p_partition AND slot.processor = _name AND slot.version = p_version;
    IF _owner IS NOT NULL THEN
        RAISE EXCEPTION 'processor "%" is held by "%": nothing of this batch is stored', _name, _owner
            USING ERRCODE = 'SE013', HINT = 'Start the processor again when it is free.';
    END IF;
    IF _is_old THEN
        RAISE EXCEPTION 'the checkpoint of processor "%" was written before the store was restored', _name
            USING ERRCODE = 'SE003', HINT = 'Set it to its next position: "emmett consumers reset".';
    END IF;
    IF _is_even AND _at = public.emt_neighbour_number(p_check_position) THEN
        UPDATE public.emt_processor_slots AS slot
           SET position = reached.position, attempted = NULL, attempts = 0, updated_at = clock_timestamp(),
               expires_at = CASE WHEN slot.owner IS NULL THEN slot.expires_at
                                 ELSE clock_timestamp() + slot.emmett_lease END,
               emmett_name = coalesce(slot.emmett_name, p_processor_id),
               emmett_checkpoint = p_position, emmett_position = reached.position
          FROM (SELECT public.emt_neighbour_position(p_partition, p_position) AS position) AS reached
         WHERE slot.partition = p_partition AND slot.processor = _name AND slot.version = p_version;
        RETURN 1;
    END IF;
    IF _is_ours THEN
        RAISE EXCEPTION 'processor "%" is at %, not at %: another program has moved it',
            _name, _at, coalesce(p_check_position, 'its beginning')
            USING ERRCODE = 'SE013', HINT = 'Start the processor again: it resumes there.';
    END IF;
    RETURN CASE WHEN _at = _number THEN 0 WHEN _at > _number THEN 3 ELSE 2 END;
END
$$;

-- Emmett's own functions write into emt_processors after its migrations have put them back, and so do people.
CREATE OR REPLACE FUNCTION public.emt_neighbour_processor_write() RETURNS TRIGGER
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _name TEXT;
    _position BIGINT;
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM public.emt_partition_check(NEW.partition);
        IF public.emt_neighbour_processor(NEW.partition, NEW.processor_id, NEW.version, NULL) IS NOT NULL THEN
            RAISE EXCEPTION 'there is a processor "%" already', NEW.processor_id USING ERRCODE = '23505';
        END IF;
        PERFORM public.emt_neighbour_processor_add(
            NEW.partition, NEW.processor_id, NEW.version, NEW.last_processed_checkpoint, NULL);
    END IF;
    _name := public.emt_neighbour_processor(
        coalesce(OLD.partition, NEW.partition), coalesce(OLD.processor_id, NEW.processor_id),
        coalesce(OLD.version, NEW.version), NULL);
    IF EXISTS (SELECT FROM public.emt_processor_slots AS slot
                WHERE slot.partition = coalesce(OLD.partition, NEW.partition) AND slot.processor = _name
                  AND slot.version = coalesce(OLD.version, NEW.version)
                  AND slot.owner IS NOT NULL AND slot.emmett_lease IS NULL AND slot.expires_at > clock_timestamp()) THEN
        RAISE EXCEPTION 'processor "%" is held: its row cannot be changed', _name
            USING ERRCODE = 'SE013', HINT = 'Stop its program first: "emmett consumers" names it.';
    END IF;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM public.emt_processor_slots AS slot
         WHERE slot.partition = OLD.partition AND slot.processor = _name AND slot.version = OLD.version;
        RETURN OLD;
    END IF;
    PERFORM public.emt_slot_raise_epoch(NEW.partition, _name, NEW.version, NULL::INTEGER[]);
    _position := public.emt_neighbour_position(NEW.partition, NEW.last_processed_checkpoint);
    UPDATE public.emt_processor_slots AS slot
       SET position = _position, emmett_checkpoint = NEW.last_processed_checkpoint, emmett_position = _position,
           emmett_name = coalesce(slot.emmett_name, NEW.processor_id),
           owner = CASE WHEN NEW.status <> 'stopped' THEN coalesce(NEW.processor_instance_id, 'emt:unknown') END,
           worker = CASE WHEN NEW.status <> 'stopped' THEN 0 END,
           emmett_lease = coalesce(slot.emmett_lease, INTERVAL '300 seconds'),
           taken_at = NEW.last_updated, updated_at = NEW.last_updated, taken_position = NULL,
           expires_at = CASE WHEN NEW.status <> 'stopped'
                             THEN NEW.last_updated + coalesce(slot.emmett_lease, INTERVAL '300 seconds') END
     WHERE slot.partition = NEW.partition AND slot.processor = _name AND slot.version = NEW.version;
    RETURN NEW;
END
$$;

DROP TRIGGER IF EXISTS emt_neighbour_processor_write ON public.emt_processors;
CREATE TRIGGER emt_neighbour_processor_write
    INSTEAD OF INSERT OR UPDATE OR DELETE ON public.emt_processors
    FOR EACH ROW EXECUTE FUNCTION public.emt_neighbour_processor_write();
