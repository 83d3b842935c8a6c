-- emmett-postgresql, schema version 1: collections of documents.
--
-- All that `PongoClient` needs. The event store's schema.sql builds on it, and has the conventions that hold here, too.
-- Applying it again changes nothing.
--
-- SQLSTATEs of our own: SE030 collection name or layout.


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

-- Creates the table of a document collection; FALSE where it exists. Raises SE030 where a table of the name exists
-- that is not such a collection.
CREATE OR REPLACE FUNCTION public.emt_create_collection(name TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    -- Where there are events, who may use them may use the documents.
    _granted TEXT := CASE WHEN to_regclass('public.emt_streams') IS NULL THEN 'emt_collections' ELSE 'emt_streams' END;
    _table REGCLASS := to_regclass(format('public.%I', emt_create_collection.name));
BEGIN
    IF octet_length(emt_create_collection.name) NOT BETWEEN 1 AND 63 THEN
        RAISE EXCEPTION 'a collection''s name must have 1 to 63 bytes, "%" has %', emt_create_collection.name,
            octet_length(emt_create_collection.name) USING ERRCODE = 'SE030';
    END IF;
    IF _table IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('public' || '.collection/' || emt_create_collection.name, 0));
        EXECUTE format($sql$
            CREATE TABLE IF NOT EXISTS public.%I (
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
        PERFORM public.emt_copy_grants(_granted, emt_create_collection.name);
        INSERT INTO public.emt_collections (name) VALUES (emt_create_collection.name) ON CONFLICT DO NOTHING;
        RETURN TRUE;
    END IF;
    IF NOT EXISTS (SELECT FROM public.emt_collections AS known WHERE known.name = emt_create_collection.name) THEN
        RAISE EXCEPTION 'table "%" exists and is not a collection of this library', emt_create_collection.name
            USING ERRCODE = 'SE030', HINT = 'Choose another name for the collection.';
    END IF;
    RETURN FALSE;
END
$$;

INSERT INTO public.emt_migrations (version, name) VALUES (1, 'documents') ON CONFLICT DO NOTHING;
