-- emt_projections: one row a version of a projection. type 'i' is inline (kept by appends), 'a' asynchronous (kept by a
-- consumer); all versions of a name have the same type. status:
--   'active'    this version keeps the read model. At most one version of a name is active.
--   'inactive'  it does not: another version is the active one. A rebuild makes it active.
--   'stale'     it has missed events, after an import without it. Appends with it fail until it is rebuilt.
-- definition: handles and categories, the types and categories that it handles, or null for all; events, the same for each
-- of its event enums.
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

-- Registers a projection; where none of its name is active yet, this version becomes the active one.
CREATE OR REPLACE FUNCTION public.emt_projection_register(
    _partition   TEXT,
    _name        TEXT,
    _version     INTEGER,
    _type        TEXT,
    _kind        TEXT,
    _definition  JSONB
) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM public.emt_partition_check(_partition);
    -- Two programs that start together must not both find none active.
    PERFORM pg_advisory_xact_lock(hashtextextended('public' || '.register/' || _partition || '/' || _name, 0));
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
                              WHERE other.partition = _partition AND other.name = _name)
                THEN 'inactive' ELSE 'active' END,
           _definition
    ON CONFLICT (name, partition, version) DO UPDATE
        SET definition = EXCLUDED.definition, last_updated = now()
        WHERE projection.definition IS DISTINCT FROM EXCLUDED.definition;
END
$$;

-- Keeps emt_partitions.inline_versions, after each change of emt_projections. Runs as the owner: a writer may
-- register its projections, but not change the row of a partition. Each change stands for itself, so concurrent ones
-- add up.
CREATE OR REPLACE FUNCTION public.emt_projection_note() RETURNS TRIGGER
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

DROP TRIGGER IF EXISTS emt_projection_note ON public.emt_projections;
CREATE TRIGGER emt_projection_note
    AFTER INSERT OR UPDATE OR DELETE ON public.emt_projections
    FOR EACH ROW EXECUTE FUNCTION public.emt_projection_note();

-- The key of the advisory lock of a partition's inline projections: appends hold it shared, the switch of a rebuild
-- exclusively.
CREATE OR REPLACE FUNCTION public.emt_projection_lock_key(_partition TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT hashtextextended('public' || '.projections/' || _partition, 0) $$;

-- Holds the inline projections of an append in place until it ends, and checks that the caller's code is of the active
-- versions. Looks after the lock, in a statement of its own: a version may have changed while we waited.
CREATE OR REPLACE FUNCTION public.emt_projection_share(_partition TEXT, _projections JSONB) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
DECLARE
    _held BOOLEAN := pg_advisory_xact_lock_shared(public.emt_projection_lock_key(_partition)) IS NOT NULL;
    _active BOOLEAN;
BEGIN
    -- Above READ COMMITTED, the snapshot is older than the lock; a row lock fails where the row has changed since.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        EXECUTE format('SELECT FROM public.%I WHERE $1 ? name FOR SHARE',
                       'emt_projections_' || public.emt_partition_suffix(_partition))
            USING _projections;
    END IF;
    SELECT tenant.inline_versions @> _projections INTO _active
      FROM public.emt_partitions AS tenant WHERE tenant.partition = _partition;
    IF _active IS NOT TRUE THEN
        PERFORM public.emt_projection_refuse(_partition, _projections);
    END IF;
    RETURN TRUE;
END
$$;

-- Says which of these inline projections is not the active one, and why.
CREATE OR REPLACE FUNCTION public.emt_projection_refuse(_partition TEXT, _projections JSONB) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _name TEXT;
    _version INTEGER;
    _active INTEGER;
    _status TEXT;
BEGIN
    PERFORM public.emt_partition_check(_partition);
    SELECT projection.key, projection.value, (tenant.inline_versions ->> projection.key)::INTEGER
      INTO _name, _version, _active
      FROM public.emt_partitions AS tenant, jsonb_each(_projections) AS projection
     WHERE tenant.partition = _partition
       AND (tenant.inline_versions -> projection.key) IS DISTINCT FROM projection.value
     LIMIT 1;
    IF _active IS NOT NULL THEN
        RAISE EXCEPTION 'inline projection "%": this program has version %, the active one is %',
            _name, _version, _active USING ERRCODE = 'SE010';
    END IF;
    EXECUTE format('SELECT status FROM public.%I WHERE name = $1 AND version = $2',
                   'emt_projections_' || public.emt_partition_suffix(_partition))
        INTO _status USING _name, _version;
    IF _status IS NULL THEN
        RAISE EXCEPTION 'inline projection "%" is not registered', _name USING ERRCODE = 'SE011';
    END IF;
    RAISE EXCEPTION 'inline projection "%" is %: its read model is not kept', _name, _status
        USING ERRCODE = 'SE012', HINT = 'Rebuild it, then append again.';
END
$$;
