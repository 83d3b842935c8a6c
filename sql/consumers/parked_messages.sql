-- emt_parked_messages: the messages that a processor could not handle, and the later ones of their streams.
--
--            handler fails             replay
--   (no row) -------------> parked -----------------> replay requested --- handled ---> (no row)
--                              ^                        | |   ^
--                              +----- fails again ------+ |   | replay of its stream,
--            an earlier one                               |   | or it follows an earlier one
--            is parked                                    |   |
--   (no row) -------------> after <-- earlier one fails --+   |
--                              |                              |
--                              +------------------------------+
--
--   parked, after, replay requested --- discard --> discard requested --- dropped ---> (no row)
--   any                             --- reset, forget, switch of a rebuild ----------> (no row)
--   any                             --- its tenant is removed ---------------------> (no row)
--
-- error: NULL for a message after a failed one. request: 'replay' or 'discard', for the slot's holder.
CREATE TABLE IF NOT EXISTS public.emt_parked_messages (
    partition        TEXT         NOT NULL,
    processor        TEXT         NOT NULL,
    version          INTEGER      NOT NULL,
    slot             INTEGER      NOT NULL,
    global_position  BIGINT       NOT NULL,
    stream_id        TEXT         NOT NULL,
    stream_position  BIGINT       NOT NULL,
    message_type     TEXT         NOT NULL,
    attempts         INTEGER      NOT NULL DEFAULT 0,
    error            TEXT,
    request          TEXT,
    parked_at        TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, processor, version, slot, global_position)
);

-- Deletes the slots, the beginnings and the parked messages of all processors of a partition that is removed.
CREATE OR REPLACE FUNCTION public.emt_processor_delete_all(_partition TEXT) RETURNS VOID
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    DELETE FROM public.emt_processor_slots AS slot WHERE slot.partition = _partition;
    DELETE FROM public.emt_parked_messages AS parked WHERE parked.partition = _partition;
    DELETE FROM public.emt_processor_beginnings AS began WHERE began.partition = _partition;
    $$;
