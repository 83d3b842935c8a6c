-- Partitions: each tenant's share of the tables. Without tenants there is one, 'emt:default'. emt_streams, emt_messages and
-- emt_projections have a table for each partition. The tables of the first two contain one for active and one for archived
-- streams: emt_messages_acme contains emt_messages_acme_active and emt_messages_acme_archived.

-- emt_partitions: one row for each partition. table_suffix distinguishes its table names. has_archived spares a new stream
-- the search for an archived one of its name. It is set once and never unset. The next three columns spare an append the
-- search in emt_projections. Only the trigger on that table writes them. inline_versions: the active version of each inline
-- projection, by name. inline_projections: each version of each inline projection with its status and the types that it
-- handles, under 'version:name'. is_arming: one of them is 'arming'. missed_after: no row of emt_missed is at or below this
-- position, and none will be.
CREATE TABLE IF NOT EXISTS public.emt_partitions (
    partition           TEXT         NOT NULL PRIMARY KEY,
    table_suffix        TEXT         NOT NULL UNIQUE,
    has_archived        BOOLEAN      NOT NULL DEFAULT FALSE,
    inline_versions     JSONB        NOT NULL DEFAULT '{}',
    inline_projections  JSONB        NOT NULL DEFAULT '{}',
    is_arming           BOOLEAN      NOT NULL DEFAULT FALSE,
    missed_after        BIGINT       NOT NULL DEFAULT 0,
    created_at          TIMESTAMPTZ  NOT NULL DEFAULT now()
);

-- Returns the part of a partition's table names that distinguishes them: 'emt:default' gives emt_streams_emt_default_active.
CREATE OR REPLACE FUNCTION public.emt_partition_suffix(_partition TEXT) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.regexp_replace(_partition, '[^a-zA-Z0-9_]', '_', 'g') $$;

-- Raises SE005 for a partition that does not exist, or no longer exists. Its name may give the table names of another one.
CREATE OR REPLACE FUNCTION public.emt_partition_check(_partition TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM public.emt_partitions AS tenant WHERE tenant.partition = _partition) THEN
        RAISE EXCEPTION 'there is no tenant "%"', _partition USING ERRCODE = 'SE005', DETAIL = _partition;
    END IF;
END
$$;

-- Creates the tables of a partition. They are built first and attached last. CREATE TABLE .. PARTITION OF would wait for
-- every open append and read, and all others would queue for it. ATTACH does not wait. Raises SE004 for a name that gives no
-- table name, or the table names of another partition.
CREATE OR REPLACE FUNCTION public.emt_partition_create(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
    _other TEXT;
    _table TEXT;
BEGIN
    -- emt_messages_ and _archived leave 41 of the 63 bytes of a table's name.
    IF length(_suffix) NOT BETWEEN 1 AND 41 THEN
        RAISE EXCEPTION 'a tenant''s name must have 1 to 41 characters, "%" has %', _partition, length(_suffix)
            USING ERRCODE = 'SE004';
    END IF;
    -- Its bytes would count as characters here, and the program counts characters. The table names would differ.
    IF getdatabaseencoding() = 'SQL_ASCII' AND _partition ~ '[^\x01-\x7F]' THEN
        RAISE EXCEPTION 'a tenant''s name must be ASCII in a database without an encoding, "%" is not', _partition
            USING ERRCODE = 'SE004', HINT = 'The encoding of the database is SQL_ASCII. Create it with UTF8.';
    END IF;
    -- emt_streams_shop_active would be a table of tenant "shop_active", and a leaf table of tenant "shop".
    IF _suffix ~ '_(active|archived)$' THEN
        RAISE EXCEPTION 'a tenant''s name must not end with _active or _archived, as "%" does', _partition
            USING ERRCODE = 'SE004';
    END IF;
    INSERT INTO public.emt_partitions (partition, table_suffix) VALUES (_partition, _suffix) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT tenant.partition INTO _other FROM public.emt_partitions AS tenant WHERE tenant.table_suffix = _suffix;
        IF _other IS DISTINCT FROM _partition THEN
            RAISE EXCEPTION 'tenant "%" would have the table names of tenant "%"', _partition, _other
                USING ERRCODE = 'SE004', HINT = 'Choose a name that differs in letters, digits or _: other characters do not count in table names.';
        END IF;
        RETURN FALSE;
    END IF;

    PERFORM public.emt_table_use_default_space();
    FOREACH _table IN ARRAY ARRAY['emt_streams', 'emt_messages'] LOOP
        PERFORM public.emt_partition_attach(
            _table, _table || '_' || _suffix, _partition, ' PARTITION BY LIST (is_archived)');
        -- Free space in the page lets an append update the stream's row without touching its index.
        EXECUTE format('CREATE TABLE IF NOT EXISTS public.%I PARTITION OF public.%I FOR VALUES IN (FALSE) %s',
                       _table || '_' || _suffix || '_active', _table || '_' || _suffix,
                       CASE _table WHEN 'emt_streams' THEN 'WITH (fillfactor = 80)' ELSE '' END);
        EXECUTE format('CREATE TABLE IF NOT EXISTS public.%I PARTITION OF public.%I FOR VALUES IN (TRUE)',
                       _table || '_' || _suffix || '_archived', _table || '_' || _suffix);
        PERFORM public.emt_table_copy_grants(_table, _table || '_' || _suffix);
        PERFORM public.emt_table_copy_grants(_table, _table || '_' || _suffix || '_active');
        PERFORM public.emt_table_copy_grants(_table, _table || '_' || _suffix || '_archived');
    END LOOP;
    PERFORM public.emt_partition_attach('emt_projections', 'emt_projections_' || _suffix, _partition, '');
    PERFORM public.emt_table_copy_grants('emt_projections', 'emt_projections_' || _suffix);
    PERFORM public.emt_missed_watch(_partition);
    PERFORM public.emt_append_create(_partition);
    PERFORM public.emt_append_keyed_create(_partition);
    PERFORM public.emt_append_several_create(_partition);
    PERFORM public.emt_feed_create(_partition);
    RETURN TRUE;
END
$$;

-- Creates the table of a partition and attaches it, unless it is attached already. Raises SE004 if the attached one takes
-- the rows of another partition.
CREATE OR REPLACE FUNCTION public.emt_partition_attach(_parent TEXT, _child TEXT, _partition TEXT, _partitioned_by TEXT)
    RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _attached OID;
    _is_own BOOLEAN;
BEGIN
    SELECT inhrelid INTO _attached FROM pg_inherits
     WHERE inhrelid = to_regclass(format('public.%I', _child));
    IF FOUND THEN
        -- A removed tenant has left it. It takes the rows of that tenant's name only.
        EXECUTE format('SELECT %s FROM (SELECT $1 AS partition) AS tenant', pg_get_partition_constraintdef(_attached))
            INTO _is_own USING _partition;
        IF NOT _is_own THEN
            RAISE EXCEPTION 'tenant "%" would have the table names of another tenant, which was removed', _partition
                USING ERRCODE = 'SE004', HINT = 'Choose a name that differs in letters, digits or _: other characters do not count in table names.';
        END IF;
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)%s', _child, _parent, _partitioned_by);
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES IN (%L)', _parent, _child, _partition);
END
$$;

-- Removes a partition with its content; FALSE if there is none. Drops the tables of its rows, which waits for its own open
-- transactions only. The empty parents of those tables stay attached. Detaching them, even CONCURRENTLY, would wait for the
-- appends of all other tenants. A tenant that is added again under the name uses them.
CREATE OR REPLACE FUNCTION public.emt_partition_drop(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
    _table TEXT;
BEGIN
    IF _partition = 'emt:default' THEN
        RAISE EXCEPTION 'the default partition cannot be removed' USING ERRCODE = 'SE004';
    END IF;
    -- First, while this transaction holds nothing else: writers of the tenant's documents may still need its tables.
    PERFORM pg_advisory_xact_lock(public.emt_document_tenant_key(_partition));
    DELETE FROM public.emt_partitions AS tenant WHERE tenant.partition = _partition;
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    EXECUTE format('DROP FUNCTION public.%I', 'emt_append_several_in_' || _suffix);
    EXECUTE format('DROP FUNCTION public.%I', 'emt_append_keyed_in_' || _suffix);
    EXECUTE format('DROP FUNCTION public.%I', 'emt_append_in_' || _suffix);
    EXECUTE format('DROP FUNCTION public.%I', 'emt_feed_in_' || _suffix);
    EXECUTE format('DROP SEQUENCE public.%I', 'emt_inline_in_' || _suffix);
    FOREACH _table IN ARRAY ARRAY['emt_streams', 'emt_messages'] LOOP
        EXECUTE format('DROP TABLE public.%I, public.%I',
                       _table || '_' || _suffix || '_active', _table || '_' || _suffix || '_archived');
    END LOOP;
    EXECUTE format('DELETE FROM public.%I', 'emt_projections_' || _suffix);
    DELETE FROM public.emt_message_ids AS noted WHERE noted.partition = _partition;
    DELETE FROM public.emt_command_keys AS taken WHERE taken.partition = _partition;
    DELETE FROM public.emt_timers AS timer WHERE timer.partition = _partition;
    DELETE FROM public.emt_snapshots AS kept WHERE kept.partition = _partition;
    DELETE FROM public.emt_missed AS missed WHERE missed.partition = _partition;
    DELETE FROM public.emt_imports AS import WHERE import.partition = _partition;
    PERFORM public.emt_processor_delete_all(_partition);
    DELETE FROM public.emt_rebuild_requests AS request WHERE request.partition = _partition;
    PERFORM public.emt_rebuild_end(rebuild.id)
       FROM public.emt_rebuilds AS rebuild WHERE rebuild.partition = _partition;
    PERFORM public.emt_document_delete_all(_partition);
    RETURN TRUE;
END
$$;
