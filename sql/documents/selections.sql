-- The fields that a query selects.

-- Returns the document with the named fields (_inclusive), or with all others. _fields: names as a tree, whose leaves are
-- TRUE. In an array, the tree continues in each element. Elements without fields have none that could be read.
CREATE OR REPLACE FUNCTION public.emt_document_select(_document JSONB, _fields JSONB, _inclusive BOOLEAN) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    CASE pg_catalog.jsonb_typeof(_document)
    WHEN 'object' THEN
        RETURN (
            SELECT coalesce(pg_catalog.jsonb_object_agg(field.key, selected.value), '{}')
              FROM pg_catalog.jsonb_each(_document) AS field
             CROSS JOIN LATERAL (SELECT _fields -> field.key AS value) AS inner_fields
             CROSS JOIN LATERAL (
                   SELECT CASE
                              WHEN inner_fields.value = 'true' AND _inclusive THEN field.value
                              WHEN inner_fields.value = 'true' THEN NULL
                              WHEN inner_fields.value IS NULL AND _inclusive THEN NULL
                              WHEN inner_fields.value IS NULL THEN field.value
                              ELSE public.emt_document_select(field.value, inner_fields.value, _inclusive)
                          END AS value) AS selected
             WHERE selected.value IS NOT NULL);
    WHEN 'array' THEN
        RETURN (
            SELECT coalesce(pg_catalog.jsonb_agg(selected.value ORDER BY element.number), '[]')
              FROM pg_catalog.jsonb_array_elements(_document) WITH ORDINALITY AS element (value, number)
             CROSS JOIN LATERAL (
                   SELECT public.emt_document_select(element.value, _fields, _inclusive) AS value) AS selected
             WHERE selected.value IS NOT NULL);
    ELSE
        RETURN CASE WHEN NOT _inclusive THEN _document END;
    END CASE;
END
$$;
