-- emt_rebuilds: one row for each running rebuild, with its progress. Its tables are emt_shadow_<id>_<number>, in the order
-- of tables. The row exists from emt_rebuild_begin to emt_rebuild_end. The next rebuild of the projection removes the
-- remains of a crash.
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

-- Returns the key of the advisory lock of a rebuild: one at a time for each projection.
CREATE OR REPLACE FUNCTION public.emt_rebuild_lock_key(_partition TEXT, _name TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT hashtextextended('public' || '.rebuild/' || _partition || '/' || _name, 0) $$;

-- Returns whether a program runs the rebuild of a projection: it holds that lock. The row of a dead program may still exist.
CREATE OR REPLACE FUNCTION public.emt_rebuild_is_running(_partition TEXT, _name TEXT) RETURNS BOOLEAN
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (
        SELECT FROM pg_locks AS held, public.emt_rebuild_lock_key(_partition, _name) AS key (value)
         WHERE held.locktype = 'advisory' AND held.objsubid = 1
           AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND held.classid::BIGINT = key.value >> 32 & 4294967295
           AND held.objid::BIGINT = key.value & 4294967295)
    $$;

-- Removes the remains of rebuilds whose lock nobody holds: their program has died, or a writer has begun them by hand. If
-- their tables are in use, the next rebuild removes them.
CREATE OR REPLACE FUNCTION public.emt_rebuild_end_abandoned() RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
    AS $$
DECLARE
    _abandoned BIGINT;
BEGIN
    FOR _abandoned IN
        SELECT rebuild.id FROM public.emt_rebuilds AS rebuild
         WHERE NOT public.emt_rebuild_is_running(rebuild.partition, rebuild.name)
    LOOP
        BEGIN
            PERFORM public.emt_rebuild_end(_abandoned);
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- Begins a rebuild of a registered projection. It creates an empty table beside each of the read model's, and removes the
-- remains of earlier rebuilds. Returns its id. The caller holds the lock of emt_rebuild_lock_key, so no other program runs
-- it, and may read the tables. The new tables are unlogged: a crash of the server ends that lock, too, and with it the
-- rebuild.
CREATE OR REPLACE FUNCTION public.emt_rebuild_begin(_partition TEXT, _name TEXT, _version INTEGER, _tables TEXT[])
    RETURNS BIGINT
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s'
    AS $$
DECLARE
    _id BIGINT;
BEGIN
    PERFORM public.emt_caller_require_writer();
    PERFORM public.emt_partition_check(_partition);
    IF NOT EXISTS (SELECT FROM public.emt_projections AS projection
                    WHERE projection.partition = _partition AND projection.name = _name) THEN
        RAISE EXCEPTION 'projection "%" is not registered', _name USING ERRCODE = 'SE011';
    END IF;
    PERFORM public.emt_rebuild_end_abandoned();
    PERFORM public.emt_rebuild_end(rebuild.id)
       FROM public.emt_rebuilds AS rebuild
      WHERE rebuild.partition = _partition AND rebuild.name = _name;
    INSERT INTO public.emt_rebuilds AS rebuild (partition, name, version, tables)
    VALUES (_partition, _name, _version, _tables)
    RETURNING rebuild.id INTO _id;
    FOR _number IN 1 .. cardinality(_tables) LOOP
        PERFORM public.emt_table_create_like(_tables[_number], format('emt_shadow_%s_%s', _id, _number), TRUE);
    END LOOP;
    RETURN _id;
END
$$;

-- Ends a rebuild and drops its tables; FALSE if another one has taken its place.
CREATE OR REPLACE FUNCTION public.emt_rebuild_end(_id BIGINT) RETURNS BOOLEAN
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _tables INTEGER;
BEGIN
    PERFORM public.emt_caller_require_writer();
    DELETE FROM public.emt_rebuilds AS rebuild WHERE rebuild.id = _id
    RETURNING cardinality(rebuild.tables) INTO _tables;
    FOR _number IN 1 .. coalesce(_tables, 0) LOOP
        EXECUTE format('DROP TABLE IF EXISTS public.%I', format('emt_shadow_%s_%s', _id, _number));
    END LOOP;
    RETURN _tables IS NOT NULL;
END
$$;

-- Returns the role that called a function which runs as the owner.
CREATE OR REPLACE FUNCTION public.emt_caller() RETURNS TEXT
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE current_setting('role') WHEN 'none' THEN session_user::TEXT ELSE current_setting('role') END
    $$;

-- Refuses callers that are no writers. A writer may rebuild its read models without owning the schema. The functions that
-- create and drop tables for that run as the owner, and every role could call them.
CREATE OR REPLACE FUNCTION public.emt_caller_require_writer() RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT has_table_privilege(public.emt_caller(), 'public.emt_projections', 'UPDATE') THEN
        RAISE EXCEPTION 'role "%" may not rebuild projections', public.emt_caller()
            USING ERRCODE = '42501', HINT = 'Give it the access of a writer with emt_grant.';
    END IF;
END
$$;
