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

-- The advisory lock of whoever rebuilds a projection: one at a time.
CREATE OR REPLACE FUNCTION public.emt_rebuild_lock(partition TEXT, name TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT hashtextextended('public' || '.rebuild/' || emt_rebuild_lock.partition || '/' || emt_rebuild_lock.name, 0)
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
