-- Reads a part of a stream: at most _page_size messages, each with the stream's version. If the stream exists and the part
-- is empty, it returns one row without a message. The settings leave one plan, the walk along the versions. For a long
-- stream, the planner would read and sort the rest of it for each page.
--
-- Data and metadata that are larger than _small bytes are NULL: content that may not fit must not be sent. The stored size
-- is known without reading the content, but compressed text is smaller than its content. An array keeps its elements
-- uncompressed, so it has the real size. Content that is stored in _small_stored bytes needs no such array. The array would
-- cost a page a fortieth of its time.
CREATE OR REPLACE FUNCTION public.emt_stream_read_page(
    _partition         TEXT,
    _stream_id         TEXT,
    _first             BIGINT,
    _last              BIGINT,
    _page_size         BIGINT,
    _backwards         BOOLEAN,
    _include_archived  BOOLEAN,
    _small_stored      BIGINT DEFAULT 9223372036854775807,
    _small             BIGINT DEFAULT 9223372036854775807
) RETURNS TABLE (
    stream_version BIGINT, stream_position BIGINT, global_position BIGINT, message_id TEXT, message_type TEXT,
    message_kind VARCHAR(1), message_schema_version TEXT, created TIMESTAMPTZ, message_data JSONB,
    message_metadata JSONB
)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET enable_seqscan TO off
    SET enable_bitmapscan TO off
    SET enable_sort TO off
    SET max_parallel_workers_per_gather TO 0
    SET jit TO off
    AS $$
DECLARE
    _tables TEXT := public.emt_partition_suffix(_partition)
                    || CASE WHEN _include_archived THEN '' ELSE '_active' END;
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT stream.stream_position, message.*
          FROM public.%I AS stream
          LEFT JOIN LATERAL (
                   SELECT stream_position, global_position, message_id, message_type, message_kind,
                          message_schema_version, created,
                          CASE WHEN pg_column_size(message_data) <= $6
                                 OR (pg_column_size(message_data) <= $7 AND pg_column_size(ARRAY[message_data]) <= $7)
                               THEN message_data END,
                          CASE WHEN pg_column_size(message_metadata) <= $6
                                 OR (pg_column_size(message_metadata) <= $7 AND pg_column_size(ARRAY[message_metadata]) <= $7)
                               THEN message_metadata END
                     FROM public.%I
                    WHERE stream_id = stream.stream_id AND stream_position BETWEEN $3 AND $4
                    ORDER BY stream_position %s
                    LIMIT $5
               ) AS message ON TRUE
         WHERE stream.stream_id = $1 AND stream.partition = $2
        $sql$, 'emt_streams_' || _tables, 'emt_messages_' || _tables,
        CASE WHEN _backwards THEN 'DESC' ELSE 'ASC' END)
        USING _stream_id, _partition, _first, _last, _page_size, _small_stored, _small;
END
$$;
