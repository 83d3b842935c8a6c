-- emt_subscriptions: one row a version of a processor. last_processed_position is where it began, which may be a
-- checkpoint that Emmett has left; emt_processor_slots says how far it is now.
CREATE TABLE IF NOT EXISTS public.emt_subscriptions (
    subscription_id                TEXT         NOT NULL,
    version                        INTEGER      NOT NULL DEFAULT 1,
    partition                      TEXT         NOT NULL DEFAULT 'emt:default',
    last_processed_position        BIGINT       NOT NULL,
    last_processed_transaction_id  XID8         NOT NULL DEFAULT pg_current_xact_id(),
    created_at                     TIMESTAMPTZ  NOT NULL DEFAULT now(),
    last_updated                   TIMESTAMPTZ  NOT NULL DEFAULT now(),
    PRIMARY KEY (subscription_id, partition, version)
) PARTITION BY LIST (partition);
