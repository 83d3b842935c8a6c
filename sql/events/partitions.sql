-- emt_partitions: one row a partition (tenant). table_suffix is the part of its table names that tells it apart.
-- has_archived spares a new stream the search for an archived one of its name; it is set once and never unset.
-- inline_versions spares an append the search in emt_projections: the active version of each inline projection, by name.
CREATE TABLE IF NOT EXISTS public.emt_partitions (
    partition        TEXT         NOT NULL PRIMARY KEY,
    table_suffix     TEXT         NOT NULL UNIQUE,
    has_archived     BOOLEAN      NOT NULL DEFAULT FALSE,
    inline_versions  JSONB        NOT NULL DEFAULT '{}',
    created_at       TIMESTAMPTZ  NOT NULL DEFAULT now()
);

-- The part of a partition's table names that tells it apart: 'emt:default' gives emt_streams_emt_default_active.
CREATE OR REPLACE FUNCTION public.emt_table_suffix(partition TEXT) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT regexp_replace(emt_table_suffix.partition, '[^a-zA-Z0-9_]', '_', 'g') $$;

-- Raises SE005 for a partition that does not exist, or no longer: its name may give the table names of another one.
CREATE OR REPLACE FUNCTION public.emt_check_partition(partition TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM public.emt_partitions AS tenant
                    WHERE tenant.partition = emt_check_partition.partition) THEN
        RAISE EXCEPTION 'there is no tenant "%"', emt_check_partition.partition USING ERRCODE = 'SE005';
    END IF;
END
$$;

-- Creates the tables of a partition and attaches them. They are built first and attached last: CREATE TABLE ..
-- PARTITION OF would wait for every open append and read, and everybody else would queue behind it; ATTACH does not.
-- Raises SE004 for a name that gives no table name, or the table name of another partition.
CREATE OR REPLACE FUNCTION public.emt_create_partition(partition TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    _suffix TEXT := public.emt_table_suffix(emt_create_partition.partition);
    _other TEXT;
    _table TEXT;
BEGIN
    -- emt_messages_ and _archived leave 41 of the 63 bytes that a table's name may have.
    IF length(_suffix) NOT BETWEEN 1 AND 41 THEN
        RAISE EXCEPTION 'a tenant''s name must have 1 to 41 characters, "%" has %', emt_create_partition.partition,
            length(_suffix) USING ERRCODE = 'SE004';
    END IF;
    -- emt_streams_shop_active would be the tables of tenant "shop_active", and a leaf table of tenant "shop".
    IF _suffix ~ '_(active|archived)$' THEN
        RAISE EXCEPTION 'a tenant''s name must not end with _active or _archived, as "%" does',
            emt_create_partition.partition USING ERRCODE = 'SE004';
    END IF;
    INSERT INTO public.emt_partitions (partition, table_suffix)
    VALUES (emt_create_partition.partition, _suffix)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT tenant.partition INTO _other FROM public.emt_partitions AS tenant WHERE tenant.table_suffix = _suffix;
        IF _other IS DISTINCT FROM emt_create_partition.partition THEN
            RAISE EXCEPTION 'tenant "%" would have the table names of tenant "%"', emt_create_partition.partition, _other
                USING ERRCODE = 'SE004', HINT = 'Letters, digits and _ tell tables apart; other characters do not.';
        END IF;
        RETURN FALSE;
    END IF;

    FOREACH _table IN ARRAY ARRAY['emt_streams', 'emt_messages'] LOOP
        PERFORM public.emt_attach_partition(
            _table, _table || '_' || _suffix, emt_create_partition.partition, ' PARTITION BY LIST (is_archived)');
        -- Room in the page lets an append update the stream's row without touching its index.
        EXECUTE format('CREATE TABLE IF NOT EXISTS public.%I PARTITION OF public.%I FOR VALUES IN (FALSE) %s',
                       _table || '_' || _suffix || '_active', _table || '_' || _suffix,
                       CASE _table WHEN 'emt_streams' THEN 'WITH (fillfactor = 80)' ELSE '' END);
        EXECUTE format('CREATE TABLE IF NOT EXISTS public.%I PARTITION OF public.%I FOR VALUES IN (TRUE)',
                       _table || '_' || _suffix || '_archived', _table || '_' || _suffix);
        PERFORM public.emt_copy_grants(_table, _table || '_' || _suffix);
        PERFORM public.emt_copy_grants(_table, _table || '_' || _suffix || '_active');
        PERFORM public.emt_copy_grants(_table, _table || '_' || _suffix || '_archived');
    END LOOP;
    FOREACH _table IN ARRAY ARRAY['emt_subscriptions', 'emt_projections'] LOOP
        PERFORM public.emt_attach_partition(_table, _table || '_' || _suffix, emt_create_partition.partition, '');
        PERFORM public.emt_copy_grants(_table, _table || '_' || _suffix);
    END LOOP;
    PERFORM public.emt_create_append(emt_create_partition.partition);
    PERFORM public.emt_create_feed(emt_create_partition.partition);
    RETURN TRUE;
END
$$;

CREATE OR REPLACE FUNCTION public.emt_attach_partition(parent TEXT, child TEXT, partition TEXT, partitioned_by TEXT)
    RETURNS VOID
    LANGUAGE plpgsql
    AS $$
DECLARE
    _attached OID;
    _is_own BOOLEAN;
BEGIN
    SELECT inhrelid INTO _attached FROM pg_inherits
     WHERE inhrelid = to_regclass(format('public.%I', emt_attach_partition.child));
    IF FOUND THEN
        -- A tenant that was removed has left it. It takes the rows of that tenant's name and of no other.
        EXECUTE format('SELECT %s FROM (SELECT $1 AS partition) AS tenant', pg_get_partition_constraintdef(_attached))
            INTO _is_own USING emt_attach_partition.partition;
        IF NOT _is_own THEN
            RAISE EXCEPTION 'tenant "%" would have the table names of another tenant, which was removed',
                emt_attach_partition.partition
                USING ERRCODE = 'SE004', HINT = 'Letters, digits and _ tell tables apart; other characters do not.';
        END IF;
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL)%s',
                   emt_attach_partition.child, emt_attach_partition.parent, emt_attach_partition.partitioned_by);
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES IN (%L)',
                   emt_attach_partition.parent, emt_attach_partition.child, emt_attach_partition.partition);
END
$$;

-- Removes a partition with everything in it; FALSE where there is none. Drops the tables that hold its rows, which waits
-- for its own open transactions only. The empty parents of those tables stay attached: detaching them, concurrently or
-- not, would wait for the appends of all other tenants. A tenant that is added again under the name uses them.
CREATE OR REPLACE FUNCTION public.emt_drop_partition(partition TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    _suffix TEXT := public.emt_table_suffix(emt_drop_partition.partition);
    _table TEXT;
BEGIN
    IF emt_drop_partition.partition = 'emt:default' THEN
        RAISE EXCEPTION 'the default partition cannot be removed' USING ERRCODE = 'SE004';
    END IF;
    DELETE FROM public.emt_partitions AS tenant WHERE tenant.partition = emt_drop_partition.partition;
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    EXECUTE format('DROP FUNCTION public.%I', 'emt_append_in_' || _suffix);
    EXECUTE format('DROP FUNCTION public.%I', 'emt_feed_in_' || _suffix);
    FOREACH _table IN ARRAY ARRAY['emt_streams', 'emt_messages'] LOOP
        EXECUTE format('DROP TABLE public.%I, public.%I',
                       _table || '_' || _suffix || '_active', _table || '_' || _suffix || '_archived');
    END LOOP;
    FOREACH _table IN ARRAY ARRAY['emt_subscriptions', 'emt_projections'] LOOP
        EXECUTE format('DELETE FROM public.%I', _table || '_' || _suffix);
    END LOOP;
    DELETE FROM public.emt_imports AS import WHERE import.partition = emt_drop_partition.partition;
    DELETE FROM public.emt_processor_slots AS slot WHERE slot.partition = emt_drop_partition.partition;
    DELETE FROM public.emt_parked_messages AS parked WHERE parked.partition = emt_drop_partition.partition;
    DELETE FROM public.emt_rebuild_requests AS request WHERE request.partition = emt_drop_partition.partition;
    PERFORM public.emt_end_rebuild(rebuild.id)
       FROM public.emt_rebuilds AS rebuild WHERE rebuild.partition = emt_drop_partition.partition;
    PERFORM public.emt_delete_documents(emt_drop_partition.partition);
    RETURN TRUE;
END
$$;
