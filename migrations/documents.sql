-- emmett-postgresql, schema version 1: collections of documents.
--
-- All that `PongoClient` needs. The event store's schema.sql builds on it, and has the conventions that hold here, too.
-- Applying it again changes nothing.
--
-- SQLSTATEs of our own: SE030 collection name or layout, SE031 update that does not fit the document, SE032 read model of a
-- projection, SE033 collection unknown, SE034 tenant of the event store, SE035 index.


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


------------------------------------------------------------------------------------------------------------- updates

-- An operation of an update is an object: its operator, its path with dots, and its value in a form that the library
-- has checked. Paths of one update do not touch, so the order of its operations does not matter.

-- Refuses an update.
CREATE OR REPLACE FUNCTION public.emt_refuse_update(operator TEXT, path TEXT, reason TEXT) RETURNS VOID
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RAISE EXCEPTION '`%` of `%` %', emt_refuse_update.operator, emt_refuse_update.path, emt_refuse_update.reason
        USING ERRCODE = 'SE031';
END
$$;

-- The type of a value, as messages name it.
CREATE OR REPLACE FUNCTION public.emt_type_name(value JSONB) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE jsonb_typeof(emt_type_name.value)
               WHEN 'null' THEN 'null'
               WHEN 'array' THEN 'an array'
               WHEN 'object' THEN 'an object'
               ELSE 'a ' || jsonb_typeof(emt_type_name.value)
           END
    $$;

-- Whether a name is a position in an array. "#>" and jsonb_set also take blanks, signs and leading zeros.
CREATE OR REPLACE FUNCTION public.emt_is_position(name TEXT) RETURNS BOOLEAN
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT emt_is_position.name ~ '^(0|[1-9][0-9]{0,8})$' $$;

-- The field of an object or the element of an array; NULL where there is none.
CREATE OR REPLACE FUNCTION public.emt_child(value JSONB, name TEXT) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE jsonb_typeof(emt_child.value)
               WHEN 'object' THEN emt_child.value -> emt_child.name
               WHEN 'array' THEN CASE WHEN public.emt_is_position(emt_child.name)
                                      THEN emt_child.value -> emt_child.name::INTEGER END
           END
    $$;

-- The value at a path; NULL where there is none.
CREATE OR REPLACE FUNCTION public.emt_value_at(document JSONB, names TEXT[]) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _value JSONB := emt_value_at.document;
    _name TEXT;
BEGIN
    FOREACH _name IN ARRAY emt_value_at.names LOOP
        _value := public.emt_child(_value, _name);
    END LOOP;
    RETURN _value;
END
$$;

-- An array with the value at a position beyond its end, and null before it.
CREATE OR REPLACE FUNCTION public.emt_extended_array(elements JSONB, name TEXT, value JSONB, operator TEXT, path TEXT)
    RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _missing INTEGER := emt_extended_array.name::INTEGER - jsonb_array_length(emt_extended_array.elements);
BEGIN
    IF _missing > 10000 THEN
        PERFORM public.emt_refuse_update(emt_extended_array.operator, emt_extended_array.path,
            'would put more than 10000 nulls at the end of an array');
    END IF;
    RETURN emt_extended_array.elements || to_jsonb(array_fill('null'::JSONB, ARRAY[_missing]))
        || jsonb_build_array(emt_extended_array.value);
END
$$;

-- The document with the value at the path. What is missing on the way are objects.
CREATE OR REPLACE FUNCTION public.emt_put_at(document JSONB, names TEXT[], value JSONB, operator TEXT) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _container JSONB := emt_put_at.document;
    _value JSONB := emt_put_at.value;
    _length INTEGER := cardinality(emt_put_at.names);
    _level INTEGER := 1;
    _next JSONB;
BEGIN
    WHILE _level < _length LOOP
        _next := public.emt_child(_container, emt_put_at.names[_level]);
        EXIT WHEN _next IS NULL;
        _container := _next;
        _level := _level + 1;
    END LOOP;

    FOR _missing IN REVERSE _length .. _level + 1 LOOP
        _value := jsonb_build_object(emt_put_at.names[_missing], _value);
    END LOOP;

    IF jsonb_typeof(_container) = 'object' THEN
        RETURN jsonb_set(emt_put_at.document, emt_put_at.names[:_level], _value);
    END IF;
    IF jsonb_typeof(_container) <> 'array' OR NOT public.emt_is_position(emt_put_at.names[_level]) THEN
        PERFORM public.emt_refuse_update(emt_put_at.operator, array_to_string(emt_put_at.names, '.'),
            format('cannot create the field `%s` in `%s`, which holds %s', emt_put_at.names[_level],
                   array_to_string(emt_put_at.names[:_level - 1], '.'), public.emt_type_name(_container)));
    END IF;
    IF emt_put_at.names[_level]::INTEGER < jsonb_array_length(_container) THEN
        RETURN jsonb_set(emt_put_at.document, emt_put_at.names[:_level], _value);
    END IF;
    RETURN jsonb_set(emt_put_at.document, emt_put_at.names[:_level - 1],
        public.emt_extended_array(_container, emt_put_at.names[_level], _value, emt_put_at.operator,
                                  array_to_string(emt_put_at.names, '.')));
END
$$;

-- The document without the field at the path. An element of an array becomes null, so that the others keep their places.
CREATE OR REPLACE FUNCTION public.emt_remove_at(document JSONB, names TEXT[]) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _container JSONB := public.emt_value_at(emt_remove_at.document,
                                            emt_remove_at.names[:cardinality(emt_remove_at.names) - 1]);
BEGIN
    IF public.emt_child(_container, emt_remove_at.names[cardinality(emt_remove_at.names)]) IS NULL THEN
        RETURN emt_remove_at.document;
    ELSIF jsonb_typeof(_container) = 'array' THEN
        RETURN jsonb_set(emt_remove_at.document, emt_remove_at.names, 'null');
    END IF;
    RETURN emt_remove_at.document #- emt_remove_at.names;
END
$$;

-- Whether an array stands on the way to a path's last name.
CREATE OR REPLACE FUNCTION public.emt_crosses_array(document JSONB, names TEXT[]) RETURNS BOOLEAN
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    FOR _length IN 1 .. cardinality(emt_crosses_array.names) - 1 LOOP
        IF jsonb_typeof(emt_crosses_array.document #> emt_crosses_array.names[:_length]) = 'array' THEN
            RETURN TRUE;
        END IF;
    END LOOP;
    RETURN FALSE;
END
$$;

-- The document with a field under another name.
CREATE OR REPLACE FUNCTION public.emt_rename_at(document JSONB, path TEXT, renamed TEXT) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _names TEXT[] := string_to_array(emt_rename_at.path, '.');
    _renamed TEXT[] := string_to_array(emt_rename_at.renamed, '.');
    _value JSONB := public.emt_value_at(emt_rename_at.document, _names);
    _document JSONB;
BEGIN
    IF _value IS NULL THEN
        RETURN emt_rename_at.document;
    END IF;
    IF public.emt_crosses_array(emt_rename_at.document, _names)
       OR public.emt_crosses_array(emt_rename_at.document, _renamed) THEN
        PERFORM public.emt_refuse_update('$rename', emt_rename_at.path,
            format('to `%s` meets an array, whose elements have no names', emt_rename_at.renamed));
    END IF;
    _document := public.emt_put_at(public.emt_remove_at(emt_rename_at.document, _names), _renamed, _value, '$rename');
    -- Only here can the document become deeper than the library could see.
    IF jsonb_path_exists(_document, 'strict $.**{127} ? (@.type() == "object" || @.type() == "array")') THEN
        PERFORM public.emt_refuse_update('$rename', emt_rename_at.path,
            format('to `%s` nests the document deeper than 127 levels', emt_rename_at.renamed));
    END IF;
    RETURN _document;
END
$$;

-- Whether a value stands before another in the order of sorts: [], null, strings byte by byte, numbers, booleans, other
-- arrays, objects.
CREATE OR REPLACE FUNCTION public.emt_precedes(value JSONB, other JSONB) RETURNS BOOLEAN
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN jsonb_typeof(emt_precedes.value) = 'string' AND jsonb_typeof(emt_precedes.other) = 'string'
                THEN (emt_precedes.value #>> '{}') COLLATE "C" < (emt_precedes.other #>> '{}') COLLATE "C"
                ELSE emt_precedes.value < emt_precedes.other
           END
    $$;

-- The elements of an array from one position up to, not including, another.
CREATE OR REPLACE FUNCTION public.emt_slice(elements JSONB, first BIGINT, past BIGINT) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(jsonb_agg(element.value ORDER BY element.ordinality), '[]')
      FROM jsonb_array_elements(emt_slice.elements) WITH ORDINALITY AS element
     WHERE element.ordinality > emt_slice.first AND element.ordinality <= emt_slice.past
    $$;

-- The elements of an array sorted by the value at a path in each, which is the element itself where the path is empty;
-- equal ones keep their order.
CREATE OR REPLACE FUNCTION public.emt_sorted(elements JSONB, path TEXT, ascending BOOLEAN) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(jsonb_agg(keyed.value ORDER BY
               CASE WHEN emt_sorted.ascending THEN keyed.ranked END,
               CASE WHEN emt_sorted.ascending THEN keyed.string END COLLATE "C",
               CASE WHEN NOT emt_sorted.ascending THEN keyed.ranked END DESC,
               CASE WHEN NOT emt_sorted.ascending THEN keyed.string END COLLATE "C" DESC,
               keyed.ordinality), '[]')
      FROM (SELECT element.value, element.ordinality,
                   CASE jsonb_typeof(key.value) WHEN 'string' THEN '""' ELSE coalesce(key.value, 'null') END AS ranked,
                   CASE jsonb_typeof(key.value) WHEN 'string' THEN key.value #>> '{}' ELSE '' END AS string
              FROM jsonb_array_elements(emt_sorted.elements) WITH ORDINALITY AS element,
                   LATERAL (SELECT public.emt_value_at(element.value, string_to_array(emt_sorted.path, '.'))) AS key(value)
           ) AS keyed
    $$;

-- $push: how = {"each": values, "position": before which element, "sort": [[path, 1 or -1], ...], "slice": how many}.
-- Negative positions and slices count from the end.
CREATE OR REPLACE FUNCTION public.emt_pushed(elements JSONB, how JSONB) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _length BIGINT := jsonb_array_length(emt_pushed.elements);
    _position BIGINT := (emt_pushed.how -> 'position')::BIGINT;
    _slice BIGINT := (emt_pushed.how -> 'slice')::BIGINT;
    _pushed JSONB := emt_pushed.elements || (emt_pushed.how -> 'each');
    _key JSONB;
BEGIN
    IF _position IS NOT NULL THEN
        _position := CASE WHEN _position < 0 THEN _length ELSE 0 END + _position;
        _pushed := public.emt_slice(emt_pushed.elements, 0, _position) || (emt_pushed.how -> 'each')
                || public.emt_slice(emt_pushed.elements, _position, _length);
    END IF;
    -- From the last key to the first, since each sort keeps the order of equal elements.
    FOR _number IN REVERSE coalesce(jsonb_array_length(emt_pushed.how -> 'sort'), 0) - 1 .. 0 LOOP
        _key := emt_pushed.how -> 'sort' -> _number;
        _pushed := public.emt_sorted(_pushed, _key ->> 0, (_key ->> 1)::INTEGER = 1);
    END LOOP;
    _length := jsonb_array_length(_pushed);
    RETURN CASE WHEN _slice IS NULL THEN _pushed
                WHEN _slice < 0 THEN public.emt_slice(_pushed, _length + _slice, _length)
                ELSE public.emt_slice(_pushed, 0, _slice) END;
END
$$;

-- $addToSet: the array with each value that it does not hold.
CREATE OR REPLACE FUNCTION public.emt_added_to_set(elements JSONB, each JSONB) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT emt_added_to_set.elements || coalesce(jsonb_agg(added.value ORDER BY added.ordinality), '[]')
      FROM (SELECT DISTINCT ON (element.value) element.value, element.ordinality
              FROM jsonb_array_elements(emt_added_to_set.each) WITH ORDINALITY AS element
             ORDER BY element.value, element.ordinality) AS added
     WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(emt_added_to_set.elements) AS held
                        WHERE held.value = added.value)
    $$;

-- $pull of a value: the array without the elements that equal it.
CREATE OR REPLACE FUNCTION public.emt_pulled(elements JSONB, value JSONB) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(jsonb_agg(element.value ORDER BY element.ordinality), '[]')
      FROM jsonb_array_elements(emt_pulled.elements) WITH ORDINALITY AS element
     WHERE element.value <> emt_pulled.value
    $$;

-- The array that an operator makes of an array; NULL where there is nothing to take away.
CREATE OR REPLACE FUNCTION public.emt_updated_array(present JSONB, operation JSONB, pulled JSONB[]) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _operator TEXT := emt_updated_array.operation ->> 'operator';
    _value JSONB := emt_updated_array.operation -> 'value';
BEGIN
    IF jsonb_typeof(emt_updated_array.present) <> 'array' THEN
        PERFORM public.emt_refuse_update(_operator, emt_updated_array.operation ->> 'path',
            'needs an array, but the field holds ' || public.emt_type_name(emt_updated_array.present));
    END IF;
    CASE _operator
        WHEN '$push' THEN
            RETURN public.emt_pushed(coalesce(emt_updated_array.present, '[]'), _value);
        WHEN '$addToSet' THEN
            RETURN public.emt_added_to_set(coalesce(emt_updated_array.present, '[]'), _value);
        WHEN '$pop' THEN
            RETURN emt_updated_array.present - CASE WHEN _value = '1' THEN -1 ELSE 0 END;
        WHEN '$pull' THEN
            RETURN CASE WHEN emt_updated_array.present IS NULL THEN NULL
                        WHEN _value IS NULL
                        THEN emt_updated_array.pulled[(emt_updated_array.operation ->> 'condition')::INTEGER]
                        ELSE public.emt_pulled(emt_updated_array.present, _value) END;
    END CASE;
END
$$;

-- The shortest decimal that reads as the nearest float; the number itself where it is too large or too small for one.
CREATE OR REPLACE FUNCTION public.emt_nearest_float(number NUMERIC) RETURNS NUMERIC
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN abs(emt_nearest_float.number) BETWEEN 1e-300 AND 1e300
                THEN emt_nearest_float.number::FLOAT8::TEXT::NUMERIC
                ELSE emt_nearest_float.number END
    $$;

-- A fraction that was made of two numbers: the nearest float, so that everybody can read the document; but itself where one of
-- the two numbers was no float. A function of its own, because PL/pgSQL prepares an expression with all that is inlined in it
-- in each transaction, and few updates come here.
CREATE OR REPLACE FUNCTION public.emt_readable(made NUMERIC, one NUMERIC, other NUMERIC) RETURNS NUMERIC
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RETURN CASE WHEN emt_readable.one = public.emt_nearest_float(emt_readable.one)
                     AND emt_readable.other = public.emt_nearest_float(emt_readable.other)
                THEN public.emt_nearest_float(emt_readable.made)
                ELSE emt_readable.made END;
END
$$;

-- $inc and $mul. Decimal: 0.1 and 0.2 are 0.3.
CREATE OR REPLACE FUNCTION public.emt_calculated(present JSONB, operator TEXT, path TEXT, operand JSONB) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _result NUMERIC;
BEGIN
    IF jsonb_typeof(emt_calculated.present) IS DISTINCT FROM 'number' THEN
        IF emt_calculated.present IS NULL THEN
            RETURN CASE emt_calculated.operator WHEN '$inc' THEN emt_calculated.operand ELSE '0' END;
        END IF;
        PERFORM public.emt_refuse_update(emt_calculated.operator, emt_calculated.path,
            'needs a number, but the field holds ' || public.emt_type_name(emt_calculated.present));
    END IF;
    _result := CASE emt_calculated.operator
                   WHEN '$inc' THEN emt_calculated.present::NUMERIC + emt_calculated.operand::NUMERIC
                   ELSE emt_calculated.present::NUMERIC * emt_calculated.operand::NUMERIC
               END;
    IF scale(_result) > 0 OR abs(_result) > 1e300 THEN
        -- Beyond the largest float nothing could read the document.
        IF abs(_result) > 1.7976931348623157e308 THEN
            PERFORM public.emt_refuse_update(emt_calculated.operator, emt_calculated.path,
                'makes a number beyond 1.7976931348623157e308');
        END IF;
        _result := public.emt_readable(_result, emt_calculated.present::NUMERIC, emt_calculated.operand::NUMERIC);
    END IF;
    RETURN to_jsonb(_result);
END
$$;

-- The value that an operator makes of the present one, which is NULL where the field is missing; NULL where the field
-- stays as it is.
CREATE OR REPLACE FUNCTION public.emt_updated_value(present JSONB, operation JSONB, pulled JSONB[]) RETURNS JSONB
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
DECLARE
    _operator TEXT := emt_updated_value.operation ->> 'operator';
    _value JSONB := emt_updated_value.operation -> 'value';
BEGIN
    CASE _operator
        WHEN '$set', '$setOnInsert' THEN
            RETURN _value;
        WHEN '$inc', '$mul' THEN
            RETURN public.emt_calculated(emt_updated_value.present, _operator, emt_updated_value.operation ->> 'path',
                                         _value);
        WHEN '$min' THEN
            RETURN CASE WHEN emt_updated_value.present IS NULL OR public.emt_precedes(_value, emt_updated_value.present)
                        THEN _value END;
        WHEN '$max' THEN
            RETURN CASE WHEN emt_updated_value.present IS NULL OR public.emt_precedes(emt_updated_value.present, _value)
                        THEN _value END;
        WHEN '$currentDate' THEN
            RETURN to_jsonb(to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
        ELSE
            RETURN public.emt_updated_array(emt_updated_value.present, emt_updated_value.operation,
                                            emt_updated_value.pulled);
    END CASE;
END
$$;

-- The document that an update makes. operations is an array of operations; pulled has, for each $pull with a condition,
-- in the order of their numbers, what stays of its array. Raises SE031 where the document does not fit the operations.
CREATE OR REPLACE FUNCTION public.emt_update_document(document JSONB, operations JSONB, pulled JSONB[] DEFAULT '{}')
    RETURNS JSONB
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
DECLARE
    _document JSONB := emt_update_document.document;
    _operation JSONB;
    _operator TEXT;
    _names TEXT[];
    _value JSONB;
BEGIN
    -- Counting in a field of the document itself is the most frequent update, and each expression has its price.
    IF jsonb_array_length(emt_update_document.operations) = 1
       AND emt_update_document.operations #>> '{0,operator}' IN ('$inc', '$mul')
       AND strpos(emt_update_document.operations #>> '{0,path}', '.') = 0 THEN
        RETURN jsonb_set(_document, ARRAY[emt_update_document.operations #>> '{0,path}'], public.emt_calculated(
            _document -> (emt_update_document.operations #>> '{0,path}'), emt_update_document.operations #>> '{0,operator}',
            emt_update_document.operations #>> '{0,path}', emt_update_document.operations #> '{0,value}'));
    END IF;
    FOR _number IN 0 .. jsonb_array_length(emt_update_document.operations) - 1 LOOP
        _operation := emt_update_document.operations -> _number;
        _operator := _operation ->> 'operator';
        -- A name never contains a dot.
        _names := string_to_array(_operation ->> 'path', '.');
        IF _operator = '$unset' THEN
            _document := public.emt_remove_at(_document, _names);
        ELSIF _operator = '$rename' THEN
            _document := public.emt_rename_at(_document, _operation ->> 'path', _operation ->> 'value');
        ELSIF cardinality(_names) = 1 THEN
            -- The same as below, without the calls that a field of the document itself does not need.
            _value := public.emt_updated_value(_document -> _names[1], _operation, emt_update_document.pulled);
            _document := CASE WHEN _value IS NULL THEN _document ELSE jsonb_set(_document, _names, _value) END;
        ELSE
            _value := public.emt_updated_value(public.emt_value_at(_document, _names), _operation,
                                               emt_update_document.pulled);
            IF _value IS NOT NULL THEN
                _document := public.emt_put_at(_document, _names, _value, _operator);
            END IF;
        END IF;
    END LOOP;
    RETURN _document;
END
$$;


----------------------------------------------------------------------------------------------------------- selections

-- The fields of a document that a query reads: those that are named, or all others. fields: names as a tree, whose leaves are
-- TRUE. In an array, the tree goes on in each element; elements that have no fields have none that could be read.
CREATE OR REPLACE FUNCTION public.emt_select_fields(document JSONB, fields JSONB, inclusive BOOLEAN) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
#variable_conflict use_column
BEGIN
    CASE jsonb_typeof(emt_select_fields.document)
    WHEN 'object' THEN
        RETURN (
            SELECT coalesce(jsonb_object_agg(field.key, selected.value), '{}')
              FROM jsonb_each(emt_select_fields.document) AS field
             CROSS JOIN LATERAL (SELECT emt_select_fields.fields -> field.key AS value) AS inner_fields
             CROSS JOIN LATERAL (
                   SELECT CASE
                              WHEN inner_fields.value = 'true' AND emt_select_fields.inclusive THEN field.value
                              WHEN inner_fields.value = 'true' THEN NULL
                              WHEN inner_fields.value IS NULL AND emt_select_fields.inclusive THEN NULL
                              WHEN inner_fields.value IS NULL THEN field.value
                              ELSE public.emt_select_fields(field.value, inner_fields.value, emt_select_fields.inclusive)
                          END AS value) AS selected
             WHERE selected.value IS NOT NULL);
    WHEN 'array' THEN
        RETURN (
            SELECT coalesce(jsonb_agg(selected.value ORDER BY element.number), '[]')
              FROM jsonb_array_elements(emt_select_fields.document) WITH ORDINALITY AS element (value, number)
             CROSS JOIN LATERAL (
                   SELECT public.emt_select_fields(element.value, emt_select_fields.fields, emt_select_fields.inclusive)
                          AS value) AS selected
             WHERE selected.value IS NOT NULL);
    ELSE
        RETURN CASE WHEN NOT emt_select_fields.inclusive THEN emt_select_fields.document END;
    END CASE;
END
$$;


-------------------------------------------------------------------------------------------------------------- indexes

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


---------------------------------------------------------------------------------------------------------- collections

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

-- Whether a table that somebody else has created can be used as a collection. Returns the columns of its primary key:
-- what Pongo's Node library has made has (_id) only. Raises SE030 and says what does not fit.
CREATE OR REPLACE FUNCTION public.emt_check_layout(name TEXT) RETURNS TEXT
    LANGUAGE plpgsql
    AS $$
DECLARE
    _table REGCLASS := public.emt_relation(emt_check_layout.name);
    _kind "char" := (SELECT relkind FROM pg_class WHERE oid = _table);
    _problem TEXT;
    _key TEXT;
BEGIN
    IF _kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '"%" exists and is not a collection: it is %', emt_check_layout.name,
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
        RAISE EXCEPTION 'table "%" exists and is not a collection: %', emt_check_layout.name, _problem
            USING ERRCODE = 'SE030', HINT = 'Choose another name for the collection.';
    END IF;
    RETURN _key;
END
$$;

-- Puts the id and the version of a document into its JSON, as Pongo's Node library does: up to 0.16, that reads them there.
CREATE OR REPLACE FUNCTION public.emt_put_columns_into_json() RETURNS TRIGGER
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.data := NEW.data || jsonb_build_object('_id', NEW._id, '_version', NEW._version::TEXT);
    RETURN NEW;
END
$$;

-- Registers a table that somebody else has created, once it can be used as a collection. One of Pongo's Node library gets
-- the default partition in the place of its own, a unique index beside its primary key, which is (_id), and a trigger
-- that keeps its JSON as it was: both libraries can use it then.
CREATE OR REPLACE FUNCTION public.emt_recognise_collection(name TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _table REGCLASS := public.emt_relation(emt_recognise_collection.name);
BEGIN
    IF public.emt_check_layout(emt_recognise_collection.name) = '_id' THEN
        EXECUTE format('ALTER TABLE public.%I ALTER COLUMN _partition SET DEFAULT %L', emt_recognise_collection.name,
                       'emt:default');
        IF NOT public.emt_has_id_index(_table) THEN
            EXECUTE format('CREATE UNIQUE INDEX ON public.%I (_id, _partition)', emt_recognise_collection.name);
        END IF;
        EXECUTE format('UPDATE public.%I SET _partition = %L WHERE _partition = %L', emt_recognise_collection.name,
                       'emt:default', 'png_global');
        EXECUTE format('DROP TRIGGER IF EXISTS emt_put_columns_into_json ON public.%I', emt_recognise_collection.name);
        EXECUTE format('CREATE TRIGGER emt_put_columns_into_json BEFORE INSERT OR UPDATE ON public.%I '
                       'FOR EACH ROW EXECUTE FUNCTION public.emt_put_columns_into_json()', emt_recognise_collection.name);
    END IF;
    PERFORM public.emt_copy_grants(public.emt_granted_table(), emt_recognise_collection.name)
      FROM pg_class WHERE oid = _table AND pg_has_role(relowner, 'USAGE');
    INSERT INTO public.emt_collections (name) VALUES (emt_recognise_collection.name) ON CONFLICT DO NOTHING;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'table "%" must be made a collection first, which role "%" may not do: %',
        emt_recognise_collection.name, current_user, SQLERRM
        USING ERRCODE = 'SE030', HINT = 'Open it once as the owner of the table.';
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


-------------------------------------------------------------------------------------------------------------- indexes

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

INSERT INTO public.emt_migrations (version, name) VALUES (1, 'documents') ON CONFLICT DO NOTHING;
