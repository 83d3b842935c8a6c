-- emt_parked_messages: what a processor could not handle, and what waits behind it because it is of the same stream.
-- error is NULL for the latter. request: what its owner shall do with it, 'replay' or 'discard'.
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
