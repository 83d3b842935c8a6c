-- Copies of tables, for rebuilds.

-- Creates an empty table like another one, with its indexes and grants, which the caller may write. Both take their
-- numbers from the same sequences, so that numbering goes on after the rows that have moved from the copy.
CREATE OR REPLACE FUNCTION public.emt_table_create_like(_source TEXT, _target TEXT, _unlogged BOOLEAN) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _column NAME;
BEGIN
    EXECUTE format('CREATE %s TABLE public.%I (LIKE public.%I INCLUDING ALL EXCLUDING IDENTITY)',
                   CASE WHEN _unlogged THEN 'UNLOGGED' END, _target, _source);
    FOR _column IN
        SELECT attname FROM pg_attribute
         WHERE attrelid = to_regclass(format('public.%I', _source)) AND attidentity <> ''
    LOOP
        EXECUTE format('ALTER TABLE public.%I ALTER COLUMN %I SET DEFAULT nextval(%L::REGCLASS)', _target,
                       _column, pg_get_serial_sequence(format('public.%I', _source), _column));
    END LOOP;
    PERFORM public.emt_table_copy_grants(_source, _target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON public.%I TO %I', _target, public.emt_caller());
END
$$;

-- Puts the rows of one table into another of the same columns.
CREATE OR REPLACE FUNCTION public.emt_table_copy_rows(_source TEXT, _target TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _columns TEXT;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO _columns
      FROM pg_attribute
     WHERE attrelid = to_regclass(format('public.%I', _target))
       AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format('INSERT INTO public.%I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM public.%I',
                   _target, _columns, _source);
END
$$;
