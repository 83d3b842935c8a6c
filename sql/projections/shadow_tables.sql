-- Creates an empty table like another one, with its indexes and grants, which the caller may write. What numbers the rows
-- of the other one also numbers those of the copy, so that it goes on behind them when they have moved there.
CREATE OR REPLACE FUNCTION public.emt_create_like(source TEXT, target TEXT, unlogged BOOLEAN) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _column NAME;
BEGIN
    EXECUTE format('CREATE %s TABLE public.%I (LIKE public.%I INCLUDING ALL EXCLUDING IDENTITY)',
                   CASE WHEN emt_create_like.unlogged THEN 'UNLOGGED' END, emt_create_like.target,
                   emt_create_like.source);
    FOR _column IN
        SELECT attname FROM pg_attribute
         WHERE attrelid = to_regclass(format('public.%I', emt_create_like.source)) AND attidentity <> ''
    LOOP
        EXECUTE format('ALTER TABLE public.%I ALTER COLUMN %I SET DEFAULT nextval(%L::REGCLASS)', emt_create_like.target,
                       _column, pg_get_serial_sequence(format('public.%I', emt_create_like.source), _column));
    END LOOP;
    PERFORM public.emt_copy_grants(emt_create_like.source, emt_create_like.target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON public.%I TO %I', emt_create_like.target,
                   public.emt_caller());
END
$$;

-- Puts the rows of one table into another of the same columns.
CREATE OR REPLACE FUNCTION public.emt_copy_rows(source TEXT, target TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _columns TEXT;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO _columns
      FROM pg_attribute
     WHERE attrelid = to_regclass(format('public.%I', emt_copy_rows.target))
       AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format('INSERT INTO public.%I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM public.%I',
                   emt_copy_rows.target, _columns, emt_copy_rows.source);
END
$$;
