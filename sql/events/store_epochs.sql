-- emt_store_epochs: one row for each time since which positions may have been drawn again, after a restore or a repair. The
-- store is at the highest epoch; 0 without a row. Positions up to kept_position keep their meaning. A checkpoint after it
-- from an earlier epoch says nothing, because other messages may be there now. emt_processor_slots keeps the epoch of each
-- checkpoint. Readers outside of the database keep it beside their position. It is a table, not a sequence: logical
-- replication copies no sequences.
CREATE TABLE IF NOT EXISTS public.emt_store_epochs (
    epoch          BIGINT       NOT NULL PRIMARY KEY,
    kept_position  BIGINT       NOT NULL,
    begun_at       TIMESTAMPTZ  NOT NULL DEFAULT now()
);

-- Returns the present epoch.
CREATE OR REPLACE FUNCTION public.emt_store_epoch() RETURNS BIGINT
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT coalesce(max(epoch), 0) FROM public.emt_store_epochs $$;

-- Returns the last epoch in which a checkpoint holds that was written at a time.
CREATE OR REPLACE FUNCTION public.emt_store_epoch_of(_position BIGINT, _written_at TIMESTAMPTZ) RETURNS BIGINT
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(min(later.epoch) - 1, public.emt_store_epoch())
      FROM public.emt_store_epochs AS later
     WHERE later.begun_at > _written_at AND later.kept_position < _position
    $$;

-- Begins an epoch. Checkpoints up to _kept_position go over to it. Slots after it are failed, so that a holder commits
-- nothing more and no worker takes them. They stay in their epoch until they are reset. Returns the epoch.
CREATE OR REPLACE FUNCTION public.emt_store_epoch_begin(_kept_position BIGINT) RETURNS BIGINT
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _before BIGINT;
BEGIN
    -- Two callers at once would begin the same epoch.
    LOCK TABLE public.emt_store_epochs IN SHARE ROW EXCLUSIVE MODE;
    _before := public.emt_store_epoch();
    INSERT INTO public.emt_store_epochs (epoch, kept_position) VALUES (_before + 1, _kept_position);
    UPDATE public.emt_processor_slots AS slot
       SET store_epoch = _before + 1
     WHERE slot.store_epoch = _before AND slot.position <= _kept_position;
    PERFORM public.emt_slot_raise_epoch(held.partition, held.processor, held.version, array_agg(held.slot))
       FROM public.emt_processor_slots AS held
      WHERE held.store_epoch <= _before
      GROUP BY held.partition, held.processor, held.version;
    UPDATE public.emt_processor_slots AS slot
       SET status = 'failed', updated_at = now(),
           last_error = format('the store is at epoch %s: positions after %s may have been drawn again', _before + 1,
                               _kept_position)
     WHERE slot.store_epoch <= _before;
    RETURN _before + 1;
END
$$;
