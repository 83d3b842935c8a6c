-- Checks of the sequences, which the tables cannot guard. Logical replication and careless restores leave them below the
-- tables.

-- Returns the fault and its remedy; NULL if there is none. It is one statement, for each new connection. It checks one
-- partition, because a check of all would load the tables of every tenant into every session.
CREATE OR REPLACE FUNCTION public.emt_store_check(_partition TEXT) RETURNS TEXT
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
    _highest BIGINT;
    _head BIGINT;
BEGIN
    -- Without its tables there is no such tenant. The statement that needs them reports it.
    IF to_regclass(format('public.%I', 'emt_messages_' || _suffix)) IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT max(global_position) FROM public.%I', 'emt_messages_' || _suffix) INTO _highest;
    -- After the table: an append between the two must not look like a fault.
    SELECT last_value - (NOT is_called)::INTEGER INTO _head FROM public.emt_global_message_position;
    IF _head < _highest THEN
        RETURN format('the sequence emt_global_message_position is at %s, but partition "%s" has a message at position %s, so '
                      'appends would draw positions again and readers would skip events: run `emmett repair sequence`',
                      _head, _partition, _highest);
    END IF;
    -- The row before the flag, which is set before the row can be seen.
    IF EXISTS (SELECT FROM public.emt_partitions AS tenant
                WHERE tenant.partition = _partition AND tenant.inline_projections <> '{}')
       AND pg_sequence_last_value(to_regclass(format('public.%I', 'emt_inline_in_' || _suffix))) = 0 THEN
        RETURN format('the sequence emt_inline_in_%s was set back, so inline projections would miss events of partition "%s": '
                      'run `emmett repair sequence`', _suffix, _partition);
    END IF;
    RETURN NULL;
END
$$;

-- Sets the sequences to the tables of all partitions. A new epoch begins: readers elsewhere may have seen messages after
-- head, which never came here. "previous" is the sequence's earlier position. Checkpoints hold up to "kept". If the sequence
-- has drawn any position since it was set back, that may be a second time. Then no checkpoint holds, and inline read models
-- become stale in partitions without their flag. Needs the owner of the schema.
CREATE OR REPLACE FUNCTION public.emt_store_repair()
    RETURNS TABLE (previous BIGINT, head BIGINT, epoch BIGINT, kept BIGINT, partitions TEXT[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _highest BIGINT;
    _has_drawn BOOLEAN;
    _partition TEXT;
BEGIN
    -- A second repair must not set the sequence back below the positions that appends have drawn since the first.
    PERFORM pg_advisory_xact_lock(hashtextextended('public' || '.repair', 0));
    SELECT max(global_position) INTO _highest FROM public.emt_messages;
    previous := public.emt_position_head();
    head := previous;
    kept := previous;
    epoch := public.emt_store_epoch();
    SELECT is_called INTO _has_drawn FROM public.emt_global_message_position;
    IF previous < _highest THEN
        PERFORM setval('public.emt_global_message_position', _highest);
        head := _highest;
        kept := CASE WHEN _has_drawn THEN 0 ELSE _highest END;
        epoch := public.emt_store_epoch_begin(kept);
    END IF;
    partitions := ARRAY(
        SELECT tenant.partition FROM public.emt_partitions AS tenant
         WHERE tenant.inline_projections <> '{}'
           AND pg_sequence_last_value(
                   to_regclass(format('public.%I', 'emt_inline_in_' || tenant.table_suffix))) = 0
         ORDER BY tenant.partition COLLATE "C");
    FOREACH _partition IN ARRAY partitions LOOP
        PERFORM nextval(format('public.%I', 'emt_inline_in_' || public.emt_partition_suffix(_partition)));
        IF _has_drawn THEN
            UPDATE public.emt_projections AS projection
               SET status = 'stale', last_updated = now()
             WHERE projection.partition = _partition AND projection.type = 'i' AND projection.status = 'active'
               AND projection.definition ? 'handles';
        END IF;
    END LOOP;
    PERFORM setval(pg_get_serial_sequence('public.emt_rebuilds', 'id'), rebuild.highest)
       FROM (SELECT max(id) AS highest FROM public.emt_rebuilds) AS rebuild
      WHERE rebuild.highest > coalesce(pg_sequence_last_value(pg_get_serial_sequence('public.emt_rebuilds', 'id')), 0);
    RETURN NEXT;
END
$$;
