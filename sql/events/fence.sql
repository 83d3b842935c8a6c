-- The fence: it keeps holes out of the feed. Positions are drawn before their transaction commits, so a reader could pass a
-- position before its message is visible. A writer therefore first takes a shared advisory lock. Its key is the sequence's
-- value at that time: the transaction may own positions above it. The lock lasts until the transaction ends. A reader reads
-- the sequence's value, and then looks for the lowest lock (emt_horizon, in feed.sql). docs/design/fence.md has the proof.
--
-- Each function calls those above it, because SQL functions are checked when they are created.

-- CACHE 1 is part of the fence: a cached position would be drawn long before the lock that announces it.
CREATE SEQUENCE IF NOT EXISTS public.emt_global_message_position CACHE 1;

-- Returns the class of a partition's fence locks. NULL is the wildcard of writers that do not name their partition. The
-- schema is part of it: two stores in one database must not hold each other back.
CREATE OR REPLACE FUNCTION public.emt_fence_class(_partition TEXT) RETURNS INTEGER
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.hashtext('public' || coalesce('.' || _partition, '')) $$;

-- Returns the position that a fence lock announces. The lock holds the low 32 bits of a position near the head, below or
-- above it. A signed difference rebuilds the position.
CREATE OR REPLACE FUNCTION public.emt_fence_position(_head BIGINT, _low_bits BIGINT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT _head + (((_low_bits - (_head & 4294967295)) + 6442450944) & 4294967295) - 2147483648 $$;

-- Returns the value before the sequence's first. The sequence is there until it draws after its start or restart.
CREATE OR REPLACE FUNCTION public.emt_position_unused() RETURNS BIGINT
    LANGUAGE sql
    AS $$ SELECT last_value - (NOT is_called)::INTEGER FROM public.emt_global_message_position $$;

-- Returns the last position that was drawn, for any partition.
CREATE OR REPLACE FUNCTION public.emt_position_head() RETURNS BIGINT
    LANGUAGE sql
    AS $$
    SELECT coalesce(pg_catalog.pg_sequence_last_value('public.emt_global_message_position'::REGCLASS), public.emt_position_unused())
    $$;

-- Announces, until the transaction ends, that it may own positions above the sequence's present value. It reads the value
-- first, then takes the lock. A reader that misses the lock has read a value below every position of this transaction.
-- bit(32) keeps the low bits as they are. Arithmetic would overflow at 2^31.
-- as they are; arithmetic would overflow at 2^31.
CREATE OR REPLACE FUNCTION public.emt_fence_lock(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE sql
    AS $$
    SELECT pg_catalog.pg_advisory_xact_lock_shared(
               public.emt_fence_class(_partition),
               coalesce(pg_catalog.pg_sequence_last_value('public.emt_global_message_position'::REGCLASS),
                        public.emt_position_unused())::BIT(32)::INTEGER) IS NOT NULL
    $$;

-- Takes the lock unless the transaction holds it. emt.fence has the transaction's id and its locks, for each store and
-- class. Both the setting and the lock roll back with a savepoint. With the transaction's id in it, a session-level SET does
-- not disarm the fence. With the sequence in it, equal classes of two stores do not collide.
CREATE OR REPLACE FUNCTION public.emt_fence_once(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql
    AS $$
DECLARE
    _key TEXT := ',' || 'public.emt_global_message_position'::REGCLASS::OID::TEXT || '/'
                     || public.emt_fence_class(_partition)::TEXT || ',';
    _transaction TEXT := pg_catalog.pg_current_xact_id()::TEXT;
    _held TEXT := pg_catalog.current_setting('emt.fence', TRUE);
BEGIN
    IF _held IS NULL OR pg_catalog.split_part(_held, ':', 1) <> _transaction THEN
        _held := _transaction || ':';
    ELSIF position(_key IN _held) > 0 THEN
        RETURN FALSE;
    END IF;
    RETURN public.emt_fence_lock(_partition) AND pg_catalog.set_config('emt.fence', _held || _key, TRUE) IS NOT NULL;
END
$$;

-- The fence of every writer. A transaction without an id has written nothing. It takes the lock without looking for an
-- earlier one. Most appends are alone in their transaction, and the look is two thirds of the fence's cost. The function is
-- SQL, because PL/pgSQL inlines its expression.
CREATE OR REPLACE FUNCTION public.emt_fence(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE sql
    AS $$
    SELECT CASE WHEN pg_catalog.pg_current_xact_id_if_assigned() IS NULL THEN public.emt_fence_lock(_partition)
                ELSE public.emt_fence_once(_partition) END
    $$;

-- The default of emt_messages.global_position: it fences every writer that does not use emt_append.
CREATE OR REPLACE FUNCTION public.emt_position_next() RETURNS BIGINT
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM public.emt_fence(NULL);
    RETURN pg_catalog.nextval('public.emt_global_message_position'::REGCLASS);
END
$$;
