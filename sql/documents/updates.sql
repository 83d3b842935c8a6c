-- Updates of documents. An operation of an update is an object: its operator, its path with dots, and its value in a form
-- that the library has checked. Paths of one update do not overlap, so the order of its operations does not matter.

-- Refuses an update.
CREATE OR REPLACE FUNCTION public.emt_update_refuse(_operator TEXT, _path TEXT, _reason TEXT) RETURNS VOID
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RAISE EXCEPTION '`%` of `%` %', _operator, _path, _reason USING ERRCODE = 'SE031';
END
$$;

-- Returns the result of an update. _operations is an array of operations. _pulled has the rest of its array for each $pull
-- with a condition, in the order of their numbers. Raises SE031 if the document does not fit the operations.
CREATE OR REPLACE FUNCTION public.emt_document_update(_document JSONB, _operations JSONB, _pulled JSONB[] DEFAULT '{}')
    RETURNS JSONB
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
DECLARE
    _operation JSONB;
    _operator TEXT;
    _names TEXT[];
    _value JSONB;
BEGIN
    -- Counting in a field of the document itself is the most frequent update, and each expression has its price.
    IF pg_catalog.jsonb_array_length(_operations) = 1 AND _operations #>> '{0,operator}'::TEXT[] IN ('$inc', '$mul')
       AND pg_catalog.strpos(_operations #>> '{0,path}'::TEXT[], '.') = 0 THEN
        RETURN pg_catalog.jsonb_set(_document, ARRAY[_operations #>> '{0,path}'::TEXT[]], public.emt_number_calculate(
            _document -> (_operations #>> '{0,path}'::TEXT[]), _operations #>> '{0,operator}'::TEXT[],
            _operations #>> '{0,path}'::TEXT[], _operations #> '{0,value}'::TEXT[]));
    END IF;
    FOR _number IN 0 .. pg_catalog.jsonb_array_length(_operations) - 1 LOOP
        _operation := _operations -> _number;
        _operator := _operation ->> 'operator'::TEXT;
        -- A name never contains a dot.
        _names := pg_catalog.string_to_array(_operation ->> 'path'::TEXT, '.');
        IF _operator = '$unset' THEN
            _document := public.emt_json_remove_at(_document, _names);
        ELSIF _operator = '$rename' THEN
            _document := public.emt_json_rename_at(_document, _operation ->> 'path'::TEXT, _operation ->> 'value'::TEXT);
        ELSIF pg_catalog.cardinality(_names) = 1 THEN
            -- The same as below, without the calls that a field of the document itself does not need.
            _value := public.emt_update_value(_document -> _names[1], _operation, _pulled);
            _document := CASE WHEN _value IS NULL THEN _document ELSE pg_catalog.jsonb_set(_document, _names, _value) END;
        ELSE
            _value := public.emt_update_value(public.emt_json_value_at(_document, _names), _operation, _pulled);
            IF _value IS NOT NULL THEN
                _document := public.emt_json_put_at(_document, _names, _value, _operator);
            END IF;
        END IF;
    END LOOP;
    RETURN _document;
END
$$;

-- Returns the result of an operator on the present value, which is NULL for a missing field; NULL if the field stays as it
-- is.
CREATE OR REPLACE FUNCTION public.emt_update_value(_present JSONB, _operation JSONB, _pulled JSONB[]) RETURNS JSONB
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
DECLARE
    _operator TEXT := _operation ->> 'operator'::TEXT;
    _value JSONB := _operation -> 'value'::TEXT;
BEGIN
    CASE _operator
        WHEN '$set', '$setOnInsert' THEN
            RETURN _value;
        WHEN '$inc', '$mul' THEN
            RETURN public.emt_number_calculate(_present, _operator, _operation ->> 'path'::TEXT, _value);
        WHEN '$min' THEN
            RETURN CASE WHEN _present IS NULL OR public.emt_json_precedes(_value, _present) THEN _value END;
        WHEN '$max' THEN
            RETURN CASE WHEN _present IS NULL OR public.emt_json_precedes(_present, _value) THEN _value END;
        WHEN '$currentDate' THEN
            RETURN pg_catalog.to_jsonb(pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
        ELSE
            RETURN public.emt_array_update(_present, _operation, _pulled);
    END CASE;
END
$$;

-- $inc and $mul. Decimal: 0.1 and 0.2 are 0.3.
CREATE OR REPLACE FUNCTION public.emt_number_calculate(_present JSONB, _operator TEXT, _path TEXT, _operand JSONB)
    RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    _result NUMERIC;
BEGIN
    IF pg_catalog.jsonb_typeof(_present) IS DISTINCT FROM 'number' THEN
        IF _present IS NULL THEN
            RETURN CASE _operator WHEN '$inc' THEN _operand ELSE '0' END;
        END IF;
        PERFORM public.emt_update_refuse(_operator, _path,
            'needs a number, but the field holds ' || public.emt_json_type_name(_present));
    END IF;
    _result := CASE _operator
                   WHEN '$inc' THEN _present::NUMERIC + _operand::NUMERIC
                   ELSE _present::NUMERIC * _operand::NUMERIC
               END;
    IF pg_catalog.scale(_result) > 0 OR pg_catalog.abs(_result) > 1e300 THEN
        -- Beyond the largest float no reader could read the document.
        IF pg_catalog.abs(_result) > 1.7976931348623157e308 THEN
            PERFORM public.emt_update_refuse(_operator, _path, 'makes a number beyond 1.7976931348623157e308');
        END IF;
        _result := public.emt_number_readable(_result, _present::NUMERIC, _operand::NUMERIC);
    END IF;
    RETURN pg_catalog.to_jsonb(_result);
END
$$;

-- Returns the nearest float of a fraction of two numbers, so that every reader can read the document. If one of the two is
-- no float, returns the fraction itself. A function of its own: PL/pgSQL prepares an expression with all its inlined calls
-- in each transaction. Few updates come here.
CREATE OR REPLACE FUNCTION public.emt_number_readable(_made NUMERIC, _one NUMERIC, _other NUMERIC) RETURNS NUMERIC
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RETURN CASE WHEN _one = public.emt_number_nearest_float(_one) AND _other = public.emt_number_nearest_float(_other)
                THEN public.emt_number_nearest_float(_made)
                ELSE _made END;
END
$$;

-- Returns the shortest decimal that reads as the nearest float. A number too large or too small for a float stays as it is.
CREATE OR REPLACE FUNCTION public.emt_number_nearest_float(_number NUMERIC) RETURNS NUMERIC
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN pg_catalog.abs(_number) BETWEEN 1e-300 AND 1e300 THEN _number::FLOAT8::TEXT::NUMERIC ELSE _number END
    $$;
