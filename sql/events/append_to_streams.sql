-- Appends to several streams at once: all or nothing. Takes the streams in the order of their names, so that two calls
-- cannot deadlock. The messages of all streams stand in one list, message_counts tells how many belong to each.
-- Returns one row a stream: its number in the call, and what emt_append returned; after a refusal, that row alone
-- counts, and nothing is stored.
CREATE OR REPLACE FUNCTION public.emt_append_to_streams(
    stream_ids           TEXT[],
    stream_types         TEXT[],
    partition            TEXT,
    expected_versions    BIGINT[],
    message_counts       INTEGER[],
    message_ids          TEXT[],
    message_types        TEXT[],
    message_kinds        TEXT[],
    schema_versions      TEXT[],
    messages_data        JSONB[],
    messages_metadata    JSONB[],
    find_repeated        BOOLEAN DEFAULT FALSE,
    projections          JSONB DEFAULT NULL
) RETURNS TABLE (number INTEGER, result BIGINT[])
    LANGUAGE plpgsql
    AS $$
DECLARE
    _stream RECORD;
BEGIN
    FOR _stream IN
        SELECT stream.number AS number, stream.id, stream.type, stream.expected_version,
               sum(stream.count) OVER (ORDER BY stream.number) - stream.count + 1 AS first,
               sum(stream.count) OVER (ORDER BY stream.number) AS last
          FROM unnest(
                   emt_append_to_streams.stream_ids, emt_append_to_streams.stream_types,
                   emt_append_to_streams.expected_versions, emt_append_to_streams.message_counts)
               WITH ORDINALITY AS stream (id, type, expected_version, count, number)
         ORDER BY stream.id COLLATE "C", stream.number
    LOOP
        number := _stream.number;
        result := public.emt_append(
            _stream.id, _stream.type, emt_append_to_streams.partition, _stream.expected_version,
            emt_append_to_streams.message_ids[_stream.first:_stream.last],
            emt_append_to_streams.message_types[_stream.first:_stream.last],
            emt_append_to_streams.message_kinds[_stream.first:_stream.last],
            emt_append_to_streams.schema_versions[_stream.first:_stream.last],
            emt_append_to_streams.messages_data[_stream.first:_stream.last],
            emt_append_to_streams.messages_metadata[_stream.first:_stream.last],
            emt_append_to_streams.find_repeated, emt_append_to_streams.projections);
        RETURN NEXT;
        IF result[1] IN (1, 2) THEN
            -- Left by an exception, the block takes back what the streams before this one have stored. The code must not
            -- end in 000: that would catch its whole class, and so every other error of ours.
            RAISE EXCEPTION USING ERRCODE = 'SE040';
        END IF;
    END LOOP;
EXCEPTION WHEN SQLSTATE 'SE040' THEN
    RETURN;
END
$$;
