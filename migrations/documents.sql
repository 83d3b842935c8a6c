-- emmett-postgresql, schema version 1: collections of documents.
--
-- All that `PongoClient` needs. The event store's schema.sql builds on it, and has the conventions that hold here, too.
-- Applying it again changes nothing.
--
-- SQLSTATEs of our own: SE030 collection name or layout, SE031 update that does not fit the document.


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

-- $inc and $mul.
CREATE OR REPLACE FUNCTION public.emt_calculated(present JSONB, operator TEXT, path TEXT, operand JSONB) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _result NUMERIC;
BEGIN
    IF emt_calculated.present IS NULL THEN
        RETURN CASE emt_calculated.operator WHEN '$inc' THEN emt_calculated.operand ELSE '0' END;
    END IF;
    IF jsonb_typeof(emt_calculated.present) <> 'number' THEN
        PERFORM public.emt_refuse_update(emt_calculated.operator, emt_calculated.path,
            'needs a number, but the field holds ' || public.emt_type_name(emt_calculated.present));
    END IF;
    _result := CASE emt_calculated.operator
                   WHEN '$inc' THEN emt_calculated.present::NUMERIC + emt_calculated.operand::NUMERIC
                   ELSE emt_calculated.present::NUMERIC * emt_calculated.operand::NUMERIC
               END;
    -- Beyond the largest float nothing could read the document.
    IF abs(_result) > 1.7976931348623157e308 THEN
        PERFORM public.emt_refuse_update(emt_calculated.operator, emt_calculated.path,
            'makes a number beyond 1.7976931348623157e308');
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
    FOR _number IN 0 .. jsonb_array_length(emt_update_document.operations) - 1 LOOP
        _operation := emt_update_document.operations -> _number;
        _operator := _operation ->> 'operator';
        -- A name never contains a dot.
        _names := string_to_array(_operation ->> 'path', '.');
        IF _operator = '$unset' THEN
            _document := public.emt_remove_at(_document, _names);
        ELSIF _operator = '$rename' THEN
            _document := public.emt_rename_at(_document, _operation ->> 'path', _operation ->> 'value');
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
