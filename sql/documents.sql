-- emmett-postgresql, schema version 1: the map of the objects for collections of documents.
--
-- All objects of a `PongoClient`, and the first part of schema.sql, which has the naming rules and SQLSTATEs. Apply it alone
-- with `psql -v ON_ERROR_STOP=1 -1 -f sql/documents.sql`, or by opening a `PongoClient`. A repeat changes nothing.

\ir operations/migrations.sql
\ir operations/copied_grants.sql

\ir documents/collections.sql
\ir documents/adopted_collections.sql
\ir documents/json.sql
\ir documents/arrays.sql
\ir documents/updates.sql
\ir documents/selections.sql
\ir documents/indexes.sql

INSERT INTO public.emt_migrations (version, name) VALUES (1, 'documents') ON CONFLICT DO NOTHING;
