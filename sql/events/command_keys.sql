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

-- emt_append_to_streams under a key. Returns its rows; or, where the key is taken, one row with number 0: {6} for the
-- same content, {7} for another one. The key comes before the fence: a call that waits for the holder
-- of a key does not hold the feed back. A refused append takes the key back, so that the command can be decided again.
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
    _inserted INTEGER;
BEGIN
    PERFORM public.emt_partition_check(_partition);
    LOOP
        -- Waits for a transaction that holds the key.
        INSERT INTO public.emt_command_keys AS taken (partition, command_key, digest, reply)
        VALUES (_partition, _command_key, _digest, _reply)
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS _inserted = ROW_COUNT;
        EXIT WHEN _inserted = 1;
        SELECT taken.digest INTO _stored
          FROM public.emt_command_keys AS taken
         WHERE taken.partition = _partition AND taken.command_key = _command_key;
        -- A row that was removed between the two statements is no row: the next turn inserts.
        IF FOUND THEN
            number := 0;
            result := CASE WHEN _stored.digest = _digest THEN ARRAY[6::BIGINT] ELSE ARRAY[7::BIGINT] END;
            RETURN NEXT;
            RETURN;
        END IF;
    END LOOP;
    FOR _stored IN
        SELECT appended.number, appended.result
          FROM public.emt_append_to_streams(
               _stream_ids, _stream_types, _partition, _expected_versions, _message_counts, _message_ids, _message_types,
               _message_kinds, _schema_versions, _messages_data, _messages_metadata, _find_repeated, _projections) AS appended
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
