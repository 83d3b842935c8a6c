-- Projections as Emmett's clients see them: functions with Emmett's names, parameters and results, on emt_projections. A row
-- whose definition "handles" events belongs to a program of ours, which has registered it. Clients change nothing in it.
-- They do not run the projection in their appends, because that program handles those events. In a row of Emmett's,
-- 'async_processing' means that a client's projector runs it. No client runs it in its appends meanwhile.

-- Returns whether a client of Emmett's runs an inline projection in its append.
CREATE OR REPLACE FUNCTION public.emt_try_acquire_projection_lock(
    p_lock_key   BIGINT,
    p_partition  TEXT,
    p_name       TEXT,
    p_version    INTEGER
) RETURNS TABLE (acquired BOOLEAN, is_active BOOLEAN)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    acquired := pg_try_advisory_xact_lock_shared(p_lock_key);
    is_active := NOT EXISTS (
        SELECT FROM public.emt_projections AS projection
         WHERE projection.partition = p_partition AND projection.name = p_name
           AND (projection.definition ? 'handles'
                OR projection.version = p_version AND projection.status <> 'active'));
    RETURN NEXT;
END
$$;

-- Registers a projection of a client of Emmett's.
CREATE OR REPLACE FUNCTION public.emt_register_projection(
    p_lock_key    BIGINT,
    p_name        TEXT,
    p_partition   TEXT,
    p_version     INTEGER,
    p_type        VARCHAR(1),
    p_kind        TEXT,
    p_status      TEXT,
    p_definition  JSONB
) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM public.emt_partition_check(p_partition);
    IF NOT pg_try_advisory_xact_lock(p_lock_key) THEN
        RETURN FALSE;
    END IF;
    INSERT INTO public.emt_projections AS projection (version, type, name, partition, kind, status, definition)
    VALUES (p_version, p_type, p_name, p_partition, p_kind, p_status, p_definition - 'handles')
    ON CONFLICT (name, partition, version) DO UPDATE
        SET definition = EXCLUDED.definition, last_updated = now()
        WHERE NOT projection.definition ? 'handles';
    RETURN TRUE;
END
$$;

-- Changes the status of a projection of a client of Emmett's; FALSE if there is none, or the lock is taken.
CREATE OR REPLACE FUNCTION public.emt_neighbour_projection_change(
    _lock_key BIGINT, _partition TEXT, _name TEXT, _version INTEGER, _status TEXT
) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(_lock_key) THEN
        RETURN FALSE;
    END IF;
    UPDATE public.emt_projections AS projection
       SET status = _status, last_updated = now()
     WHERE projection.partition = _partition AND projection.name = _name AND projection.version = _version
       AND NOT projection.definition ? 'handles';
    RETURN FOUND;
END
$$;

CREATE OR REPLACE FUNCTION public.emt_activate_projection(
    p_lock_key   BIGINT,
    p_name       TEXT,
    p_partition  TEXT,
    p_version    INTEGER
) RETURNS BOOLEAN
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$ SELECT public.emt_neighbour_projection_change(p_lock_key, p_partition, p_name, p_version, 'active') $$;

CREATE OR REPLACE FUNCTION public.emt_deactivate_projection(
    p_lock_key   BIGINT,
    p_name       TEXT,
    p_partition  TEXT,
    p_version    INTEGER
) RETURNS BOOLEAN
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$ SELECT public.emt_neighbour_projection_change(p_lock_key, p_partition, p_name, p_version, 'inactive') $$;

-- Notes that a projector of a client of Emmett's runs. A deactivated projection stays deactivated.
CREATE OR REPLACE FUNCTION public.emt_neighbour_projection_run(
    _partition TEXT, _name TEXT, _version INTEGER, _type TEXT, _kind TEXT
) RETURNS VOID
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO public.emt_projections AS projection (version, type, name, partition, kind, status, definition)
    SELECT _version, coalesce(_type, 'a'), _name, _partition, coalesce(_kind, 'async'), 'async_processing', '{}'
     WHERE _name IS NOT NULL
    ON CONFLICT (name, partition, version) DO UPDATE
        SET status = 'async_processing', last_updated = now()
        WHERE projection.status = 'active' AND NOT projection.definition ? 'handles'
    $$;

-- Notes that it ends.
CREATE OR REPLACE FUNCTION public.emt_neighbour_projection_rest(_partition TEXT, _name TEXT, _version INTEGER) RETURNS VOID
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE public.emt_projections AS projection
       SET status = 'active', last_updated = now()
     WHERE projection.partition = _partition AND projection.name = _name AND projection.version = _version
       AND projection.status = 'async_processing' AND NOT projection.definition ? 'handles'
    $$;
