-- Takes over a database that Emmett (0.42 or newer) has created, after schema.sql has added what it lacks. Keeps every
-- message. Runs once, in the transaction of the migration.

-- Nothing below is found by the session's search path: whoever may create in a schema of it could have it call theirs.
SET LOCAL search_path = pg_catalog, pg_temp;

-- What the feed relies on.
DO $$
BEGIN
    IF EXISTS (SELECT FROM public.emt_messages WHERE global_position IS NULL) THEN
        RAISE EXCEPTION 'messages without a global position cannot be adopted: the feed would never deliver them'
            USING HINT = 'Give them positions from emt_global_message_position, then migrate again.';
    END IF;
END
$$;

ALTER SEQUENCE public.emt_global_message_position CACHE 1;

ALTER TABLE public.emt_messages
    ALTER COLUMN global_position SET NOT NULL,
    ALTER COLUMN global_position SET DEFAULT public.emt_position_next(),
    ALTER COLUMN transaction_id SET DEFAULT pg_current_xact_id();

ALTER TABLE public.emt_subscriptions
    ADD COLUMN IF NOT EXISTS created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS last_updated TIMESTAMPTZ NOT NULL DEFAULT now(),
    ALTER COLUMN last_processed_transaction_id SET DEFAULT pg_current_xact_id();

-- The partitions that are there already.
DO $$
DECLARE
    _partition TEXT;
    _has_archived BOOLEAN;
BEGIN
    FOR _partition IN
        SELECT replace((regexp_match(pg_get_expr(child.relpartbound, child.oid), '^FOR VALUES IN \(''(.*)''\)$'))[1],
                       '''''', '''')
          FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
         WHERE inhparent = 'public.emt_streams'::REGCLASS
    LOOP
        PERFORM public.emt_partition_create(_partition);
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)',
                       'emt_streams_' || public.emt_partition_suffix(_partition) || '_archived') INTO _has_archived;
        UPDATE public.emt_partitions SET has_archived = _has_archived WHERE partition = _partition;
    END LOOP;
END
$$;

-- The checkpoints of Emmett's processors. They are "transaction:position" and order messages by both, so a message with
-- a lower position but a later transaction may be unprocessed: the checkpoint that skips none is below the first such.
-- Older ones, a padded position alone, order by position.
DO $$
BEGIN
    IF to_regclass('public.emt_processors') IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO public.emt_subscriptions (subscription_id, version, partition, last_processed_position)
    SELECT processor.processor_id, processor.version, processor.partition,
           least(checkpoint.position,
                 (SELECT min(message.global_position) - 1
                    FROM public.emt_messages AS message
                   WHERE message.partition = processor.partition
                     AND message.global_position < checkpoint.position
                     AND message.transaction_id > checkpoint.transaction))
      FROM public.emt_processors AS processor
     CROSS JOIN LATERAL (
               SELECT regexp_replace(processor.last_processed_checkpoint, '^.*:', '')::BIGINT AS position,
                      CASE WHEN processor.last_processed_checkpoint LIKE '%:%'
                           THEN split_part(processor.last_processed_checkpoint, ':', 1)::NUMERIC::TEXT::XID8
                      END AS transaction
           ) AS checkpoint
     WHERE processor.last_processed_checkpoint ~ '^[0-9]+(:[0-9]+)?$'
       AND EXISTS (SELECT FROM public.emt_partitions AS known WHERE known.partition = processor.partition)
    ON CONFLICT (subscription_id, partition, version) DO NOTHING;
END
$$;
