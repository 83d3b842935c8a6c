-- emmett-postgresql, schema version 1: collections of documents.
--
-- All that `PongoClient` needs. The event store's schema.sql builds on it, and has the conventions that hold here, too.
-- Applying it again changes nothing.
--
-- SQLSTATEs of our own: SE030 collection name or layout, SE031 tenant of the event store, SE032 read model of a projection,
-- SE033 collection unknown.


--------------------------------------------------------------------------------------------------------------- tables

DO $$
BEGIN
    IF to_regnamespace('public') IS NULL THEN
        CREATE SCHEMA public;
    END IF;
END
$$;

-- emt_migrations: one row an applied migration. The checksum is NULL where psql applied it.
CREATE TABLE IF NOT EXISTS public.emt_migrations (
    version     INTEGER      NOT NULL PRIMARY KEY,
    name        TEXT         NOT NULL,
    checksum    TEXT,
    applied_at  TIMESTAMPTZ  NOT NULL DEFAULT now()
);

-- emt_collections: the names of the document tables. old_of: it keeps the read model that a rebuild of this one replaced.
CREATE TABLE IF NOT EXISTS public.emt_collections (
    name        TEXT         NOT NULL PRIMARY KEY,
    old_of      TEXT,
    created_at  TIMESTAMPTZ  NOT NULL DEFAULT now()
);


--------------------------------------------------------------------------------------------------------------- grants

-- Gives a new table the grants of an older one.
CREATE OR REPLACE FUNCTION public.emt_copy_grants(source TEXT, target TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _role TEXT;
    _privileges TEXT;
BEGIN
    FOR _role, _privileges IN
        SELECT CASE WHEN grants.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grants.grantee)) END,
               string_agg(grants.privilege_type, ', ')
          FROM pg_class AS relation, aclexplode(relation.relacl) AS grants
         WHERE relation.oid = to_regclass(format('public.%I', emt_copy_grants.source))
           AND grants.grantee <> relation.relowner
         GROUP BY grants.grantee
    LOOP
        EXECUTE format('GRANT %s ON public.%I TO %s', _privileges, emt_copy_grants.target, _role);
    END LOOP;
END
$$;


---------------------------------------------------------------------------------------------------------- collections

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
    IF to_regclass(format('public.%I', emt_create_collection.name)) IS NOT NULL
       AND EXISTS (SELECT FROM public.emt_collections AS known WHERE known.name = emt_create_collection.name) THEN
        RETURN FALSE;
    END IF;
    PERFORM public.emt_lock_collection(emt_create_collection.name);
    IF to_regclass(format('public.%I', emt_create_collection.name)) IS NOT NULL THEN
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

-- Whether a table has a unique index on (_id, _partition) beside its primary key.
CREATE OR REPLACE FUNCTION public.emt_has_id_index(relation REGCLASS) RETURNS BOOLEAN
    LANGUAGE sql STABLE
    AS $$
    SELECT EXISTS (
        SELECT FROM pg_index
         WHERE indrelid = emt_has_id_index.relation AND indisunique AND indisvalid AND indpred IS NULL
           AND (SELECT array_agg(attname ORDER BY attname) FROM pg_attribute
                 WHERE attrelid = indrelid AND attnum = ANY(indkey)) = ARRAY['_id', '_partition']::NAME[]
           AND indnatts = 2 AND indexprs IS NULL)
    $$;

-- Registers a table that somebody else has created, once it can be used as a collection: what Pongo's Node library has
-- made gets the default partition in the place of its own, and a unique index beside its primary key, which is (_id).
-- Both libraries can use it then. Raises SE030 and says what does not fit.
CREATE OR REPLACE FUNCTION public.emt_recognise_collection(name TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _table REGCLASS := to_regclass(format('public.%I', emt_recognise_collection.name));
    _kind "char" := (SELECT relkind FROM pg_class WHERE oid = _table);
    _problem TEXT;
    _key TEXT;
BEGIN
    IF _kind NOT IN ('r', 'p') THEN
        _problem := 'it is ' || CASE _kind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'i' THEN 'an index'
                                           WHEN 'S' THEN 'a sequence' WHEN 'f' THEN 'a foreign table'
                                           ELSE 'no table' END;
    ELSE
        SELECT string_agg(CASE WHEN found.attname IS NULL THEN format('column %s is missing', needed.name)
                               WHEN found.atttypid <> needed.type::REGTYPE
                               THEN format('column %s is %s, not %s', needed.name,
                                           format_type(found.atttypid, found.atttypmod), needed.type) END,
                          ', ' ORDER BY needed.number)
          INTO _problem
          FROM (VALUES (1, '_id', 'text'), (2, 'data', 'jsonb'), (3, 'metadata', 'jsonb'), (4, '_version', 'bigint'),
                       (5, '_partition', 'text'), (6, '_archived', 'boolean'),
                       (7, '_created', 'timestamp with time zone'), (8, '_updated', 'timestamp with time zone'))
               AS needed (number, name, type)
          LEFT JOIN pg_attribute AS found
            ON found.attrelid = _table AND found.attname = needed.name AND NOT found.attisdropped;
        SELECT string_agg(attname, ', ' ORDER BY attname COLLATE "C") INTO _key
          FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY(conkey)
         WHERE conrelid = _table AND contype = 'p';
        IF _problem IS NULL AND (_key IN ('_id', '_id, _partition')) IS NOT TRUE THEN
            _problem := coalesce(format('its primary key is (%s)', _key), 'it has no primary key')
                        || ', not (_id, _partition)';
        END IF;
        -- _created and the like have defaults; what a document does not give needs one, too.
        IF _problem IS NULL THEN
            SELECT string_agg(format('column %s needs a value, which no document gives', attname), ', ' ORDER BY attnum)
              INTO _problem
              FROM pg_attribute
             WHERE attrelid = _table AND attnum > 0 AND NOT attisdropped AND attnotnull AND NOT atthasdef
               AND attidentity = '' AND attname NOT IN ('_id', 'data', '_partition');
        END IF;
    END IF;
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION 'table "%" exists and is not a collection: %', emt_recognise_collection.name, _problem
            USING ERRCODE = 'SE030', HINT = 'Choose another name for the collection.';
    END IF;
    IF _key = '_id' THEN
        BEGIN
            EXECUTE format('ALTER TABLE public.%I ALTER COLUMN _partition SET DEFAULT %L', emt_recognise_collection.name,
                           'emt:default');
            IF NOT public.emt_has_id_index(_table) THEN
                EXECUTE format('CREATE UNIQUE INDEX ON public.%I (_id, _partition)', emt_recognise_collection.name);
            END IF;
            EXECUTE format('UPDATE public.%I SET _partition = %L WHERE _partition = %L', emt_recognise_collection.name,
                           'emt:default', 'png_global');
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'collection "%" of Pongo for Node must be adopted first, which role "%" may not do: %',
                emt_recognise_collection.name, current_user, SQLERRM
                USING ERRCODE = 'SE030', HINT = 'Open it once as the owner of the table.';
        END;
    END IF;
    PERFORM public.emt_copy_grants(public.emt_granted_table(), emt_recognise_collection.name)
      FROM pg_class WHERE oid = _table AND pg_has_role(relowner, 'USAGE');
    INSERT INTO public.emt_collections (name) VALUES (emt_recognise_collection.name) ON CONFLICT DO NOTHING;
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
    _exists := to_regclass(format('public.%I', emt_drop_collection.name)) IS NOT NULL;
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
    IF to_regclass(format('public.%I', emt_rename_collection.new_name)) IS NOT NULL THEN
        RAISE EXCEPTION 'collection "%" cannot be renamed to "%": there is something of that name',
            emt_rename_collection.name, emt_rename_collection.new_name USING ERRCODE = 'SE030';
    END IF;
    DELETE FROM public.emt_collections AS known WHERE known.name = emt_rename_collection.new_name;
    UPDATE public.emt_collections AS known SET name = emt_rename_collection.new_name
     WHERE known.name = emt_rename_collection.name;
    IF NOT FOUND OR to_regclass(format('public.%I', emt_rename_collection.name)) IS NULL THEN
        RAISE EXCEPTION 'there is no collection "%"', emt_rename_collection.name USING ERRCODE = 'SE033';
    END IF;
    UPDATE public.emt_collections AS known SET old_of = emt_rename_collection.new_name
     WHERE known.old_of = emt_rename_collection.name;
    EXECUTE format('ALTER TABLE public.%I RENAME TO %I', emt_rename_collection.name, emt_rename_collection.new_name);
END
$$;


-------------------------------------------------------------------------------------------------------------- tenants

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
                   WHERE to_regclass(format('public.%I', known.name)) IS NOT NULL ORDER BY known.name COLLATE "C" LOOP
        EXECUTE format('DELETE FROM public.%I WHERE _partition = $1', _table) USING emt_delete_documents.partition;
        GET DIAGNOSTICS _deleted = ROW_COUNT;
        _all := _all + _deleted;
    END LOOP;
    RETURN _all;
END
$$;

-- The same for a tenant of a client's. Raises SE031 for one that an event store knows: its events would stay.
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
            USING ERRCODE = 'SE031';
    END IF;
    RETURN public.emt_delete_documents(emt_delete_tenant_documents.partition);
END
$$;

INSERT INTO public.emt_migrations (version, name) VALUES (1, 'documents') ON CONFLICT DO NOTHING;
