-- emt_command_keys: one row a command that was carried out under a key of its caller's, with its reply. The row is
-- inserted in the transaction of the command's append, so a key stands for what is stored, and for nothing else.
-- digest is the SHA-256 of the command's content in hexadecimal digits, or empty where the caller named no content.
CREATE TABLE IF NOT EXISTS public.emt_command_keys (
    partition    TEXT         NOT NULL,
    command_key  TEXT         NOT NULL,
    digest       TEXT         NOT NULL,
    reply        JSONB        NOT NULL,
    created      TIMESTAMPTZ  NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (partition, command_key)
);

-- The oldest keys, for their removal.
CREATE INDEX IF NOT EXISTS emt_command_keys_created ON public.emt_command_keys (partition, created);

-- Takes a key for the running transaction. Returns 0, or, where the key is taken, 6 for the same content and 7 for
-- another one. Waits for a transaction that holds the key.
CREATE OR REPLACE FUNCTION public.emt_command_key_take(
    _partition    TEXT,
    _command_key  TEXT,
    _digest       TEXT,
    _reply        JSONB
) RETURNS BIGINT
    LANGUAGE plpgsql
    AS $$
DECLARE
    _inserted INTEGER;
    _stored_digest TEXT;
BEGIN
    LOOP
        INSERT INTO public.emt_command_keys AS taken (partition, command_key, digest, reply)
        VALUES (_partition, _command_key, _digest, _reply)
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS _inserted = ROW_COUNT;
        IF _inserted = 1 THEN
            RETURN 0;
        END IF;
        SELECT taken.digest INTO _stored_digest
          FROM public.emt_command_keys AS taken
         WHERE taken.partition = _partition AND taken.command_key = _command_key;
        -- A row that was removed between the two statements is no row: the next turn inserts.
        IF FOUND THEN
            RETURN CASE WHEN _stored_digest = _digest THEN 6 ELSE 7 END;
        END IF;
    END LOOP;
END
$$;

-- Creates a partition's own function for appends under a key, emt_append_keyed_in_emt_default and so on. It returns what
-- emt_append_in_... returns; or, where the key is taken, {6} for the same content and {7} for another one. The key comes before
-- the fence: a call that waits for the holder of a key does not hold the feed back. A refused append takes the key back, so
-- that the command can be decided again.
CREATE OR REPLACE FUNCTION public.emt_append_keyed_create(_partition TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _suffix TEXT := public.emt_partition_suffix(_partition);
BEGIN
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION public.%1$I(
    _stream_id          TEXT,
    _stream_type        TEXT,
    _partition          TEXT,
    _expected_version   BIGINT,
    _message_ids        TEXT[],
    _message_types      TEXT[],
    _message_kinds      TEXT[],
    _schema_versions    TEXT[],
    _messages_data      JSONB[],
    _messages_metadata  JSONB[],
    _find_repeated      BOOLEAN,
    _projections        JSONB,
    _command_key        TEXT,
    _digest             TEXT,
    _reply              JSONB
) RETURNS BIGINT[]
    LANGUAGE plpgsql
    AS $function$
DECLARE
    _taken BIGINT;
    _result BIGINT[];
BEGIN
    -- The usual case stands here, because a call of emt_command_key_take costs as much as the insert.
    INSERT INTO public.emt_command_keys AS taken (partition, command_key, digest, reply)
    VALUES (_partition, _command_key, _digest, _reply)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        _taken := public.emt_command_key_take(_partition, _command_key, _digest, _reply);
        IF _taken <> 0::BIGINT THEN
            RETURN ARRAY[_taken];
        END IF;
    END IF;
    _result := public.%2$I(
        _stream_id, _stream_type, _partition, _expected_version, _message_ids, _message_types, _message_kinds, _schema_versions,
        _messages_data, _messages_metadata, _find_repeated, _projections);
    IF _result[1] IN (1::BIGINT, 2::BIGINT) THEN
        DELETE FROM public.emt_command_keys AS taken
         WHERE taken.partition = _partition AND taken.command_key = _command_key;
    END IF;
    RETURN _result;
END
$function$
        $create$, 'emt_append_keyed_in_' || _suffix, 'emt_append_in_' || _suffix);
END
$$;

-- The same for several streams: emt_append_to_streams under a key. Where the key is taken, it returns one row with number 0.
CREATE OR REPLACE FUNCTION public.emt_append_under_key(
    _stream_ids         TEXT[],
    _stream_types       TEXT[],
    _partition          TEXT,
    _expected_versions  BIGINT[],
    _message_counts     INTEGER[],
    _message_ids        TEXT[],
    _message_types      TEXT[],
    _message_kinds      TEXT[],
    _schema_versions    TEXT[],
    _messages_data      JSONB[],
    _messages_metadata  JSONB[],
    _find_repeated      BOOLEAN,
    _projections        JSONB,
    _command_key        TEXT,
    _digest             TEXT,
    _reply              JSONB
) RETURNS TABLE (number INTEGER, result BIGINT[])
    LANGUAGE plpgsql
    AS $$
DECLARE
    _stored RECORD;
BEGIN
    PERFORM public.emt_partition_check(_partition);
    number := 0;
    result := ARRAY[public.emt_command_key_take(_partition, _command_key, _digest, _reply)];
    IF result[1] <> 0::BIGINT THEN
        RETURN NEXT;
        RETURN;
    END IF;
    FOR _stored IN EXECUTE pg_catalog.format(
        'SELECT number, result FROM public.%I($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)',
        'emt_append_several_in_' || public.emt_partition_suffix(_partition))
        USING _stream_ids, _stream_types, _partition, _expected_versions, _message_counts, _message_ids, _message_types,
              _message_kinds, _schema_versions, _messages_data, _messages_metadata, _find_repeated, _projections
    LOOP
        IF _stored.result[1] IN (1, 2) THEN
            DELETE FROM public.emt_command_keys AS taken
             WHERE taken.partition = _partition AND taken.command_key = _command_key;
        END IF;
        number := _stored.number;
        result := _stored.result;
        RETURN NEXT;
    END LOOP;
END
$$;
