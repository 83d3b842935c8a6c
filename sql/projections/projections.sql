-- emt_projections: one row for each version of a projection. type 'i' is inline (kept by appends), 'a' asynchronous (kept by
-- a consumer). All versions of a name have the same type. status:
--   'active'    this version keeps the read model. At most one version of a name is active.
--   'inactive'  another version keeps the read model. A rebuild makes this one active.
--   'building'  inline: registered and not built yet. The build finds events that are appended meanwhile.
--   'arming'    inline: it is built but for the last events. Each append notes its events (emt_missed), until it is active.
--   'stale'     inline: its missed events are no longer noted. It must be built anew.
--
--   building, stale, inactive --> arming --> active --> inactive (another version is activated)
--                                   |          +------> stale    (too much is missed: emt_projection_expire)
--                                   +------> the status before   (the build has failed)
--
-- last_updated of an inline one shows that a program with its code lives: its follower renews it while an event is missed.
--
-- Emmett's own clients register projections, too, and keep them themselves. Their definition has no "handles", and no append
-- of ours looks at such rows. They call each type 'a', and write 'async_processing' while a projector of theirs runs. A
-- program of ours takes such a row over when it registers the projection.
--
-- definition: handles and categories are the types and categories that it handles, or null for all. events has the same for
-- each of its event enums. emmett is true if a client of Emmett's has kept it before.
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

-- Returns the key of the advisory lock under which a projection is registered. Two programs that start together must not
-- both find none active.
CREATE OR REPLACE FUNCTION public.emt_projection_register_key(_partition TEXT, _name TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT hashtextextended('public' || '.register/' || _partition || '/' || _name, 0) $$;

-- Registers a projection. An asynchronous one becomes active if no version of its name is. An inline one has to be built
-- first, unless its name has a higher version already.
CREATE OR REPLACE FUNCTION public.emt_projection_register(
    _partition   TEXT,
    _name        TEXT,
    _version     INTEGER,
    _type        TEXT,
    _kind        TEXT,
    _definition  JSONB
) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM public.emt_partition_check(_partition);
    PERFORM pg_advisory_xact_lock(public.emt_projection_register_key(_partition, _name));
    -- Emmett's clients register the projections of their appends as type 'a', too. The state of such a read model is not
    -- known, so it is built anew.
    UPDATE public.emt_projections AS projection
       SET type = 'i', status = 'inactive'
     WHERE _type = 'i' AND projection.partition = _partition AND projection.name = _name AND projection.type = 'a'
       AND NOT projection.definition ? 'handles'
       AND NOT public.emt_processor_is_of(_partition, _name);
    -- Its events would be counted twice.
    IF EXISTS (SELECT FROM public.emt_projections AS other
                WHERE other.partition = _partition AND other.name = _name AND other.type <> _type) THEN
        RAISE EXCEPTION 'projection "%" is kept %', _name,
            CASE _type WHEN 'i' THEN 'by a consumer, so it cannot be inline'
                       ELSE 'inline, so no consumer can keep it' END
            USING ERRCODE = 'SE013', HINT = 'Give one of them another name.';
    END IF;
    INSERT INTO public.emt_projections AS projection (version, type, name, partition, kind, status, definition)
    SELECT _version, _type, _name, _partition, _kind,
           CASE WHEN EXISTS (SELECT FROM public.emt_projections AS other
                              WHERE other.partition = _partition AND other.name = _name
                                AND (_type = 'a' OR other.version > _version))
                THEN 'inactive'
                WHEN _type = 'i' THEN 'building' ELSE 'active' END,
           _definition
    ON CONFLICT (name, partition, version) DO UPDATE
        SET definition = EXCLUDED.definition || CASE
                WHEN projection.definition ? 'handles' AND NOT projection.definition ? 'emmett' THEN '{}'
                ELSE '{"emmett": true}' END::JSONB,
            last_updated = now(),
            status = CASE WHEN projection.definition ? 'handles' THEN projection.status
                          -- The state of a client's read model is not known.
                          WHEN projection.type = 'i' THEN 'building'
                          WHEN EXISTS (SELECT FROM public.emt_projections AS other
                                        WHERE other.partition = _partition AND other.name = _name
                                          AND other.version <> _version
                                          AND other.status IN ('active', 'async_processing')) THEN 'inactive'
                          ELSE 'active' END
        WHERE projection.definition - 'emmett' IS DISTINCT FROM EXCLUDED.definition;
END
$$;

-- Keeps the columns of emt_partitions that appends read, after each change of emt_projections. Runs as the owner: a writer
-- may register its projections, but not change the row of a partition.
CREATE OR REPLACE FUNCTION public.emt_projection_note() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _projection public.emt_projections;
    _known JSONB;
BEGIN
    _projection := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    IF TG_OP = 'UPDATE' AND (OLD.status, OLD.definition) IS NOT DISTINCT FROM (NEW.status, NEW.definition) THEN
        RETURN NULL;
    END IF;
    IF _projection.type <> 'i' OR NOT _projection.definition ? 'handles' THEN
        RETURN NULL;
    END IF;
    SELECT tenant.inline_projections - (_projection.version || ':' || _projection.name) INTO _known
      FROM public.emt_partitions AS tenant WHERE tenant.partition = _projection.partition
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        _known := _known || jsonb_build_object(_projection.version || ':' || _projection.name, jsonb_build_object(
            'name', _projection.name, 'version', _projection.version, 'status', _projection.status,
            'handles', _projection.definition -> 'handles', 'categories', _projection.definition -> 'categories'));
    END IF;
    UPDATE public.emt_partitions AS tenant
       SET inline_projections = _known,
           inline_versions = (SELECT coalesce(jsonb_object_agg(known.value ->> 'name', known.value -> 'version'), '{}')
                                FROM jsonb_each(_known) AS known WHERE known.value ->> 'status' = 'active'),
           is_arming = EXISTS (SELECT FROM jsonb_each(_known) AS known WHERE known.value ->> 'status' = 'arming')
     WHERE tenant.partition = _projection.partition AND tenant.inline_projections <> _known;
    IF FOUND THEN
        -- From now on, appends look. Every snapshot sees the flag at once.
        PERFORM nextval(format('public.%I', 'emt_inline_in_' || public.emt_partition_suffix(_projection.partition)));
    END IF;
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS emt_projection_note ON public.emt_projections;
CREATE TRIGGER emt_projection_note
    AFTER INSERT OR UPDATE OR DELETE ON public.emt_projections
    FOR EACH ROW EXECUTE FUNCTION public.emt_projection_note();

-- Returns the key of the advisory lock of a partition's inline projections. Appends that run some and followers hold it
-- shared. The switch of a rebuild and a follower's last batch hold it exclusively.
CREATE OR REPLACE FUNCTION public.emt_projection_lock_key(_partition TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.hashtextextended('public' || '.projections/' || _partition, 0) $$;

-- Holds the inline projections of a partition in place until the transaction ends.
CREATE OR REPLACE FUNCTION public.emt_projection_share(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE sql
    AS $$ SELECT pg_catalog.pg_advisory_xact_lock_shared(public.emt_projection_lock_key(_partition)) IS NOT NULL $$;

-- Holds them exclusively: waits for the appends that hold them, and makes later ones wait.
CREATE OR REPLACE FUNCTION public.emt_projection_lock(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$ SELECT pg_advisory_xact_lock(public.emt_projection_lock_key(_partition)) IS NOT NULL $$;
