-- emmett-postgresql, schema version 2: the map of the database.
--
-- Apply it with `psql -v ON_ERROR_STOP=1 -1 -f schema.sql`, with `emmett migrate run`, or by opening an `EventStore`. Without
-- that setting, psql rolls back after an error and exits with 0. A repeat changes nothing.
-- Needs PostgreSQL 13 or newer, no extension, no superuser. The word "public" is the PostgreSQL schema. The library replaces
-- it with the configured one, and `emmett migrate sql --schema NAME` prints the result.
--
-- Tables
--   emt_migrations        the versions of the schema that were applied
--   emt_collections       the tables of documents; each is a table of its own
--   emt_partitions        the partitions (tenants)
--   emt_streams           the streams and their versions
--   emt_messages          the messages: events and commands
--   emt_message_ids       the messages whose ids their callers gave
--   emt_command_keys      the commands that were carried out under a key, with their replies
--   emt_snapshots         states of streams, folded up to a version: a cache
--   emt_store_epochs      the times since which positions may have been drawn again (docs/design/epochs.md)
--   emt_projections       the projections, their versions, and which one is active
--   emt_missed            the events that an inline projection has not handled yet
--   emt_processor_beginnings  where each processor began
--   emt_processor_slots   the position of each slot of a processor, and its holder (docs/design/slots.md)
--   emt_parked_messages   the messages that a processor could not handle
--   emt_timers            the timers of workflows (docs/design/workflows.md)
--   emt_rebuilds          the running rebuilds
--   emt_rebuild_requests  the rebuilds that a program without the code has requested
--   emt_imports           the imported event logs, and their progress
-- The sequence emt_global_message_position gives the messages their global positions. Each partition has another sequence as a
-- flag, emt_inline_in_<suffix>: whether an inline projection was ever registered. emt_streams, emt_messages and emt_projections
-- are Emmett's tables. emt_processors, the fourth, is a view of emt_processor_slots for Emmett's clients.
--
-- Naming rules
--   Every name is qualified: nothing depends on search_path. Each function sets its own path, unless that would cost too much.
--   Such a function calls others by their schema, and its values have exactly the types of PostgreSQL's operators.
--   Calls of this schema's functions pass all arguments, with exactly their types: other roles may add functions of the name.
--   A function's name begins with the thing on which it works: emt_stream_move, emt_json_put_at. Functions for Emmett's
--   clients have Emmett's names and parameters. They stand in the files sql/*/emmett*.sql.
--   _name is a parameter or a local, a bare name is a column. Columns of a returned table have the names that callers read.
--   PostgreSQL checks functions in SQL and defaults of columns when they are created. The objects that they use come first.
--   Functions in PL/pgSQL are checked when they run, so they stand where they read best.
--
-- Lock order. A transaction takes its locks from the first to the last. A tenant's removal takes the lock on its documents
-- before all others. A write of documents only tries that lock, so it has no place in the order.
--   1. a row of emt_command_keys               waits for a transaction that carries out the same command
--   2. rows of emt_timers                      in the order of the instances and names; a fired timer skips locked ones
--   3. the inline projections of a partition   advisory: shared by appends that run some and by followers, exclusive for the
--                                              switch of a rebuild and a follower's last batch
--   4. the fence                               advisory, shared: it never waits
--   5. rows of emt_streams                     in the order of their names, shared if only a version is required, then new
--                                              rows of emt_message_ids
--      then the row of emt_partitions          shared, above READ COMMITTED only
--   6. documents                               in the order of their ids
--   7. rows of emt_processor_slots             by the last statement of a batch
-- The switch of an asynchronous projection locks slots before documents. An earlier transaction of it has taken the slots, so
-- no batch that holds documents can commit.
--
-- SQLSTATEs of our own
--   SE001  the feed cannot be read at this isolation level
--   SE002  the feed cannot be read from a standby
--   SE003  the sequence stands before a position that was read
--   SE004  no tenant can have this name
--   SE005  there is no such tenant
--   SE010  another version of the asynchronous projection is the active one
--   SE011  the projection is not registered
--   SE013  the projection, or the processor, belongs to another program, or is kept in another way
--   SE014  the read model of the projection is not known to be right
--   SE020  a message id was used for another message
--   SE030  no collection can have this name or this layout
--   SE031  the document does not fit the update
--   SE032  the collection is the read model of a projection
--   SE033  there is no such collection
--   SE034  the event store has the tenant
--   SE035  there is another index of this name, or it keeps the ids unique
--   SE040  a refused stream among several; never leaves emt_append_to_streams

\ir sql/documents.sql
\ir sql/operations/error_texts.sql

-- Events
\ir sql/events/partitions.sql
\ir sql/events/streams.sql
\ir sql/events/fence.sql
\ir sql/events/messages.sql
\ir sql/events/message_ids.sql
\ir sql/events/store_epochs.sql
\ir sql/events/append.sql
\ir sql/events/append_refusal.sql
\ir sql/events/append_to_streams.sql
\ir sql/events/command_keys.sql
\ir sql/events/snapshots.sql
\ir sql/events/read.sql
\ir sql/events/feed.sql
\ir sql/events/archive.sql
\ir sql/events/emmett.sql

-- Projections
\ir sql/projections/projections.sql
\ir sql/projections/missed.sql
\ir sql/projections/emmett_projections.sql

-- Consumers
\ir sql/consumers/processor_beginnings.sql
\ir sql/consumers/processor_slots.sql
\ir sql/consumers/parked_messages.sql
\ir sql/consumers/emmett_processors.sql

-- Workflows
\ir sql/workflows/timers.sql

-- Rebuilds
\ir sql/projections/rebuilds.sql
\ir sql/projections/rebuild_requests.sql
\ir sql/projections/shadow_tables.sql
\ir sql/projections/replaced_documents.sql

-- Operations
\ir sql/operations/imports.sql
\ir sql/operations/store_check.sql
\ir sql/operations/grants.sql

-- Last, because it needs all of the above: the partition of a store without tenants.
SELECT public.emt_partition_create('emt:default');

INSERT INTO public.emt_migrations (version, name) VALUES (2, 'schema') ON CONFLICT DO NOTHING;
