-- Grants of later tables: tenants, collections, shadow tables.

-- Gives a table or a sequence the grants of another one.
CREATE OR REPLACE FUNCTION public.emt_table_copy_grants(_source TEXT, _target TEXT) RETURNS VOID
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    _role TEXT;
    _privileges TEXT;
    _kind TEXT := CASE (SELECT relkind FROM pg_class WHERE oid = to_regclass(format('public.%I', _target)))
                      WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END;
BEGIN
    FOR _role, _privileges IN
        SELECT CASE WHEN grants.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grants.grantee)) END,
               string_agg(grants.privilege_type, ', ')
          FROM pg_class AS relation, aclexplode(relation.relacl) AS grants
         WHERE relation.oid = to_regclass(format('public.%I', _source)) AND grants.grantee <> relation.relowner
         GROUP BY grants.grantee
    LOOP
        EXECUTE format('GRANT %s ON %s public.%I TO %s', _privileges, _kind, _target, _role);
    END LOOP;
END
$$;
