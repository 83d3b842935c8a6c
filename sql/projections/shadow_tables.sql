-- Copies of tables, for rebuilds.

-- Creates an empty table like another one, with its indexes and grants. The caller may write it. Both take their numbers
-- from the same sequences, so that numbering continues after the rows of the copy. It runs as the owner. So it checks itself
-- whether the caller may read the table: other roles must not see its columns and defaults.
CREATE OR REPLACE FUNCTION public.emt_table_create_like(_source TEXT, _target TEXT, _unlogged BOOLEAN) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _column NAME;
BEGIN
    IF NOT has_table_privilege(public.emt_caller(), format('public.%I', _source), 'SELECT') THEN
        RAISE EXCEPTION 'role "%" may not read the table "%"', public.emt_caller(), _source USING ERRCODE = '42501';
    END IF;
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

-- Copies the rows of one table into another with the same columns.
CREATE OR REPLACE FUNCTION public.emt_table_copy_rows(_source TEXT, _target TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _columns TEXT;
BEGIN
    SELECT pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ' ORDER BY attnum) INTO _columns
      FROM pg_catalog.pg_attribute
     WHERE attrelid = pg_catalog.to_regclass(pg_catalog.format('public.%I', _target))::OID
       AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE pg_catalog.format('INSERT INTO public.%I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM public.%I',
                   _target, _columns, _source);
END
$$;
