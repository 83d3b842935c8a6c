-- Returns the text of an error, given in UTF-8, in the encoding of the database. If that lacks one of its characters, all
-- non-ASCII ones become bytes, as in \303\274. An error has to be stored, whatever its text is.
CREATE OR REPLACE FUNCTION public.emt_error_text(_utf8 BYTEA) RETURNS TEXT
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN convert_from(_utf8, 'UTF8');
EXCEPTION WHEN OTHERS THEN
    RETURN encode(_utf8, 'escape');
END
$$;
