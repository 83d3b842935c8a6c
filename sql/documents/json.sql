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
