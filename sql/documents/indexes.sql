-- The key under which an index on a field has a value that is not a string: a digit for its type, and the value. A string is
-- itself behind a 2. Keys are compared byte by byte; a number's begin with its sign and the number of its digits before the
-- point, those of a negative one in the opposite order. Never NULL; a value that is missing is null.
CREATE OR REPLACE FUNCTION public.emt_index_key(value JSONB) RETURNS TEXT
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _type TEXT := jsonb_typeof(emt_index_key.value);
    _number NUMERIC;
    _text TEXT;
    _digits TEXT;
BEGIN
    IF _type = 'number' THEN
        _number := emt_index_key.value::NUMERIC;
        IF _number = 0 THEN
            RETURN '3b';
        END IF;
        _text := trim_scale(abs(_number))::TEXT;
        _digits := replace(_text, '.', '');
        _text := (199999 + strpos(_text || '.', '.') - length(_digits) + length(ltrim(_digits, '0')))::TEXT
                 || btrim(_digits, '0');
        RETURN CASE WHEN _number > 0 THEN '3c' || _text
                    ELSE '3a' || translate(_text, '0123456789', '9876543210') || '~' END;
    END IF;
    RETURN CASE _type WHEN 'string' THEN '2' || (emt_index_key.value #>> '{}')
                      WHEN 'boolean' THEN '4' || emt_index_key.value::TEXT
                      WHEN 'array' THEN CASE WHEN emt_index_key.value = '[]' THEN '0' ELSE '5' END
                      WHEN 'object' THEN '6'
                      ELSE '1' END;
END
$$;

-- An index is created by a statement of the library's, since CREATE INDEX CONCURRENTLY runs in no function. What it was
-- created as is kept as its comment.

-- Keeps what an index was created as. Raises SE035 where it is another one.
CREATE OR REPLACE FUNCTION public.emt_note_index(collection TEXT, name TEXT, definition TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _index OID := public.emt_relation(emt_note_index.name);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = _index
                      AND indrelid = public.emt_relation(emt_note_index.collection))
       OR obj_description(_index, 'pg_class') <> emt_note_index.definition THEN
        RAISE EXCEPTION 'there is another "%"', emt_note_index.name USING ERRCODE = 'SE035';
    END IF;
    EXECUTE format('COMMENT ON INDEX public.%I IS %L', emt_note_index.name, emt_note_index.definition);
END
$$;

-- Drops an index of a collection; FALSE where there is none. Raises SE035 for one that keeps the ids apart.
CREATE OR REPLACE FUNCTION public.emt_drop_index(collection TEXT, name TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
DECLARE
    _index OID := public.emt_relation(emt_drop_index.name);
    _columns TEXT;
BEGIN
    SELECT string_agg(pg_get_indexdef(indexrelid, number, FALSE), ', ' ORDER BY number)
           FILTER (WHERE indisunique) INTO _columns
      FROM pg_index, generate_series(1, indnatts) AS number
     WHERE indexrelid = _index AND indrelid = public.emt_relation(emt_drop_index.collection)
    HAVING count(*) > 0;
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    IF _columns IN ('_id', '_id, _partition') THEN
        RAISE EXCEPTION 'index "%" keeps the ids of collection "%" apart', emt_drop_index.name, emt_drop_index.collection
            USING ERRCODE = 'SE035';
    END IF;
    EXECUTE format('DROP INDEX public.%I', emt_drop_index.name);
    RETURN TRUE;
END
$$;

CREATE OR REPLACE FUNCTION public.emt_rename_index(name TEXT, new_name TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format('ALTER INDEX public.%I RENAME TO %I', emt_rename_index.name, emt_rename_index.new_name);
END
$$;

-- Puts out of the way what a CREATE INDEX CONCURRENTLY that failed has left under these names. The caller holds the lock
-- of whoever creates one, so an index that is not valid is not being built. Returns the names of all that can be dropped.
CREATE OR REPLACE FUNCTION public.emt_discard_index(collection TEXT, names TEXT[]) RETURNS TEXT[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    _table REGCLASS := public.emt_relation(emt_discard_index.collection);
BEGIN
    PERFORM public.emt_rename_index(relname, 'emt_invalid_' || indexrelid)
       FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
      WHERE indrelid = _table AND NOT indisvalid AND relname = ANY(emt_discard_index.names);
    RETURN ARRAY(SELECT relname::TEXT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                  WHERE indrelid = _table AND NOT indisvalid AND relname ~ '^emt_invalid_');
END
$$;
