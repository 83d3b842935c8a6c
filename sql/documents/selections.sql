-- The fields of a document that a query reads: those that are named, or all others. fields: names as a tree, whose leaves are
-- TRUE. In an array, the tree goes on in each element; elements that have no fields have none that could be read.
CREATE OR REPLACE FUNCTION public.emt_select_fields(document JSONB, fields JSONB, inclusive BOOLEAN) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
#variable_conflict use_column
BEGIN
    CASE jsonb_typeof(emt_select_fields.document)
    WHEN 'object' THEN
        RETURN (
            SELECT coalesce(jsonb_object_agg(field.key, selected.value), '{}')
              FROM jsonb_each(emt_select_fields.document) AS field
             CROSS JOIN LATERAL (SELECT emt_select_fields.fields -> field.key AS value) AS inner_fields
             CROSS JOIN LATERAL (
                   SELECT CASE
                              WHEN inner_fields.value = 'true' AND emt_select_fields.inclusive THEN field.value
                              WHEN inner_fields.value = 'true' THEN NULL
                              WHEN inner_fields.value IS NULL AND emt_select_fields.inclusive THEN NULL
                              WHEN inner_fields.value IS NULL THEN field.value
                              ELSE public.emt_select_fields(field.value, inner_fields.value, emt_select_fields.inclusive)
                          END AS value) AS selected
             WHERE selected.value IS NOT NULL);
    WHEN 'array' THEN
        RETURN (
            SELECT coalesce(jsonb_agg(selected.value ORDER BY element.number), '[]')
              FROM jsonb_array_elements(emt_select_fields.document) WITH ORDINALITY AS element (value, number)
             CROSS JOIN LATERAL (
                   SELECT public.emt_select_fields(element.value, emt_select_fields.fields, emt_select_fields.inclusive)
                          AS value) AS selected
             WHERE selected.value IS NOT NULL);
    ELSE
        RETURN CASE WHEN NOT emt_select_fields.inclusive THEN emt_select_fields.document END;
    END CASE;
END
$$;
