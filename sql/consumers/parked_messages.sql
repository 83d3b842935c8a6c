-- emt_parked_messages: the messages that a processor could not handle, and the later ones of the same streams.
--
--                  the handler fails            replay                     handled
--       no row -----------------------> parked --------> replay requested --------> no row
--                                         ^                |          ^
--                                         +-- fails again -+          | replay, or follows an earlier one
--                  one is parked before   (attempts + 1)              |
--       no row -----------------------> after ------------------------+
--                                         ^                |
--                                         +----------------+ an earlier one fails again
--
--       parked, after, replay requested --- discard ---> discard requested --- its worker ---> no row
--       any --- reset, forget, switch of a rebuild ---> no row
--
-- error: NULL for a message that only comes after one that failed. request: 'replay' or 'discard', for the slot's holder.
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
