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
