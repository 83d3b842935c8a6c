-- Functions for Emmett's clients. Names, parameters and results are Emmett's, and never change.

-- Appends to one stream. NULL as expected position is "any".
CREATE OR REPLACE FUNCTION public.emt_append_to_stream(
    v_message_ids               TEXT[],
    v_messages_data             JSONB[],
    v_messages_metadata         JSONB[],
    v_message_schema_versions   TEXT[],
    v_message_types             TEXT[],
    v_message_kinds             TEXT[],
    v_stream_id                 TEXT,
    v_stream_type               TEXT,
    v_expected_stream_position  BIGINT DEFAULT NULL,
    v_partition                 TEXT DEFAULT 'emt:default'
) RETURNS TABLE (success BOOLEAN, next_stream_position BIGINT, global_positions BIGINT[], transaction_id XID8)
    LANGUAGE plpgsql
    AS $$
DECLARE
    _result BIGINT[] := public.emt_append(
        v_stream_id, v_stream_type, v_partition, v_expected_stream_position, v_message_ids, v_message_types,
        v_message_kinds, v_message_schema_versions, v_messages_data, v_messages_metadata, FALSE, NULL::JSONB);
BEGIN
    success := _result[1] = 0;
    next_stream_position := _result[2];
    global_positions := CASE WHEN success THEN _result[4:] END;
    transaction_id := pg_catalog.pg_current_xact_id();
    RETURN NEXT;
END
$$;

-- The names of emt_partition_suffix and emt_partition_create for Emmett. Emmett's migrations may replace the functions
-- below, so they have no logic.
CREATE OR REPLACE FUNCTION public.emt_sanitize_name(input_name TEXT) RETURNS TEXT
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN public.emt_partition_suffix(input_name);
END
$$;

CREATE OR REPLACE FUNCTION public.emt_add_partition(partition_name TEXT) RETURNS VOID
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM public.emt_partition_create(partition_name);
END
$$;

-- Emmett's clients add a table of a partition only as a part of emt_add_partition.
CREATE OR REPLACE FUNCTION public.emt_add_table_partition(tablename TEXT, partition_name TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM public.emt_partition_create(partition_name);
END
$$;
