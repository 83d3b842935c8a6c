-- emt_subscriptions: which processors there are, and where each began. How far they are is in emt_processor_slots.
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
