-- Tables of documents that other programs have created. They become collections when they are first opened.

-- Checks that another program's table can be used as a collection. Returns the columns of its primary key. A table of Pongo
-- for Node has (_id) only. Raises SE030 and names the first misfit.
CREATE OR REPLACE FUNCTION public.emt_collection_check_layout(_name TEXT) RETURNS TEXT
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _table REGCLASS := public.emt_relation(_name);
    _kind "char" := (SELECT relkind FROM pg_class WHERE oid = _table);
    _problem TEXT;
    _key TEXT;
BEGIN
    IF _kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '"%" exists and is not a collection: it is %', _name,
            CASE _kind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'i' THEN 'an index'
                       WHEN 'S' THEN 'a sequence' WHEN 'f' THEN 'a foreign table' ELSE 'no table' END
            USING ERRCODE = 'SE030', HINT = 'Choose another name for the collection.';
    END IF;
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
        _problem := coalesce('its primary key is (' || _key || ')', 'it has no primary key') || ', not (_id, _partition)';
    END IF;
    IF _problem IS NULL THEN
        SELECT string_agg(format('column %s has no default', attname), ', ' ORDER BY attnum)
          INTO _problem
          FROM pg_attribute
         WHERE attrelid = _table AND attnum > 0 AND NOT attisdropped AND NOT atthasdef
           AND (attnotnull OR attname = '_version') AND attidentity = '' AND attname NOT IN ('_id', 'data', '_partition');
    END IF;
    IF _problem IS NOT NULL THEN
        RAISE EXCEPTION 'table "%" exists and is not a collection: %', _name, _problem
            USING ERRCODE = 'SE030', HINT = 'Choose another name for the collection.';
    END IF;
    RETURN _key;
END
$$;

-- Returns whether a table has a unique index on (_id, _partition) besides its primary key.
CREATE OR REPLACE FUNCTION public.emt_collection_has_id_index(_relation REGCLASS) RETURNS BOOLEAN
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (
        SELECT FROM pg_index
         WHERE indrelid = _relation AND indisunique AND indisvalid AND indpred IS NULL
           AND (SELECT array_agg(attname ORDER BY attname) FROM pg_attribute
                 WHERE attrelid = indrelid AND attnum = ANY(indkey)) = ARRAY['_id', '_partition']::NAME[]
           AND indnatts = 2 AND indexprs IS NULL)
    $$;

-- Puts the id and the version of a document into its JSON. Pongo for Node up to 0.16 reads them there.
CREATE OR REPLACE FUNCTION public.emt_document_put_columns() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.data := NEW.data || pg_catalog.jsonb_build_object('_id', NEW._id, '_version', NEW._version::TEXT);
    RETURN NEW;
END
$$;

-- Registers another program's table, once it can be used as a collection. A table of Pongo for Node has the primary key
-- (_id). It gets the default partition instead of its own, and a unique index. A trigger keeps its JSON as it was. Both
-- libraries can use it then.
CREATE OR REPLACE FUNCTION public.emt_collection_recognise(_name TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _table REGCLASS := public.emt_relation(_name);
BEGIN
    IF public.emt_collection_check_layout(_name) = '_id' THEN
        EXECUTE format('ALTER TABLE public.%I ALTER COLUMN _partition SET DEFAULT %L', _name, 'emt:default');
        IF NOT public.emt_collection_has_id_index(_table) THEN
            EXECUTE format('CREATE UNIQUE INDEX ON public.%I (_id, _partition)', _name);
        END IF;
        EXECUTE format('UPDATE public.%I SET _partition = %L WHERE _partition = %L', _name, 'emt:default', 'png_global');
        EXECUTE format('DROP TRIGGER IF EXISTS emt_document_put_columns ON public.%I', _name);
        EXECUTE format('CREATE TRIGGER emt_document_put_columns BEFORE INSERT OR UPDATE ON public.%I '
                       'FOR EACH ROW EXECUTE FUNCTION public.emt_document_put_columns()', _name);
    END IF;
    PERFORM public.emt_table_copy_grants(public.emt_collection_grants_source(), _name)
      FROM pg_class WHERE oid = _table AND pg_has_role(relowner, 'USAGE');
    INSERT INTO public.emt_collections (name) VALUES (_name) ON CONFLICT DO NOTHING;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'table "%" must be made a collection first, which role "%" may not do: %', _name, current_user, SQLERRM
        USING ERRCODE = 'SE030', HINT = 'Open it once as the owner of the table.';
END
$$;
