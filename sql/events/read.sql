-- A part of a stream, of page_size messages at the most, each with the stream's version; one row without a message where
-- the stream exists and the part is empty. The settings leave one plan, the walk along the versions: for a stream that is
-- longer than most, the planner would read and sort all that is left of it for each page.
CREATE OR REPLACE FUNCTION public.emt_read_page(
    partition         TEXT,
    stream_id         TEXT,
    first             BIGINT,
    last              BIGINT,
    page_size         BIGINT,
    backwards         BOOLEAN,
    include_archived  BOOLEAN
) RETURNS TABLE (
    stream_version BIGINT, stream_position BIGINT, global_position BIGINT, message_id TEXT, message_type TEXT,
    message_kind VARCHAR(1), message_schema_version TEXT, created TIMESTAMPTZ, message_data JSONB,
    message_metadata JSONB
)
    LANGUAGE plpgsql
    SET enable_seqscan TO off
    SET enable_bitmapscan TO off
    SET enable_sort TO off
    SET max_parallel_workers_per_gather TO 0
    SET jit TO off
    AS $$
DECLARE
    _tables TEXT := public.emt_table_suffix(emt_read_page.partition)
                    || CASE WHEN emt_read_page.include_archived THEN '' ELSE '_active' END;
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT stream.stream_position, message.*
          FROM public.%I AS stream
          LEFT JOIN LATERAL (
                   SELECT stream_position, global_position, message_id, message_type, message_kind,
                          message_schema_version, created, message_data, message_metadata
                     FROM public.%I
                    WHERE stream_id = stream.stream_id AND stream_position BETWEEN $3 AND $4
                    ORDER BY stream_position %s
                    LIMIT $5
               ) AS message ON TRUE
         WHERE stream.stream_id = $1 AND stream.partition = $2
        $sql$, 'emt_streams_' || _tables, 'emt_messages_' || _tables,
        CASE WHEN emt_read_page.backwards THEN 'DESC' ELSE 'ASC' END)
        USING emt_read_page.stream_id, emt_read_page.partition, emt_read_page.first, emt_read_page.last,
              emt_read_page.page_size;
END
$$;
