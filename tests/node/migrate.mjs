// Creates Emmett's schema, or does what else its migrations do: `node migrate.mjs URL`.
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';

const store = getPostgreSQLEventStore(process.argv[2]);
await store.schema.migrate();
await store.close();
