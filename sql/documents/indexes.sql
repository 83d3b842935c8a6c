-- Indexes of collections. The library creates an index by a statement of its own, since CREATE INDEX CONCURRENTLY runs in no
-- function. The comment of an index is its definition. An index of a failed build is renamed to emt_invalid_<oid> and
-- dropped later.

-- Returns the key of a value in an index on a field: a digit for its type, and the value. The key of a string is "2" and the
-- string. Keys are compared byte by byte. A number's key begins with its sign and the number of digits before the point. A
-- negative number has all of that in the opposite order. Never NULL: a missing value is null.
CREATE OR REPLACE FUNCTION public.emt_index_key(_value JSONB) RETURNS TEXT
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _type TEXT := pg_catalog.jsonb_typeof(_value);
    _number NUMERIC;
    _text TEXT;
    _digits TEXT;
BEGIN
    IF _type = 'number' THEN
        _number := _value::NUMERIC;
        IF _number = 0.0 THEN
            RETURN '3b';
        END IF;
        _text := pg_catalog.trim_scale(pg_catalog.abs(_number))::TEXT;
        _digits := pg_catalog.replace(_text, '.', '');
        _text := (199999 + pg_catalog.strpos(_text || '.', '.') - pg_catalog.length(_digits)
                  + pg_catalog.length(pg_catalog.ltrim(_digits, '0')))::TEXT
                 || pg_catalog.btrim(_digits, '0');
        RETURN CASE WHEN _number > 0.0 THEN '3c' || _text
                    ELSE '3a' || pg_catalog.translate(_text, '0123456789', '9876543210') || '~' END;
    END IF;
    RETURN CASE _type WHEN 'string' THEN '2' || (_value #>> '{}'::TEXT[])
                      WHEN 'boolean' THEN '4' || _value::TEXT
                      WHEN 'array' THEN CASE WHEN _value = '[]' THEN '0' ELSE '5' END
                      WHEN 'object' THEN '6'
                      ELSE '1' END;
END
$$;

-- Stores the definition of an index. Raises SE035 if the index of that name has another one.
CREATE OR REPLACE FUNCTION public.emt_index_note(_collection TEXT, _name TEXT, _definition TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _index OID := public.emt_relation(_name);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = _index AND indrelid = public.emt_relation(_collection))
       OR obj_description(_index, 'pg_class') <> _definition THEN
        RAISE EXCEPTION 'there is another "%"', _name USING ERRCODE = 'SE035';
    END IF;
    EXECUTE format('COMMENT ON INDEX public.%I IS %L', _name, _definition);
END
$$;

-- Drops an index of a collection; FALSE if there is none. Raises SE035 for an index that keeps the ids unique.
CREATE OR REPLACE FUNCTION public.emt_index_drop(_collection TEXT, _name TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _index OID := public.emt_relation(_name);
    _columns TEXT;
BEGIN
    SELECT string_agg(pg_get_indexdef(indexrelid, number, FALSE), ', ' ORDER BY number)
           FILTER (WHERE indisunique) INTO _columns
      FROM pg_index, generate_series(1, indnatts) AS number
     WHERE indexrelid = _index AND indrelid = public.emt_relation(_collection)
    HAVING count(*) > 0;
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    IF _columns IN ('_id', '_id, _partition') THEN
        RAISE EXCEPTION 'index "%" keeps the ids of collection "%" unique', _name, _collection USING ERRCODE = 'SE035';
    END IF;
    EXECUTE format('DROP INDEX public.%I', _name);
    RETURN TRUE;
END
$$;

-- Renames an index.
CREATE OR REPLACE FUNCTION public.emt_index_rename(_name TEXT, _new_name TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    EXECUTE format('ALTER INDEX public.%I RENAME TO %I', _name, _new_name);
END
$$;

-- Renames the indexes that a failed CREATE INDEX CONCURRENTLY has left under these names. The caller holds the lock of index
-- builds, so no invalid index is being built. Returns the names of all droppable indexes.
CREATE OR REPLACE FUNCTION public.emt_index_discard(_collection TEXT, _names TEXT[]) RETURNS TEXT[]
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _table REGCLASS := public.emt_relation(_collection);
BEGIN
    PERFORM public.emt_index_rename(relname::TEXT, 'emt_invalid_' || indexrelid)
       FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
      WHERE indrelid = _table AND NOT indisvalid AND relname = ANY(_names);
    RETURN ARRAY(SELECT relname::TEXT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                  WHERE indrelid = _table AND NOT indisvalid AND relname ~ '^emt_invalid_');
END
$$;
