-- emt_snapshots: states of streams, folded up to a version. A cache: each row can be deleted at any time.
-- state_type is the full name of the state's Rust type, or a digest of a long one; state_version is its `Evolve::VERSION`.
-- message_id is the id of the stream's message at stream_position. A row counts only while the stream has that message,
-- so a snapshot of a history that was lost (a failover, a restored backup) is never used.
-- state is JSON and not JSONB, because it must come back as it was written: JSONB writes -0.0 as 0.
CREATE TABLE IF NOT EXISTS public.emt_snapshots (
    partition        TEXT         NOT NULL,
    stream_id        TEXT         NOT NULL,
    state_type       TEXT         NOT NULL,
    state_version    BIGINT       NOT NULL,
    stream_position  BIGINT       NOT NULL,
    message_id       TEXT         NOT NULL,
    state            JSON         NOT NULL,
    created          TIMESTAMPTZ  NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (partition, stream_id, state_type)
);
