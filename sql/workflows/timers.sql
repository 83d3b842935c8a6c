-- emt_timers: the timers of workflows. One row a timer that has not fired.
--
--                 set                    due, by the server's clock
--   (no row) ------------> waiting --------------------------------> due
--                           |  ^                                      |
--                           +--+ set again: the new one replaces it   | fire: the row is deleted and its input
--                           |                                         | is appended, in one transaction
--                           +-- cancel, complete --> (no row) <-------+
--
--   any --- its tenant is removed --> (no row)
--
--   workflow, id  the instance
--   name          chosen by the workflow, unique in the instance
--   input_type, schema_version, input   the input that the workflow gets
--   metadata      the metadata of that message: its causes and the timer's name
--
-- A step sets and cancels timers before it appends, and a fired timer's row is deleted before its input is appended. So
-- timers come before the fence, and a transaction that waits for a timer does not hold the feed back.
CREATE TABLE IF NOT EXISTS public.emt_timers (
    partition       TEXT         NOT NULL,
    workflow        TEXT         NOT NULL,
    id              TEXT         NOT NULL,
    name            TEXT         NOT NULL,
    due_at          TIMESTAMPTZ  NOT NULL,
    input_type      TEXT         NOT NULL,
    schema_version  INTEGER      NOT NULL,
    input           JSONB        NOT NULL,
    metadata        JSONB        NOT NULL,
    set_at          TIMESTAMPTZ  NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (partition, workflow, id, name)
);

-- The next timers of a workflow.
CREATE INDEX IF NOT EXISTS emt_timers_due ON public.emt_timers (partition, workflow, due_at);

-- Cancels and sets timers, in the order of their instances and names. A cancelled name of NULL means all timers of the
-- instance. A timer is due at a time, in microseconds since 1970, or after a delay in seconds from now.
CREATE OR REPLACE FUNCTION public.emt_timer_change(
    _partition        TEXT,
    _workflow         TEXT,
    _cancelled_ids    TEXT[],
    _cancelled_names  TEXT[],
    _ids              TEXT[],
    _names            TEXT[],
    _delays           DOUBLE PRECISION[],
    _times            BIGINT[],
    _input_types      TEXT[],
    _schema_versions  INTEGER[],
    _inputs           JSONB[],
    _metadata         JSONB[]
) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _cancelled RECORD;
BEGIN
    PERFORM public.emt_partition_check(_partition);
    FOR _cancelled IN
        SELECT cancelled.id, cancelled.name
          FROM unnest(_cancelled_ids, _cancelled_names) AS cancelled (id, name)
         ORDER BY cancelled.id COLLATE "C", cancelled.name COLLATE "C"
    LOOP
        DELETE FROM public.emt_timers AS timer
         WHERE timer.partition = _partition AND timer.workflow = _workflow AND timer.id = _cancelled.id
           AND (_cancelled.name IS NULL OR timer.name = _cancelled.name);
    END LOOP;
    INSERT INTO public.emt_timers AS timer
        (partition, workflow, id, name, due_at, input_type, schema_version, input, metadata)
    SELECT _partition, _workflow, new.id, new.name,
           coalesce(TIMESTAMPTZ 'epoch' + new.time * INTERVAL '1 microsecond',
                    clock_timestamp() + make_interval(secs => new.delay)),
           new.input_type, new.schema_version, new.input, new.metadata
      FROM unnest(_ids, _names, _delays, _times, _input_types, _schema_versions, _inputs, _metadata)
           AS new (id, name, delay, time, input_type, schema_version, input, metadata)
     ORDER BY new.id COLLATE "C", new.name COLLATE "C"
    ON CONFLICT (partition, workflow, id, name) DO UPDATE
        SET due_at = EXCLUDED.due_at, input_type = EXCLUDED.input_type, schema_version = EXCLUDED.schema_version,
            input = EXCLUDED.input, metadata = EXCLUDED.metadata, set_at = clock_timestamp();
END
$$;

-- Deletes timers that are due, the earliest first, and returns them. The caller appends their inputs in the same
-- transaction. A timer that another transaction fires, sets or cancels is left to it.
CREATE OR REPLACE FUNCTION public.emt_timer_take(_partition TEXT, _workflow TEXT, _limit BIGINT)
    RETURNS TABLE (id TEXT, name TEXT, input_type TEXT, schema_version INTEGER, input JSONB, metadata JSONB)
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    WITH taken AS (
        DELETE FROM public.emt_timers AS timer
         -- The rows are locked, so their places are fixed. A join might scan all timers, as it cannot know how few are due.
         WHERE timer.ctid = ANY (ARRAY(
               SELECT due.ctid
                 FROM public.emt_timers AS due
                -- In a subquery: the index takes no bound that is volatile.
                WHERE due.partition = _partition AND due.workflow = _workflow AND due.due_at <= (SELECT clock_timestamp())
                ORDER BY due.due_at
                LIMIT _limit
                  FOR UPDATE SKIP LOCKED))
        RETURNING timer.*
    )
    SELECT taken.id, taken.name, taken.input_type, taken.schema_version, taken.input, taken.metadata
      FROM taken
     ORDER BY taken.due_at, taken.id COLLATE "C", taken.name COLLATE "C"
    $$;

-- Returns the microseconds until the next timer of a workflow is due, 0 where it is due, NULL where there is none.
CREATE OR REPLACE FUNCTION public.emt_timer_next(_partition TEXT, _workflow TEXT) RETURNS BIGINT
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT greatest(0, ceil(extract(EPOCH FROM timer.due_at - clock_timestamp()) * 1000000))::BIGINT
      FROM public.emt_timers AS timer
     WHERE timer.partition = _partition AND timer.workflow = _workflow
     ORDER BY timer.due_at
     LIMIT 1
    $$;
