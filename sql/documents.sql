-- emmett-postgresql, schema version 1: collections of documents.
--
-- All that `PongoClient` needs, and a part of the event store's schema.sql, which has the conventions that hold here, too.
-- Apply it alone with `psql -v ON_ERROR_STOP=1 -1 -f sql/documents.sql`; applying it again changes nothing.
--
-- SQLSTATEs of our own: SE030 collection name or layout, SE031 update that does not fit the document, SE032 read model of a
-- projection, SE033 collection unknown, SE034 tenant of the event store, SE035 index.

\ir operations/migrations.sql
\ir documents/collections.sql
\ir documents/adopted_collections.sql
\ir documents/json.sql
\ir documents/arrays.sql
\ir documents/updates.sql
\ir documents/selections.sql
\ir documents/indexes.sql
\ir operations/copied_grants.sql

INSERT INTO public.emt_migrations (version, name) VALUES (1, 'documents') ON CONFLICT DO NOTHING;
