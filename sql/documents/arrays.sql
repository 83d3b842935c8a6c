-- The operators of an update that change an array: $push, $addToSet, $pop, $pull. updates.sql defines an operation.

-- Returns the result of an operator on an array; NULL if there is nothing to remove.
CREATE OR REPLACE FUNCTION public.emt_array_update(_present JSONB, _operation JSONB, _pulled JSONB[]) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _operator TEXT := _operation ->> 'operator'::TEXT;
    _value JSONB := _operation -> 'value'::TEXT;
BEGIN
    IF pg_catalog.jsonb_typeof(_present) <> 'array' THEN
        PERFORM public.emt_update_refuse(_operator, _operation ->> 'path'::TEXT,
            'needs an array, but the field holds ' || public.emt_json_type_name(_present));
    END IF;
    CASE _operator
        WHEN '$push' THEN
            RETURN public.emt_array_push(coalesce(_present, '[]'), _value);
        WHEN '$addToSet' THEN
            RETURN public.emt_array_add_to_set(coalesce(_present, '[]'), _value);
        WHEN '$pop' THEN
            RETURN _present - CASE WHEN _value = '1' THEN -1 ELSE 0 END;
        WHEN '$pull' THEN
            RETURN CASE WHEN _present IS NULL THEN NULL
                        WHEN _value IS NULL THEN _pulled[(_operation ->> 'condition'::TEXT)::INTEGER]
                        ELSE public.emt_array_pull(_present, _value) END;
    END CASE;
END
$$;

-- $push: _how = {"each": values, "position": before which element, "sort": [[path, 1 or -1], ...], "slice": how many}.
-- Negative positions and slices count from the end.
CREATE OR REPLACE FUNCTION public.emt_array_push(_elements JSONB, _how JSONB) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _length BIGINT := pg_catalog.jsonb_array_length(_elements);
    _position BIGINT := (_how -> 'position'::TEXT)::BIGINT;
    _slice BIGINT := (_how -> 'slice'::TEXT)::BIGINT;
    _pushed JSONB := _elements || (_how -> 'each'::TEXT);
    _key JSONB;
BEGIN
    IF _position IS NOT NULL THEN
        _position := CASE WHEN _position < 0 THEN _length ELSE 0 END + _position;
        _pushed := public.emt_array_slice(_elements, 0::BIGINT, _position) || (_how -> 'each'::TEXT)
                || public.emt_array_slice(_elements, _position, _length);
    END IF;
    -- From the last key to the first, since each sort keeps the order of equal elements.
    FOR _number IN REVERSE coalesce(pg_catalog.jsonb_array_length(_how -> 'sort'::TEXT), 0) - 1 .. 0 LOOP
        _key := _how -> 'sort'::TEXT -> _number;
        _pushed := public.emt_array_sort(_pushed, _key ->> 0, (_key ->> 1)::INTEGER = 1);
    END LOOP;
    _length := pg_catalog.jsonb_array_length(_pushed);
    RETURN CASE WHEN _slice IS NULL THEN _pushed
                WHEN _slice < 0 THEN public.emt_array_slice(_pushed, _length + _slice, _length)
                ELSE public.emt_array_slice(_pushed, 0::BIGINT, _slice) END;
END
$$;

-- The elements of an array from one position up to, not including, another.
CREATE OR REPLACE FUNCTION public.emt_array_slice(_elements JSONB, _first BIGINT, _past BIGINT) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(pg_catalog.jsonb_agg(element.value ORDER BY element.ordinality), '[]')
      FROM pg_catalog.jsonb_array_elements(_elements) WITH ORDINALITY AS element
     WHERE element.ordinality > _first AND element.ordinality <= _past
    $$;

-- Returns the elements of an array, sorted by the value at a path in each. Where the path is empty, that is the element
-- itself. Equal ones keep their order.
CREATE OR REPLACE FUNCTION public.emt_array_sort(_elements JSONB, _path TEXT, _ascending BOOLEAN) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(pg_catalog.jsonb_agg(keyed.value ORDER BY
               CASE WHEN _ascending THEN keyed.ranked END,
               CASE WHEN _ascending THEN keyed.string END COLLATE "C",
               CASE WHEN NOT _ascending THEN keyed.ranked END DESC,
               CASE WHEN NOT _ascending THEN keyed.string END COLLATE "C" DESC,
               keyed.ordinality), '[]')
      FROM (SELECT element.value, element.ordinality,
                   CASE pg_catalog.jsonb_typeof(key.value) WHEN 'string' THEN '""' ELSE coalesce(key.value, 'null') END AS ranked,
                   CASE pg_catalog.jsonb_typeof(key.value) WHEN 'string' THEN key.value #>> '{}'::TEXT[] ELSE '' END AS string
              FROM pg_catalog.jsonb_array_elements(_elements) WITH ORDINALITY AS element,
                   LATERAL (SELECT public.emt_json_value_at(element.value, pg_catalog.string_to_array(_path, '.'))) AS key(value)
           ) AS keyed
    $$;

-- $addToSet: the array with each value that it does not hold.
CREATE OR REPLACE FUNCTION public.emt_array_add_to_set(_elements JSONB, _each JSONB) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT _elements || coalesce(pg_catalog.jsonb_agg(added.value ORDER BY added.ordinality), '[]')
      FROM (SELECT DISTINCT ON (element.value) element.value, element.ordinality
              FROM pg_catalog.jsonb_array_elements(_each) WITH ORDINALITY AS element
             ORDER BY element.value, element.ordinality) AS added
     WHERE NOT EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(_elements) AS held WHERE held.value = added.value)
    $$;

-- $pull of a value: the array without the elements that equal it.
CREATE OR REPLACE FUNCTION public.emt_array_pull(_elements JSONB, _value JSONB) RETURNS JSONB
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(pg_catalog.jsonb_agg(element.value ORDER BY element.ordinality), '[]')
      FROM pg_catalog.jsonb_array_elements(_elements) WITH ORDINALITY AS element
     WHERE element.value <> _value
    $$;
