// Keeps the projection "carts", a table with a row for each event that was handled, which a Rust program keeps, too.
//   node carts.mjs URL once         handles what there is
//   node carts.mjs URL wait         says "started", and runs until its input ends
//   node carts.mjs URL append NAME  appends an event to a stream
import { sql, rawSql } from '@event-driven-io/dumbo';
import {
  getPostgreSQLEventStore, postgreSQLEventStoreConsumer, postgreSQLRawSQLProjection,
} from '@event-driven-io/emmett-postgresql';

const [, , url, what, stream] = process.argv;

if (what === 'append') {
  const store = getPostgreSQLEventStore(url, { schema: { autoMigration: 'None' } });
  const data = { productId: 'hat', quantity: 1, price: 10 };
  await store.appendToStream(stream, [{ type: 'ProductItemAdded', data }]);
  await store.close();
} else {
  const consumer = postgreSQLEventStoreConsumer({
    connectionString: url, ...(what === 'once' ? { stopWhen: { noMessagesLeft: true } } : {}),
  });
  consumer.projector({
    projection: postgreSQLRawSQLProjection({
      name: 'carts', version: 1, canHandle: ['ProductItemAdded'],
      init: () => rawSql(`CREATE TABLE IF NOT EXISTS carts (
        number BIGINT GENERATED ALWAYS AS IDENTITY, position BIGINT, stream TEXT)`),
      evolve: ({ metadata }) =>
        sql('INSERT INTO carts (position, stream) VALUES (%s, %L)', metadata.globalPosition, metadata.streamName),
    }),
  });
  const ended = consumer.start();
  if (what === 'wait') {
    const asked = new Promise((resolve) => process.stdin.on('end', resolve).resume());
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 500))]);
    console.log('started');
    await asked;
    await consumer.stop();
  }
  await ended;
  await consumer.close();
}
