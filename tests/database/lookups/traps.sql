-- Traps: operators and functions that PostgreSQL prefers to its own wherever the types of an expression do not fit exactly
-- one of its own. They stand in the schema traps, which is on the search path after pg_catalog, as "public" is.
CREATE SCHEMA traps;

-- The types of our columns and parameters, and of the catalogs' columns that we read.
CREATE TABLE traps.types AS
SELECT format_type(oid, NULL) AS name, oid AS type, typarray AS array_type
  FROM pg_type
 WHERE oid = ANY ('{text,varchar,name,"\"char\"",oid,int2,int4,int8,numeric,float8,bool,jsonb,jsonpath,xid,xid8,timestamptz,
                    interval,regclass,regprocedure,regnamespace,information_schema.sql_identifier,
                    text[],name[],int4[],int8[],int2[],oid[],jsonb[]}'::REGTYPE[]);

-- The types of an argument that stands where a function declares another: all of ours, or those that fit a polymorphic one.
CREATE FUNCTION traps.variations(_declared OID) RETURNS SETOF TEXT
    LANGUAGE sql
    AS $$
    SELECT name FROM traps.types
     WHERE CASE WHEN _declared IN ('anyarray'::REGTYPE, 'anycompatiblearray'::REGTYPE) THEN name LIKE '%[]'
                WHEN _declared IN ('anynonarray'::REGTYPE, 'anycompatiblenonarray'::REGTYPE) THEN name NOT LIKE '%[]'
                ELSE TRUE END
    $$;

CREATE FUNCTION traps.is_polymorphic(_type OID) RETURNS BOOLEAN
    LANGUAGE sql
    AS $$ SELECT typtype = 'p' AND typname ~ '^any' FROM pg_type WHERE oid = _type $$;

-- What a trap says that it returns, so that the statement around it is accepted.
CREATE FUNCTION traps.result(_declared OID) RETURNS TEXT
    LANGUAGE sql
    AS $$ SELECT CASE WHEN typtype = 'p' THEN 'text' ELSE format_type(oid, NULL) END FROM pg_type WHERE oid = _declared $$;

CREATE PROCEDURE traps.set_function(_schema TEXT, _name TEXT, _arguments TEXT, _result TEXT)
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format('CREATE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', _schema, _name, _arguments, _result,
                   format('BEGIN RAISE EXCEPTION %L USING ERRCODE = ''TRAP0''; END',
                          replace(format('a trap was called: %s(%s)', _name, _arguments), '%', '%%')));
EXCEPTION WHEN duplicate_function OR invalid_function_definition THEN
    NULL;
END
$$;

-- Operators: one of the two types is another than PostgreSQL's operator has, which makes it fit better than that one.
DO $$
DECLARE
    _name TEXT;
    _left TEXT;
    _right TEXT;
    _result TEXT;
BEGIN
    SET LOCAL check_function_bodies = off;
    FOR _name, _left, _right, _result IN
        SELECT trap.name, trap.left_type, trap.right_type, min(trap.result) FROM (
            SELECT oprname AS name, varied.name AS left_type, fixed.name AS right_type, traps.result(oprresult) AS result
              FROM pg_operator, traps.variations(oprleft) AS varied (name), traps.variations(oprright) AS fixed (name)
             WHERE oprkind = 'b' AND oprnamespace = 'pg_catalog'::REGNAMESPACE
               AND oprname::TEXT = ANY ('{=,<>,<,<=,>,>=,+,-,*,/,%,&,|,||,->,->>,#>,#>>,#-,@>,<@,?,?|,?&,@?,@@,~,~*,!~,!~*,~~,
                                          !~~,~~*,!~~*,^@}'::TEXT[])
               AND (fixed.name = format_type(oprright, NULL) OR traps.is_polymorphic(oprright)
                    OR varied.name = format_type(oprleft, NULL) OR traps.is_polymorphic(oprleft))
               AND (traps.is_polymorphic(oprleft) OR oprleft IN (SELECT type FROM traps.types))
               AND (traps.is_polymorphic(oprright) OR oprright IN (SELECT type FROM traps.types))
        ) AS trap
         WHERE to_regoperator(format('pg_catalog.%s (%s, %s)', trap.name, trap.left_type, trap.right_type)) IS NULL
         GROUP BY 1, 2, 3
    LOOP
        CALL traps.set_function('traps', _name, _left || ', ' || _right, _result);
        EXECUTE format('CREATE OPERATOR traps.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = traps.%I)',
                       _name, _left, _right, _name);
    END LOOP;
END
$$;

-- Functions of these names: one argument is of another type than the function of that name declares, or those that it may
-- leave to its defaults are missing. A polymorphic function has a trap for each type that fits it.
CREATE PROCEDURE traps.set_functions(_namespace REGNAMESPACE, _schema TEXT, _names TEXT[])
    LANGUAGE plpgsql
    AS $$
DECLARE
    _function RECORD;
    _types TEXT[];
    _number INTEGER;
    _varied TEXT;
    _arguments TEXT;
BEGIN
    SET LOCAL check_function_bodies = off;
    FOR _function IN
        SELECT proname AS name, provariadic AS variadic, pronargs::INTEGER AS count, pronargdefaults::INTEGER AS defaults,
               CASE WHEN proretset THEN 'SETOF ' ELSE '' END || traps.result(prorettype) AS result,
               ARRAY(SELECT type FROM unnest(proargtypes) WITH ORDINALITY AS argument (type, number) ORDER BY number) AS types,
               (SELECT coalesce(bool_or(traps.is_polymorphic(type)), FALSE) FROM unnest(proargtypes) AS type) AS is_polymorphic
          FROM pg_proc
         WHERE pronamespace = _namespace AND prokind IN ('f', 'a', 'w') AND pronargs > 0 AND proname::TEXT = ANY (_names)
           AND (_namespace = 'pg_catalog'::REGNAMESPACE OR prosrc !~ 'TRAP0')
           AND NOT EXISTS (SELECT FROM unnest(proargtypes) AS type JOIN pg_type ON oid = type
                            WHERE typname IN ('internal', 'cstring'))
    LOOP
        _types := ARRAY(SELECT format_type(type, NULL) FROM unnest(_function.types) WITH ORDINALITY AS argument (type, number)
                         ORDER BY number);
        FOR _arguments IN
            -- Each argument but the varied one as it is declared.
            SELECT array_to_string(_types[:number - 1] || varied || _types[number + 1:length], ', ')
              FROM generate_series(_function.count - _function.defaults, _function.count) AS length,
                   generate_series(1, length) AS number,
                   traps.variations(_function.types[number]) AS varied
             WHERE NOT _function.is_polymorphic AND varied <> _types[number]
            UNION
            SELECT array_to_string(_types[:length], ', ')
              FROM generate_series(_function.count - _function.defaults, _function.count - 1) AS length
             WHERE NOT _function.is_polymorphic
            UNION
            -- All polymorphic arguments of one type; the others as they are declared.
            SELECT (SELECT string_agg(CASE
                                 WHEN number = _function.count AND _function.variadic <> 0 THEN 'VARIADIC ' || element.name || '[]'
                                 WHEN NOT traps.is_polymorphic(type) THEN format_type(type, NULL)
                                 WHEN type IN ('anyarray'::REGTYPE, 'anycompatiblearray'::REGTYPE) THEN element.name || '[]'
                                 ELSE element.name END, ', ' ORDER BY number)
                      FROM unnest(_function.types) WITH ORDINALITY AS argument (type, number))
              FROM traps.types AS element
             WHERE _function.is_polymorphic AND (element.array_type <> 0
                    OR _function.variadic = 0 AND NOT _function.types && '{anyarray,anycompatiblearray}'::REGTYPE[]::OID[])
            UNION
            SELECT 'text, ' || two.one || ', ' || two.other
              FROM (SELECT one, other FROM unnest('{text,int4,int8,name,oid,jsonb}'::TEXT[]) AS one,
                                           unnest('{text,int4,int8,name,oid,jsonb}'::TEXT[]) AS other) AS two
             WHERE _function.name = ANY ('{format,jsonb_build_object,concat}'::TEXT[])
        LOOP
            IF to_regprocedure(format('%I.%I(%s)', _namespace::TEXT, _function.name, replace(_arguments, 'VARIADIC ', ''))) IS NULL THEN
                CALL traps.set_function(_schema, _function.name, _arguments, _function.result);
            END IF;
        END LOOP;
    END LOOP;
END
$$;
