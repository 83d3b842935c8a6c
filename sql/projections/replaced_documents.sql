-- Documents at the switch of a rebuild: replacing them, and keeping the old ones.

-- Makes the documents of a partition in one table equal to those in another. Equal documents are not touched. A changed
-- document gets the next version, as if it had been written. A copy gets the version of its original.
CREATE OR REPLACE FUNCTION public.emt_document_replace_all(_partition TEXT, _source TEXT, _target TEXT, _is_copy BOOLEAN)
    RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE pg_catalog.format($sql$
        DELETE FROM public.%I AS old
         WHERE old._partition = $1
           AND NOT EXISTS (SELECT FROM public.%I AS new WHERE new._id = old._id AND new._partition = $1)
        $sql$, _target, _source) USING _partition;
    EXECUTE pg_catalog.format($sql$
        INSERT INTO public.%1$I AS old (_id, _partition, data, metadata, _version, _archived, _created, _updated)
        SELECT new._id, new._partition, new.data, new.metadata, CASE WHEN $2 THEN new._version ELSE 1 END, new._archived,
               new._created, new._updated
          FROM public.%2$I AS new
          LEFT JOIN public.%1$I AS same ON same._id = new._id AND same._partition = new._partition
         WHERE new._partition = $1
           AND (same._id IS NULL OR $2 AND same._version <> new._version
                -- The JSON of a table for Pongo for Node has the columns, too. The JSON of the shadow table has not.
                OR (same.data - '{_id,_version}'::TEXT[], same.metadata, same._archived)
                   IS DISTINCT FROM (new.data - '{_id,_version}'::TEXT[], new.metadata, new._archived))
         ORDER BY new._id
        ON CONFLICT (_id, _partition) DO UPDATE
            SET data = EXCLUDED.data, metadata = EXCLUDED.metadata, _archived = EXCLUDED._archived, _updated = pg_catalog.now(),
                _version = CASE WHEN $2 THEN EXCLUDED._version ELSE old._version + 1 END
        $sql$, _target, _source) USING _partition, _is_copy;
END
$$;

-- Creates the collection that keeps the documents which a rebuild replaces. Raises SE030 if the name is taken.
CREATE OR REPLACE FUNCTION public.emt_collection_create_old(_collection TEXT, _old TEXT) RETURNS VOID
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM public.emt_caller_require_writer();
    IF octet_length(_old) > 63 THEN
        RAISE EXCEPTION 'a collection''s name must have 1 to 63 bytes, "%" has %', _old, octet_length(_old)
            USING ERRCODE = 'SE030';
    END IF;
    PERFORM public.emt_collection_lock(_old);
    IF EXISTS (SELECT FROM public.emt_collections AS known WHERE known.name = _old AND known.old_of = _collection) THEN
        RETURN;
    END IF;
    IF to_regclass(format('public.%I', _old)) IS NOT NULL THEN
        RAISE EXCEPTION 'the old documents of "%" cannot be kept as "%": the name is taken',
            _collection, _old USING ERRCODE = 'SE030';
    END IF;
    IF NOT EXISTS (SELECT FROM public.emt_collections AS known
                    WHERE known.name = _collection AND known.old_of IS NULL) THEN
        RAISE EXCEPTION '"%" is not a collection', _collection USING ERRCODE = 'SE030';
    END IF;
    PERFORM public.emt_table_create_like(_collection, _old, FALSE);
    INSERT INTO public.emt_collections (name, old_of) VALUES (_old, _collection);
END
$$;

-- Deletes the documents of a partition that rebuilds of a collection have replaced and kept; FALSE if there are none. Drops
-- the tables that no partition needs.
CREATE OR REPLACE FUNCTION public.emt_collection_drop_old(_partition TEXT, _collection TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _table TEXT;
    _deleted BIGINT;
    _found BOOLEAN := FALSE;
    _is_needed BOOLEAN;
BEGIN
    PERFORM public.emt_caller_require_writer();
    FOR _table IN SELECT known.name FROM public.emt_collections AS known
                   WHERE known.old_of = _collection ORDER BY known.name LOOP
        EXECUTE format('LOCK TABLE public.%I', _table);
        EXECUTE format('DELETE FROM public.%I WHERE _partition = $1', _table) USING _partition;
        GET DIAGNOSTICS _deleted = ROW_COUNT;
        _found := _found OR _deleted > 0;
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', _table) INTO _is_needed;
        IF NOT _is_needed THEN
            _found := TRUE;
            EXECUTE format('DROP TABLE public.%I', _table);
            DELETE FROM public.emt_collections AS known WHERE known.name = _table;
        END IF;
    END LOOP;
    RETURN _found;
END
$$;
