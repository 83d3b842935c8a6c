-- emt_messages: one row for each event or command (message_kind 'E', 'C'). Rows never change. They only move between the
-- active and the archived side with their stream. stream_position counts without gaps along a stream. global_position
-- increases along every stream, is unique in the store, and has gaps. Its default is a function of fence.sql, which
-- therefore comes before this file.
CREATE TABLE IF NOT EXISTS public.emt_messages (
    stream_position         BIGINT       NOT NULL,
    global_position         BIGINT       NOT NULL DEFAULT public.emt_position_next(),
    transaction_id          XID8         NOT NULL DEFAULT pg_current_xact_id(),
    created                 TIMESTAMPTZ  NOT NULL DEFAULT now(),
    is_archived             BOOLEAN      NOT NULL DEFAULT FALSE,
    message_kind            VARCHAR(1)   NOT NULL DEFAULT 'E',
    stream_id               TEXT         NOT NULL,
    partition               TEXT         NOT NULL DEFAULT 'emt:default',
    message_schema_version  TEXT         NOT NULL,
    message_id              TEXT         NOT NULL,
    message_type            TEXT         NOT NULL,
    message_data            JSONB        NOT NULL,
    message_metadata        JSONB        NOT NULL,
    PRIMARY KEY (stream_id, stream_position, partition, is_archived)
) PARTITION BY LIST (partition);

-- The feed's index. Unique, because the second of two equal positions at a page's end would never be delivered.
CREATE UNIQUE INDEX IF NOT EXISTS emt_messages_feed
    ON public.emt_messages (global_position, partition, is_archived);
