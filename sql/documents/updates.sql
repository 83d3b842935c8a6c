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

-- The shortest decimal that reads as the nearest float; the number itself where it is too large or too small for one.
CREATE OR REPLACE FUNCTION public.emt_nearest_float(number NUMERIC) RETURNS NUMERIC
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN abs(emt_nearest_float.number) BETWEEN 1e-300 AND 1e300
                THEN emt_nearest_float.number::FLOAT8::TEXT::NUMERIC
                ELSE emt_nearest_float.number END
    $$;
