-- Values in JSON: reading, putting, removing and renaming them at a path. A path is a list of names. A name in an array is a
-- position. This file comes before arrays.sql, because SQL functions are checked when they are created. emt_array_sort there
-- calls emt_json_value_at.

-- Returns the type of a value, for messages.
CREATE OR REPLACE FUNCTION public.emt_json_type_name(_value JSONB) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE pg_catalog.jsonb_typeof(_value)
               WHEN 'null' THEN 'null'
               WHEN 'array' THEN 'an array'
               WHEN 'object' THEN 'an object'
               ELSE 'a ' || pg_catalog.jsonb_typeof(_value)
           END
    $$;

-- Returns whether a name is a position in an array. "#>" and jsonb_set also accept blanks, signs and leading zeros.
CREATE OR REPLACE FUNCTION public.emt_json_is_position(_name TEXT) RETURNS BOOLEAN
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT _name ~ '^(0|[1-9][0-9]{0,8})$' $$;

-- Returns the field of an object or the element of an array; NULL if there is none.
CREATE OR REPLACE FUNCTION public.emt_json_child(_value JSONB, _name TEXT) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE pg_catalog.jsonb_typeof(_value)
               WHEN 'object' THEN _value -> _name
               WHEN 'array' THEN CASE WHEN public.emt_json_is_position(_name) THEN _value -> _name::INTEGER END
           END
    $$;

-- Returns the value at a path; NULL if there is none.
CREATE OR REPLACE FUNCTION public.emt_json_value_at(_document JSONB, _names TEXT[]) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _value JSONB := _document;
    _name TEXT;
BEGIN
    FOREACH _name IN ARRAY _names LOOP
        _value := public.emt_json_child(_value, _name);
    END LOOP;
    RETURN _value;
END
$$;

-- Returns the document with the value at the path. Missing names on the way become objects.
CREATE OR REPLACE FUNCTION public.emt_json_put_at(_document JSONB, _names TEXT[], _value JSONB, _operator TEXT)
    RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _container JSONB := _document;
    _length INTEGER := pg_catalog.cardinality(_names);
    _level INTEGER := 1;
    _next JSONB;
BEGIN
    WHILE _level < _length LOOP
        _next := public.emt_json_child(_container, _names[_level]);
        EXIT WHEN _next IS NULL;
        _container := _next;
        _level := _level + 1;
    END LOOP;

    FOR _missing IN REVERSE _length .. _level + 1 LOOP
        _value := pg_catalog.jsonb_build_object(_names[_missing], _value);
    END LOOP;

    IF pg_catalog.jsonb_typeof(_container) = 'object' THEN
        RETURN pg_catalog.jsonb_set(_document, _names[:_level], _value);
    END IF;
    IF pg_catalog.jsonb_typeof(_container) <> 'array' OR NOT public.emt_json_is_position(_names[_level]) THEN
        PERFORM public.emt_update_refuse(_operator, pg_catalog.array_to_string(_names, '.'),
            pg_catalog.format('cannot create the field `%s` in `%s`, which holds %s', _names[_level],
                   pg_catalog.array_to_string(_names[:_level - 1], '.'), public.emt_json_type_name(_container)));
    END IF;
    IF _names[_level]::INTEGER < pg_catalog.jsonb_array_length(_container) THEN
        RETURN pg_catalog.jsonb_set(_document, _names[:_level], _value);
    END IF;
    RETURN pg_catalog.jsonb_set(_document, _names[:_level - 1],
        public.emt_array_extend(_container, _names[_level], _value, _operator, pg_catalog.array_to_string(_names, '.')));
END
$$;

-- Returns an array with the value at a position after its end, and null before it.
CREATE OR REPLACE FUNCTION public.emt_array_extend(_elements JSONB, _name TEXT, _value JSONB, _operator TEXT, _path TEXT)
    RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _missing INTEGER := _name::INTEGER - pg_catalog.jsonb_array_length(_elements);
BEGIN
    IF _missing > 10000 THEN
        PERFORM public.emt_update_refuse(_operator, _path, 'would put more than 10000 nulls at the end of an array');
    END IF;
    RETURN _elements || pg_catalog.to_jsonb(pg_catalog.array_fill('null'::JSONB, ARRAY[_missing]))
           || pg_catalog.jsonb_build_array(_value);
END
$$;

-- Returns the document without the field at the path. An element of an array becomes null, so that the others keep their
-- places.
CREATE OR REPLACE FUNCTION public.emt_json_remove_at(_document JSONB, _names TEXT[]) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _container JSONB := public.emt_json_value_at(_document, _names[:pg_catalog.cardinality(_names) - 1]);
BEGIN
    IF public.emt_json_child(_container, _names[pg_catalog.cardinality(_names)]) IS NULL THEN
        RETURN _document;
    ELSIF pg_catalog.jsonb_typeof(_container) = 'array' THEN
        RETURN pg_catalog.jsonb_set(_document, _names, 'null');
    END IF;
    RETURN _document #- _names;
END
$$;

-- Returns the document with a field under another name.
CREATE OR REPLACE FUNCTION public.emt_json_rename_at(_document JSONB, _path TEXT, _renamed TEXT) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _names TEXT[] := pg_catalog.string_to_array(_path, '.');
    _new_names TEXT[] := pg_catalog.string_to_array(_renamed, '.');
    _value JSONB := public.emt_json_value_at(_document, _names);
BEGIN
    IF _value IS NULL THEN
        RETURN _document;
    END IF;
    IF public.emt_json_crosses_array(_document, _names) OR public.emt_json_crosses_array(_document, _new_names) THEN
        PERFORM public.emt_update_refuse('$rename', _path,
            pg_catalog.format('to `%s` meets an array, whose elements have no names', _renamed));
    END IF;
    _document := public.emt_json_put_at(public.emt_json_remove_at(_document, _names), _new_names, _value, '$rename');
    -- Only here can the document become deeper than the library could see.
    IF pg_catalog.jsonb_path_exists(_document, 'strict $.**{127} ? (@.type() == "object" || @.type() == "array")') THEN
        PERFORM public.emt_update_refuse('$rename', _path,
            pg_catalog.format('to `%s` nests the document deeper than 127 levels', _renamed));
    END IF;
    RETURN _document;
END
$$;

-- Returns whether there is an array on the way to a path's last name.
CREATE OR REPLACE FUNCTION public.emt_json_crosses_array(_document JSONB, _names TEXT[]) RETURNS BOOLEAN
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    FOR _length IN 1 .. pg_catalog.cardinality(_names) - 1 LOOP
        IF pg_catalog.jsonb_typeof(_document #> _names[:_length]) = 'array' THEN
            RETURN TRUE;
        END IF;
    END LOOP;
    RETURN FALSE;
END
$$;

-- Returns whether a value precedes another in the order of sorts: [], null, strings byte by byte, numbers, booleans, other
-- arrays, objects.
CREATE OR REPLACE FUNCTION public.emt_json_precedes(_value JSONB, _other JSONB) RETURNS BOOLEAN
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN pg_catalog.jsonb_typeof(_value) = 'string' AND pg_catalog.jsonb_typeof(_other) = 'string'
                THEN (_value #>> '{}'::TEXT[]) COLLATE "C" < (_other #>> '{}'::TEXT[]) COLLATE "C"
                ELSE _value < _other
           END
    $$;
