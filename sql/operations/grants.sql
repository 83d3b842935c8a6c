-- Access of roles. After the tables that it names, and before the first partition, which copies the grants.

-- Gives a role the privileges of an access, and no more. A 'reader' reads streams, feed, documents and the progress of
-- processors. A 'writer' also appends, keeps documents, and runs, resets and forgets processors. Neither can change or
-- delete a stored message. New tenants and collections give the same grants.
CREATE OR REPLACE FUNCTION public.emt_grant(_role_name TEXT, _access TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _writes BOOLEAN := _access = 'writer';
    _table TEXT;
    _privileges TEXT;
BEGIN
    IF _access IN ('reader', 'writer') IS NOT TRUE THEN
        RAISE EXCEPTION 'access must be reader or writer, not "%"', _access USING ERRCODE = '22023';
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', _role_name);
    EXECUTE format('GRANT SELECT%s ON SEQUENCE public.emt_global_message_position TO %I',
                   CASE WHEN _writes THEN ', USAGE' ELSE '' END, _role_name);
    -- The flags that appends read.
    FOR _table IN
        SELECT relation.relname FROM pg_class AS relation
         WHERE relation.relnamespace = 'public'::REGNAMESPACE AND relation.relkind = 'S'
           AND relation.relname ~ '^emt_inline_in_'
    LOOP
        EXECUTE format('GRANT SELECT%s ON SEQUENCE public.%I TO %I', CASE WHEN _writes THEN ', USAGE' ELSE '' END, _table,
                       _role_name);
    END LOOP;
    FOR _table, _privileges IN
        SELECT relation.relname, CASE
                   WHEN NOT _writes THEN 'SELECT'
                   WHEN relation.relname ~ '^emt_streams' THEN 'SELECT, INSERT, UPDATE, DELETE'
                   WHEN relation.relname ~ '^emt_messages' OR relation.relname = 'emt_message_ids' THEN 'SELECT, INSERT'
                   WHEN relation.relname ~ '^emt_projections' THEN 'SELECT, INSERT, UPDATE'
                   WHEN relation.relname ~ '^emt_(partitions|migrations|imports|collections|store_epochs)$' THEN 'SELECT'
                   WHEN relation.relname = 'emt_rebuilds' THEN 'SELECT, UPDATE'
                   ELSE 'SELECT, INSERT, UPDATE, DELETE'
               END
          FROM pg_class AS relation
         WHERE relation.relnamespace = 'public'::REGNAMESPACE AND relation.relkind IN ('r', 'p')
           AND (relation.relname ~ '^emt_(streams|messages|projections)(_|$)'
                OR relation.relname IN ('emt_migrations', 'emt_partitions', 'emt_collections', 'emt_imports',
                                     'emt_processor_slots', 'emt_processor_beginnings', 'emt_parked_messages', 'emt_rebuilds',
                                     'emt_rebuild_requests', 'emt_missed', 'emt_store_epochs', 'emt_message_ids',
                                     'emt_command_keys', 'emt_snapshots', 'emt_timers')
                OR relation.relname IN (SELECT name FROM public.emt_collections))
    LOOP
        EXECUTE format('GRANT %s ON public.%I TO %I', _privileges, _table, _role_name);
    END LOOP;
    EXECUTE format('GRANT SELECT%s ON public.emt_processors TO %I',
                   CASE WHEN _writes THEN ', INSERT, UPDATE, DELETE' ELSE '' END, _role_name);
END
$$;
