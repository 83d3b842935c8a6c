-- Collections: tables of documents. emt_collection_create below creates a table for each. Its columns have Pongo's names, so
-- there "_id" and "_partition" are columns. Only statements of format() use them, with $1 for parameters.

-- emt_collections: one row for each collection. A table that is not listed here is no collection, whatever its columns are.
-- old_of: the collection keeps documents that a rebuild of the named one has replaced; NULL for all others. A row without
-- its table is harmless: creating the collection again uses the row.
CREATE TABLE IF NOT EXISTS public.emt_collections (
    name        TEXT         NOT NULL PRIMARY KEY,
    old_of      TEXT,
    created_at  TIMESTAMPTZ  NOT NULL DEFAULT now()
);

-- Returns the relation of a name; NULL if there is none. It reads the catalog, because to_regclass may miss changes of other
-- sessions while this transaction waited.
CREATE OR REPLACE FUNCTION public.emt_relation(_name TEXT) RETURNS REGCLASS
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT oid::REGCLASS FROM pg_catalog.pg_class
     WHERE relnamespace = 'public'::REGNAMESPACE AND relname = _name
    $$;

-- Returns the table whose grants a new collection gets. With events, roles that may use them may use the documents.
CREATE OR REPLACE FUNCTION public.emt_collection_grants_source() RETURNS TEXT
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN to_regclass('public.emt_streams') IS NULL THEN 'emt_collections' ELSE 'emt_streams' END
    $$;

-- Raises SE030 for a name that no collection can have.
CREATE OR REPLACE FUNCTION public.emt_collection_check_name(_name TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF octet_length(_name) NOT BETWEEN 1 AND 63 THEN
        RAISE EXCEPTION 'a collection''s name must have 1 to 63 bytes, "%" has %', _name, octet_length(_name)
            USING ERRCODE = 'SE030';
    END IF;
    IF starts_with(_name, 'emt_') THEN
        RAISE EXCEPTION 'a collection''s name must not begin with emt_, as "%" does', _name USING ERRCODE = 'SE030';
    END IF;
END
$$;

-- Keeps other transactions from creating, dropping or renaming a collection of this name until this one ends.
CREATE OR REPLACE FUNCTION public.emt_collection_lock(_name TEXT) RETURNS VOID
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$ SELECT pg_advisory_xact_lock(hashtextextended('public' || '.collection/' || _name, 0)) $$;

-- Creates the table of a document collection; FALSE if it exists. A table that is not registered is registered if it has the
-- layout of a collection. A table of Pongo for Node is adopted. Raises SE030 for any other table.
CREATE OR REPLACE FUNCTION public.emt_collection_create(_name TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM public.emt_collection_check_name(_name);
    IF public.emt_relation(_name) IS NOT NULL
       AND EXISTS (SELECT FROM public.emt_collections AS known WHERE known.name = _name) THEN
        RETURN FALSE;
    END IF;
    PERFORM public.emt_collection_lock(_name);
    IF public.emt_relation(_name) IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM public.emt_collections AS known WHERE known.name = _name) THEN
            PERFORM public.emt_collection_recognise(_name);
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
        $sql$, _name);
    PERFORM public.emt_table_copy_grants(public.emt_collection_grants_source(), _name);
    -- The row exists if the table alone was dropped.
    INSERT INTO public.emt_collections (name) VALUES (_name)
    ON CONFLICT (name) DO UPDATE SET old_of = NULL, created_at = now();
    RETURN TRUE;
END
$$;

-- Raises SE032 if a projection keeps the collection: the projection would continue with another one, or with none.
CREATE OR REPLACE FUNCTION public.emt_collection_refuse_read_model(_name TEXT, _doing TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _projection TEXT;
BEGIN
    IF to_regclass('public.emt_projections') IS NULL THEN
        RETURN;
    END IF;
    -- EXECUTE, because the table comes with the event store.
    EXECUTE 'SELECT name FROM public.emt_projections WHERE name = $1 LIMIT 1' INTO _projection USING _name;
    IF _projection IS NOT NULL THEN
        RAISE EXCEPTION 'collection "%" cannot be %: it is the read model of projection "%", which is registered',
            _name, _doing, _projection USING ERRCODE = 'SE032';
    END IF;
END
$$;

-- Drops a collection with all its documents, of all tenants; FALSE if there is none.
CREATE OR REPLACE FUNCTION public.emt_collection_drop(_name TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _exists BOOLEAN;
BEGIN
    PERFORM public.emt_collection_lock(_name);
    PERFORM public.emt_collection_refuse_read_model(_name, 'dropped');
    _exists := public.emt_relation(_name) IS NOT NULL;
    DELETE FROM public.emt_collections AS known WHERE known.name = _name;
    IF NOT FOUND THEN
        IF _exists THEN
            RAISE EXCEPTION 'table "%" is not a collection of this library', _name
                USING ERRCODE = 'SE030', HINT = 'Open a collection of another program before you drop it.';
        END IF;
        RETURN FALSE;
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS public.%I', _name);
    RETURN _exists;
END
$$;

-- Renames a collection. Raises SE030 if the new name is taken, SE033 if there is no such collection.
CREATE OR REPLACE FUNCTION public.emt_collection_rename(_name TEXT, _new_name TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM public.emt_collection_check_name(_new_name);
    -- In one order: two renames that swap names must not wait for each other.
    PERFORM public.emt_collection_lock(least(_name, _new_name));
    PERFORM public.emt_collection_lock(greatest(_name, _new_name));
    PERFORM public.emt_collection_refuse_read_model(_name, 'renamed');
    IF public.emt_relation(_new_name) IS NOT NULL THEN
        RAISE EXCEPTION 'collection "%" cannot be renamed to "%": the name is taken', _name, _new_name
            USING ERRCODE = 'SE030';
    END IF;
    DELETE FROM public.emt_collections AS known WHERE known.name = _new_name;
    UPDATE public.emt_collections AS known SET name = _new_name WHERE known.name = _name;
    IF NOT FOUND OR public.emt_relation(_name) IS NULL THEN
        RAISE EXCEPTION 'there is no collection "%"', _name USING ERRCODE = 'SE033';
    END IF;
    -- The documents that a rebuild has kept of it.
    UPDATE public.emt_collections AS known SET old_of = _new_name WHERE known.old_of = _name;
    EXECUTE format('ALTER TABLE public.%I RENAME TO %I', _name, _new_name);
END
$$;

-- Deletes the documents of a partition in all collections, and returns their number.
CREATE OR REPLACE FUNCTION public.emt_document_delete_all(_partition TEXT) RETURNS BIGINT
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _table TEXT;
    _deleted BIGINT;
    _all BIGINT := 0;
BEGIN
    FOR _table IN SELECT known.name FROM public.emt_collections AS known
                   WHERE public.emt_relation(known.name) IS NOT NULL ORDER BY known.name COLLATE "C" LOOP
        EXECUTE format('DELETE FROM public.%I WHERE _partition = $1', _table) USING _partition;
        GET DIAGNOSTICS _deleted = ROW_COUNT;
        _all := _all + _deleted;
    END LOOP;
    RETURN _all;
END
$$;

-- The same for a tenant of a client without events. Raises SE034 for a tenant of an event store: its events would stay.
CREATE OR REPLACE FUNCTION public.emt_document_delete_tenant(_partition TEXT) RETURNS BIGINT
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _is_registered BOOLEAN := FALSE;
BEGIN
    IF to_regclass('public.emt_partitions') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM public.emt_partitions WHERE partition = $1)'
           INTO _is_registered USING _partition;
    END IF;
    IF _is_registered THEN
        RAISE EXCEPTION 'the event store has a tenant "%", with events', _partition USING ERRCODE = 'SE034';
    END IF;
    RETURN public.emt_document_delete_all(_partition);
END
$$;

-- Returns the key of the lock on a tenant's documents: shared by transactions that write some, exclusive for the tenant's
-- removal.
CREATE OR REPLACE FUNCTION public.emt_document_tenant_key(_partition TEXT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.hashtextextended('public' OPERATOR(pg_catalog.||) '.tenant/' OPERATOR(pg_catalog.||) _partition, 0) $$;

-- Raises SE005 if an event store in the schema does not know the tenant. Without an event store, each tenant is known.
-- Statements that read a tenant's documents call it once each, in their own snapshot.
CREATE OR REPLACE FUNCTION public.emt_document_require_tenant(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
BEGIN
    IF _partition = 'emt:default' OR pg_catalog.to_regclass('public.emt_partitions') IS NULL THEN
        RETURN TRUE;
    END IF;
    PERFORM public.emt_partition_check(_partition);
    RETURN TRUE;
END
$$;

-- The same for statements that write: returns the partition, and keeps the tenant from being removed until the transaction
-- ends. It is VOLATILE, so that the look after the lock sees a removal that was committed meanwhile. The lock is tried,
-- because a removal may be waiting for this transaction's appends. The tenant is as good as removed then.
CREATE OR REPLACE FUNCTION public.emt_document_hold_tenant(_partition TEXT) RETURNS TEXT
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF _partition = 'emt:default' OR pg_catalog.to_regclass('public.emt_partitions') IS NULL THEN
        RETURN _partition;
    END IF;
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(public.emt_document_tenant_key(_partition)) THEN
        RAISE EXCEPTION 'tenant "%" is being removed', _partition USING ERRCODE = 'SE005', DETAIL = _partition;
    END IF;
    PERFORM public.emt_partition_check(_partition);
    -- The snapshot may be older than a removal. Locking the row fails then.
    IF pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM public.emt_partition_share(_partition);
    END IF;
    RETURN _partition;
END
$$;
