-- emt_collections: the names of the document tables. old_of: it keeps the read model that a rebuild of this one replaced.
CREATE TABLE IF NOT EXISTS public.emt_collections (
    name        TEXT         NOT NULL PRIMARY KEY,
    old_of      TEXT,
    created_at  TIMESTAMPTZ  NOT NULL DEFAULT now()
);

-- What has a name; NULL where nothing has. Looked up in the catalogue, because to_regclass may not see what others have
-- created or dropped while this transaction waited for them.
CREATE OR REPLACE FUNCTION public.emt_relation(name TEXT) RETURNS REGCLASS
    LANGUAGE sql
    AS $$
    SELECT oid::REGCLASS FROM pg_catalog.pg_class
     WHERE relnamespace = 'public'::REGNAMESPACE AND relname = emt_relation.name
    $$;

-- The table whose grants a new collection gets: where there are events, who may use them may use the documents.
CREATE OR REPLACE FUNCTION public.emt_granted_table() RETURNS TEXT
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE WHEN to_regclass('public.emt_streams') IS NULL THEN 'emt_collections' ELSE 'emt_streams' END
    $$;

-- Raises SE030 for a name that no collection can have.
CREATE OR REPLACE FUNCTION public.emt_check_collection_name(name TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF octet_length(emt_check_collection_name.name) NOT BETWEEN 1 AND 63 THEN
        RAISE EXCEPTION 'a collection''s name must have 1 to 63 bytes, "%" has %', emt_check_collection_name.name,
            octet_length(emt_check_collection_name.name) USING ERRCODE = 'SE030';
    END IF;
    IF starts_with(emt_check_collection_name.name, 'emt_') THEN
        RAISE EXCEPTION 'a collection''s name must not begin with emt_, as "%" does', emt_check_collection_name.name
            USING ERRCODE = 'SE030';
    END IF;
END
$$;

-- Keeps others from creating, dropping or renaming a collection of this name until the transaction ends.
CREATE OR REPLACE FUNCTION public.emt_lock_collection(name TEXT) RETURNS VOID
    LANGUAGE sql
    AS $$ SELECT pg_advisory_xact_lock(hashtextextended('public' || '.collection/' || emt_lock_collection.name, 0)) $$;

-- Creates the table of a document collection; FALSE where it exists. A table that is not registered is recognised if it
-- has the layout of a collection, and adopted if Pongo's Node library has made it. Raises SE030 for any other table.
CREATE OR REPLACE FUNCTION public.emt_create_collection(name TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM public.emt_check_collection_name(emt_create_collection.name);
    IF public.emt_relation(emt_create_collection.name) IS NOT NULL
       AND EXISTS (SELECT FROM public.emt_collections AS known WHERE known.name = emt_create_collection.name) THEN
        RETURN FALSE;
    END IF;
    PERFORM public.emt_lock_collection(emt_create_collection.name);
    IF public.emt_relation(emt_create_collection.name) IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM public.emt_collections AS known WHERE known.name = emt_create_collection.name) THEN
            PERFORM public.emt_recognise_collection(emt_create_collection.name);
        END IF;
        RETURN FALSE;
    END IF;
    EXECUTE format($sql$
        CREATE TABLE public.%I (
            _id         TEXT         NOT NULL COLLATE "C",
            data        JSONB        NOT NULL,
            metadata    JSONB        NOT NULL DEFAULT '{}',
            _version    BIGINT       NOT NULL DEFAULT 1,
            _partition  TEXT         NOT NULL DEFAULT 'emt:default',
            _archived   BOOLEAN      NOT NULL DEFAULT FALSE,
            _created    TIMESTAMPTZ  NOT NULL DEFAULT now(),
            _updated    TIMESTAMPTZ  NOT NULL DEFAULT now(),
            PRIMARY KEY (_id, _partition)
        ) WITH (fillfactor = 80)
        $sql$, emt_create_collection.name);
    PERFORM public.emt_copy_grants(public.emt_granted_table(), emt_create_collection.name);
    -- A row is there where somebody has dropped the table alone.
    INSERT INTO public.emt_collections (name) VALUES (emt_create_collection.name)
    ON CONFLICT (name) DO UPDATE SET old_of = NULL, created_at = now();
    RETURN TRUE;
END
$$;

-- Raises SE032 where a projection keeps the collection: that would go on with another one, or with none.
CREATE OR REPLACE FUNCTION public.emt_refuse_read_model(name TEXT, doing TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _projection TEXT;
BEGIN
    IF to_regclass('public.emt_projections') IS NULL THEN
        RETURN;
    END IF;
    -- EXECUTE, because the table comes with the event store.
    EXECUTE 'SELECT name FROM public.emt_projections WHERE name = $1 LIMIT 1'
       INTO _projection USING emt_refuse_read_model.name;
    IF _projection IS NOT NULL THEN
        RAISE EXCEPTION 'collection "%" cannot be %: it is the read model of projection "%", which is registered',
            emt_refuse_read_model.name, emt_refuse_read_model.doing, _projection USING ERRCODE = 'SE032';
    END IF;
END
$$;

-- Drops a collection with all its documents, those of all tenants; FALSE where there is none.
CREATE OR REPLACE FUNCTION public.emt_drop_collection(name TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    _exists BOOLEAN;
BEGIN
    PERFORM public.emt_lock_collection(emt_drop_collection.name);
    PERFORM public.emt_refuse_read_model(emt_drop_collection.name, 'dropped');
    _exists := public.emt_relation(emt_drop_collection.name) IS NOT NULL;
    DELETE FROM public.emt_collections AS known WHERE known.name = emt_drop_collection.name;
    IF NOT FOUND THEN
        IF _exists THEN
            RAISE EXCEPTION 'table "%" is not a collection of this library', emt_drop_collection.name
                USING ERRCODE = 'SE030', HINT = 'A collection of somebody else''s has to be opened before it is dropped.';
        END IF;
        RETURN FALSE;
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS public.%I', emt_drop_collection.name);
    RETURN _exists;
END
$$;

-- Renames a collection. Raises SE030 where the new name is taken, SE033 where there is no such collection.
CREATE OR REPLACE FUNCTION public.emt_rename_collection(name TEXT, new_name TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM public.emt_check_collection_name(emt_rename_collection.new_name);
    -- In one order: two that swap names must not wait for each other.
    PERFORM public.emt_lock_collection(least(emt_rename_collection.name, emt_rename_collection.new_name));
    PERFORM public.emt_lock_collection(greatest(emt_rename_collection.name, emt_rename_collection.new_name));
    PERFORM public.emt_refuse_read_model(emt_rename_collection.name, 'renamed');
    IF public.emt_relation(emt_rename_collection.new_name) IS NOT NULL THEN
        RAISE EXCEPTION 'collection "%" cannot be renamed to "%": there is something of that name',
            emt_rename_collection.name, emt_rename_collection.new_name USING ERRCODE = 'SE030';
    END IF;
    DELETE FROM public.emt_collections AS known WHERE known.name = emt_rename_collection.new_name;
    UPDATE public.emt_collections AS known SET name = emt_rename_collection.new_name
     WHERE known.name = emt_rename_collection.name;
    IF NOT FOUND OR public.emt_relation(emt_rename_collection.name) IS NULL THEN
        RAISE EXCEPTION 'there is no collection "%"', emt_rename_collection.name USING ERRCODE = 'SE033';
    END IF;
    -- What a rebuild has kept of it.
    UPDATE public.emt_collections AS known SET old_of = emt_rename_collection.new_name
     WHERE known.old_of = emt_rename_collection.name;
    EXECUTE format('ALTER TABLE public.%I RENAME TO %I', emt_rename_collection.name, emt_rename_collection.new_name);
END
$$;

-- Deletes the documents of a partition in all collections, and returns how many.
CREATE OR REPLACE FUNCTION public.emt_delete_documents(partition TEXT) RETURNS BIGINT
    LANGUAGE plpgsql
    AS $$
DECLARE
    _table TEXT;
    _deleted BIGINT;
    _all BIGINT := 0;
BEGIN
    FOR _table IN SELECT known.name FROM public.emt_collections AS known
                   WHERE public.emt_relation(known.name) IS NOT NULL ORDER BY known.name COLLATE "C" LOOP
        EXECUTE format('DELETE FROM public.%I WHERE _partition = $1', _table) USING emt_delete_documents.partition;
        GET DIAGNOSTICS _deleted = ROW_COUNT;
        _all := _all + _deleted;
    END LOOP;
    RETURN _all;
END
$$;

-- The same for a tenant of a client's. Raises SE034 for one that an event store knows: its events would stay.
CREATE OR REPLACE FUNCTION public.emt_delete_tenant_documents(partition TEXT) RETURNS BIGINT
    LANGUAGE plpgsql
    AS $$
DECLARE
    _is_registered BOOLEAN := FALSE;
BEGIN
    IF to_regclass('public.emt_partitions') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM public.emt_partitions WHERE partition = $1)'
           INTO _is_registered USING emt_delete_tenant_documents.partition;
    END IF;
    IF _is_registered THEN
        RAISE EXCEPTION 'the event store has a tenant "%", with events', emt_delete_tenant_documents.partition
            USING ERRCODE = 'SE034';
    END IF;
    RETURN public.emt_delete_documents(emt_delete_tenant_documents.partition);
END
$$;
