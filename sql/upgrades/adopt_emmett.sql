-- Adopts a database of Emmett, after schema.sql has added the missing objects. Emmett 0.42 or newer has created or upgraded
-- it. Keeps every message. Runs once, in the transaction of the migration.

-- The session's search path finds nothing below. A role that may create in a schema of it could make the owner call its
-- functions.
SET LOCAL search_path = pg_catalog, pg_temp;

-- The columns and the sequence of the feed.
DO $$
BEGIN
    IF EXISTS (SELECT FROM public.emt_messages WHERE global_position IS NULL) THEN
        RAISE EXCEPTION 'messages without a global position cannot be adopted: the feed would never deliver them'
            USING HINT = 'Give them positions from emt_global_message_position, then migrate again.';
    END IF;
END
$$;

ALTER SEQUENCE public.emt_global_message_position CACHE 1;

-- Emmett up to 0.38 made the stream's version a part of the key, and had another default. Its upgrades leave both.
DO $$
DECLARE
    _constraint NAME;
BEGIN
    FOR _constraint IN
        SELECT conname FROM pg_constraint
         WHERE conrelid = 'public.emt_streams'::REGCLASS AND contype IN ('p', 'u')
           AND pg_get_constraintdef(oid) <> 'PRIMARY KEY (stream_id, partition, is_archived)'
    LOOP
        EXECUTE format('ALTER TABLE public.emt_streams DROP CONSTRAINT %I', _constraint);
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'public.emt_streams'::REGCLASS AND contype = 'p') THEN
        ALTER TABLE public.emt_streams ADD PRIMARY KEY (stream_id, partition, is_archived);
    END IF;
END
$$;

ALTER TABLE public.emt_streams ALTER COLUMN partition SET DEFAULT 'emt:default';
ALTER TABLE public.emt_messages ALTER COLUMN partition SET DEFAULT 'emt:default';

ALTER TABLE public.emt_messages
    ALTER COLUMN global_position SET NOT NULL,
    ALTER COLUMN global_position SET DEFAULT public.emt_position_next(),
    ALTER COLUMN transaction_id SET DEFAULT pg_current_xact_id();

-- The existing partitions.
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

-- Before 0.42, Emmett kept checkpoints in emt_subscriptions. Version 0.42 copies them and keeps both equal.
CREATE TABLE IF NOT EXISTS public.emt_adopted_processors (
    processor_id TEXT, version INTEGER, partition TEXT, last_processed_checkpoint TEXT, status TEXT,
    last_processed_transaction_id XID8, processor_instance_id TEXT, last_updated TIMESTAMPTZ
);
DO $$
BEGIN
    IF to_regclass('public.emt_subscriptions') IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO public.emt_adopted_processors
        (processor_id, version, partition, last_processed_checkpoint, last_processed_transaction_id, status,
         processor_instance_id, last_updated)
    SELECT subscription.subscription_id, subscription.version, subscription.partition,
           subscription.last_processed_position::TEXT, '0'::XID8, 'stopped', 'emt:unknown', now()
      FROM public.emt_subscriptions AS subscription
     WHERE NOT EXISTS (SELECT FROM public.emt_adopted_processors AS adopted
                        WHERE adopted.processor_id = subscription.subscription_id
                          AND adopted.version = subscription.version AND adopted.partition = subscription.partition);
END
$$;

-- The processors of Emmett's clients become rows of emt_processor_slots, which emt_processors shows. Emmett's default id of
-- a projector names its projection. Other ids name none. A client's lease continues.
INSERT INTO public.emt_processor_slots
    (partition, processor, version, slot, position, store_epoch, projection, updated_at, emmett_name, emmett_checkpoint,
     emmett_position, owner, worker, taken_at, expires_at, emmett_lease)
SELECT adopted.partition, adopted.processor_id, adopted.version, 0, reached.position, public.emt_store_epoch(),
       substring(adopted.processor_id FROM '^emt:processor:projector:(.*)$'), adopted.last_updated, adopted.processor_id,
       adopted.last_processed_checkpoint, reached.position, held.owner, held.worker, held.taken_at,
       held.taken_at + INTERVAL '300 seconds', INTERVAL '300 seconds'
  FROM public.emt_adopted_processors AS adopted
  JOIN public.emt_partitions AS known USING (partition)
 CROSS JOIN LATERAL (
           SELECT public.emt_neighbour_position(adopted.partition, adopted.last_processed_checkpoint) AS position
       ) AS reached
  LEFT JOIN LATERAL (
           SELECT adopted.processor_instance_id AS owner, 0 AS worker, adopted.last_updated AS taken_at
            WHERE adopted.status <> 'stopped' AND adopted.processor_instance_id IS NOT NULL
       ) AS held ON TRUE
 WHERE adopted.last_processed_checkpoint ~ '^[0-9]+(:[0-9]+)?$';

DROP TABLE public.emt_adopted_processors;

-- Nothing would keep these equal any more.
DROP TABLE IF EXISTS public.emt_subscriptions;
DROP FUNCTION IF EXISTS public.store_subscription_checkpoint(VARCHAR, BIGINT, BIGINT, BIGINT, XID8, TEXT);
