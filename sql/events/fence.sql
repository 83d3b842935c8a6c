-- The fence: why the feed has no holes. Positions are drawn before their transaction commits, so a reader could pass
-- one that is still to come. A writer therefore takes a shared advisory lock first, whose key is the sequence's
-- value then: it may own positions above that. It holds the lock until its transaction ends. A reader reads the
-- sequence's value and then looks for the lowest lock (emt_horizon, in feed.sql). docs/fence.md has the proof.
--
-- In this order, because SQL functions are checked when they are created: each one calls those above it.

-- CACHE 1 is part of the fence: a cached position would be drawn long before the lock that announces it.
CREATE SEQUENCE IF NOT EXISTS public.emt_global_message_position CACHE 1;

-- The class of a partition's fence locks; NULL is the wildcard of writers that do not name their partition. The
-- schema is part of it: two stores in one database must not hold each other back.
CREATE OR REPLACE FUNCTION public.emt_fence_class(_partition TEXT) RETURNS INTEGER
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.hashtext('public' || coalesce('.' || _partition, '')) $$;

-- The position that a fence lock announces. The lock holds the low 32 bits of one near the head, below or above: a signed
-- difference rebuilds it.
CREATE OR REPLACE FUNCTION public.emt_fence_position(_head BIGINT, _low_bits BIGINT) RETURNS BIGINT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT _head + (((_low_bits - (_head & 4294967295)) + 6442450944) & 4294967295) - 2147483648 $$;

-- The value before the sequence's first: where it stands as long as nothing was drawn since it was started or restarted.
CREATE OR REPLACE FUNCTION public.emt_position_unused() RETURNS BIGINT
    LANGUAGE sql
    AS $$ SELECT last_value - (NOT is_called)::INTEGER FROM public.emt_global_message_position $$;

-- The last position that was drawn, by whatever partition.
CREATE OR REPLACE FUNCTION public.emt_position_head() RETURNS BIGINT
    LANGUAGE sql
    AS $$
    SELECT coalesce(pg_catalog.pg_sequence_last_value('public.emt_global_message_position'::REGCLASS), public.emt_position_unused())
    $$;

-- Announces, until the transaction ends, that it may own positions above the sequence's present value. The value first,
-- then the lock: a reader that misses the lock has read a value below every position we draw. bit(32) keeps the low bits
-- as they are; arithmetic would overflow at 2^31.
CREATE OR REPLACE FUNCTION public.emt_fence_lock(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE sql
    AS $$
    SELECT pg_catalog.pg_advisory_xact_lock_shared(
               public.emt_fence_class(_partition),
               coalesce(pg_catalog.pg_sequence_last_value('public.emt_global_message_position'::REGCLASS),
                        public.emt_position_unused())::BIT(32)::INTEGER) IS NOT NULL
    $$;

-- Takes the lock unless the transaction holds it: emt.fence holds the transaction's id and what it has locked, for each
-- store and class. Both the setting and the lock roll back with a savepoint. The transaction's id is in it because a
-- session-level SET must not disarm it, the sequence because the classes of two stores may be the same by chance.
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

-- The fence of every writer. A transaction that has no id yet has written nothing, so it takes the lock without a look
-- for one that it might hold; most appends are alone in their transaction, and this is two thirds of what the fence
-- would cost them. SQL, because PL/pgSQL puts such a function's expression in the place of its call.
CREATE OR REPLACE FUNCTION public.emt_fence(_partition TEXT) RETURNS BOOLEAN
    LANGUAGE sql
    AS $$
    SELECT CASE WHEN pg_catalog.pg_current_xact_id_if_assigned() IS NULL THEN public.emt_fence_lock(_partition)
                ELSE public.emt_fence_once(_partition) END
    $$;

-- The default of emt_messages.global_position: fences every writer that does not come through emt_append.
CREATE OR REPLACE FUNCTION public.emt_position_next() RETURNS BIGINT
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM public.emt_fence(NULL);
    RETURN pg_catalog.nextval('public.emt_global_message_position'::REGCLASS);
END
$$;
