-- emmett-postgresql, schema version 2: the event store.
--
-- Apply it with `psql -v ON_ERROR_STOP=1 -1 -f schema.sql`, with `emmett migrate run`, or by opening an `EventStore`;
-- applying it again changes nothing. The word "public" is the PostgreSQL schema; the library writes the configured one in its place.
-- Needs PostgreSQL 13 or newer, no extension, no superuser. Every name is qualified: nothing depends on search_path.
--
-- Reading order: tables, the fence (why the feed has no holes), append, read, feed, archive, projections,
-- consumers, rebuilds, grants. Locals begin with "_"; parameters are qualified by the function's name, and a bare
-- name is a column ("#variable_conflict use_column").
--
-- SQLSTATEs of our own: SE001 isolation, SE002 standby, SE003 sequence behind, SE004 tenant name, SE005 tenant unknown,
-- SE010 projection version, SE011 projection not registered, SE012 projection not active, SE013 projection kept otherwise,
-- SE020 message id reused, SE040 a refused stream among several (never leaves emt_append_to_streams).

\ir sql/documents.sql

\ir sql/events/partitions.sql
\ir sql/events/streams.sql
\ir sql/events/fence.sql
\ir sql/events/messages.sql
\ir sql/events/append.sql
\ir sql/events/append_refusal.sql
\ir sql/events/append_to_streams.sql
\ir sql/events/read.sql
\ir sql/events/feed.sql
\ir sql/events/archive.sql
\ir sql/events/emmett.sql
\ir sql/projections/projections.sql
\ir sql/consumers/subscriptions.sql
\ir sql/consumers/processor_slots.sql
\ir sql/consumers/parked_messages.sql
\ir sql/projections/rebuilds.sql
\ir sql/projections/rebuild_requests.sql
\ir sql/projections/shadow_tables.sql
\ir sql/projections/replaced_documents.sql
\ir sql/operations/imports.sql
\ir sql/operations/grants.sql

SELECT public.emt_create_partition('emt:default');

INSERT INTO public.emt_migrations (version, name) VALUES (2, 'schema') ON CONFLICT DO NOTHING;
