-- Appends to several streams at once: all or nothing. It takes the streams in the order of their names, so that two calls
-- cannot deadlock. The messages of all streams are one list, and _message_counts has the number for each stream. Returns one
-- row a stream: its number in the call, and the result of emt_append. After a refusal, only that row counts, and nothing is
-- stored.
CREATE OR REPLACE FUNCTION public.emt_append_to_streams(
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
    _find_repeated      BOOLEAN DEFAULT FALSE,
    _projections        JSONB DEFAULT NULL
) RETURNS TABLE (number INTEGER, result BIGINT[])
    LANGUAGE plpgsql
    AS $$
DECLARE
    _stream RECORD;
BEGIN
    FOR _stream IN
        SELECT stream.number AS number, stream.id, stream.type, stream.expected_version,
               pg_catalog.sum(stream.count) OVER (ORDER BY stream.number) - stream.count + 1 AS first,
               pg_catalog.sum(stream.count) OVER (ORDER BY stream.number) AS last
          FROM unnest(_stream_ids, _stream_types, _expected_versions, _message_counts)
               WITH ORDINALITY AS stream (id, type, expected_version, count, number)
         ORDER BY stream.id COLLATE "C", stream.number
    LOOP
        number := _stream.number;
        result := public.emt_append(
            _stream.id, _stream.type, _partition, _stream.expected_version,
            _message_ids[_stream.first:_stream.last], _message_types[_stream.first:_stream.last],
            _message_kinds[_stream.first:_stream.last], _schema_versions[_stream.first:_stream.last],
            _messages_data[_stream.first:_stream.last], _messages_metadata[_stream.first:_stream.last],
            _find_repeated, _projections);
        RETURN NEXT;
        IF result[1] IN (1, 2) THEN
            -- An exception leaves the block and undoes the appends to the streams before this one. The code must not end in
            -- 000: that would catch its whole class, and so every other error of ours.
            RAISE EXCEPTION USING ERRCODE = 'SE040';
        END IF;
    END LOOP;
EXCEPTION WHEN SQLSTATE 'SE040' THEN
    RETURN;
END
$$;
