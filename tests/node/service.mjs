// What a service with Emmett for Node does, on one database: `node service.mjs URL`. Prints each case; fails at the first that
// does not hold. Projections, processors and streams have names of their own, so it may run again.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { dumbo, sql, rawSql, single } from '@event-driven-io/dumbo';
import { CommandHandler } from '@event-driven-io/emmett';
import { pongoClient } from '@event-driven-io/pongo';
import {
  activateProjection, callReleaseProcessorLock, callTryAcquireProcessorLock, deactivateProjection,
  getPostgreSQLEventStore, pongoSingleStreamProjection, postgreSQLEventStoreConsumer, postgreSQLProcessorLock,
  postgreSQLRawSQLProjection, readProcessorCheckpoint, readProjectionInfo, rebuildPostgreSQLProjections,
  registerProjection, storeProcessorCheckpoint,
} from '@event-driven-io/emmett-postgresql';

const url = process.argv[2];
const pool = dumbo({ connectionString: url });
const run = randomUUID().slice(0, 8);
const added = (n) => ({ type: 'NodeItemAdded', data: { quantity: n } });
const store = (projections = []) =>
  getPostgreSQLEventStore(url, { projections, schema: { autoMigration: 'None' } });
const rows = async (text, ...values) => (await pool.execute.query(sql(text, ...values))).rows;
const status = async (name) =>
  (await rows('SELECT status FROM emt_projections WHERE name = %L', name))[0]?.status;

const processor = (id, instance, more = {}) => {
  const options = {
    processorId: id, version: 1, partition: 'emt:default', processorInstanceId: instance,
    lockAcquisitionPolicy: { type: 'skip' }, ...more,
  };
  const lock = postgreSQLProcessorLock(options);
  return {
    take: () => pool.withConnection(({ execute }) => lock.tryAcquire({ execute })),
    giveBack: () => pool.withConnection(({ execute }) => lock.release({ execute })),
  };
};

// A table that counts, so that an event that is handled twice shows.
const counting = (name) =>
  postgreSQLRawSQLProjection({
    name, version: 1, canHandle: ['NodeItemAdded'],
    init: () => rawSql(`CREATE TABLE IF NOT EXISTS "${name}" (stream TEXT PRIMARY KEY, n INT NOT NULL)`),
    evolve: ({ data, metadata }) =>
      sql(`INSERT INTO "${name}" AS t VALUES (%L, %s) ON CONFLICT (stream) DO UPDATE SET n = t.n + EXCLUDED.n`,
        metadata.streamName, data.quantity),
  });
const counted = async (name, stream) => (await rows(`SELECT n FROM "${name}" WHERE stream = %L`, stream))[0]?.n;

// Emmett shows no message while an older transaction of the server is open, so a run may end before it has seen the last one.
const runUntil = async (done, configure) => {
  for (let run = 0; run < 30; run += 1) {
    await runOnce(configure);
    if (await done()) return;
  }
};
const runOnce = async (configure) => {
  const consumer = postgreSQLEventStoreConsumer({ connectionString: url, stopWhen: { noMessagesLeft: true } });
  configure(consumer);
  try {
    await consumer.start();
  } finally {
    await consumer.close();
  }
};

const cases = {
  'appends, reads and folds a stream': async () => {
    const stream = `Node-${run}-a`;
    const events = store();
    const first = await events.appendToStream(stream, [added(1), added(2)], { expectedStreamVersion: 0n });
    assert.equal(first.nextExpectedStreamVersion, 2n);
    await assert.rejects(events.appendToStream(stream, [added(3)], { expectedStreamVersion: 1n }));
    const handle = CommandHandler({
      evolve: (total, { data }) => total + data.quantity, initialState: () => 0,
    });
    const { newState } = await handle(events, stream, (total) => added(total));
    assert.equal(newState, 6);
    const read = await events.readStream(stream);
    assert.deepEqual(read.events.map(({ data }) => data.quantity), [1, 2, 3]);
    assert.equal(await events.streamExists(stream), true);
    await events.close();
  },

  'keeps an inline projection in its appends': async () => {
    const name = `node_inline_${run}`;
    const projection = pongoSingleStreamProjection({
      name, collectionName: name, canHandle: ['NodeItemAdded'],
      evolve: (document, { data }) => ({ n: (document?.n ?? 0) + data.quantity }),
    });
    await pool.execute.command(rawSql(
      `CREATE TABLE "${name}" (_id TEXT PRIMARY KEY, data JSONB NOT NULL, metadata JSONB NOT NULL DEFAULT '{}',
       _version BIGINT NOT NULL DEFAULT 1, _partition TEXT NOT NULL DEFAULT 'png_global', _archived BOOLEAN NOT NULL DEFAULT FALSE,
       _created TIMESTAMPTZ NOT NULL DEFAULT now(), _updated TIMESTAMPTZ NOT NULL DEFAULT now())`));
    const events = store([{ type: 'inline', projection }]);
    await events.appendToStream(`Node-${run}-b`, [added(1)]);
    await events.appendToStream(`Node-${run}-b`, [added(4)]);
    const pongo = pongoClient(url);
    const document = await pongo.db().collection(name).findOne({ _id: `Node-${run}-b` });
    assert.equal(document.n, 5);
    await pongo.close();
    await events.close();
  },

  'a projector goes on where it was': async () => {
    const name = `node_async_${run}`;
    const stream = `Node-${run}-c`;
    const events = store();
    const projector = (consumer) => consumer.projector({ projection: counting(name) });
    await events.appendToStream(stream, [added(1), added(2)]);
    await runUntil(async () => (await counted(name, stream)) === 3, projector);
    assert.equal(await counted(name, stream), 3);
    await events.appendToStream(stream, [added(4)]);
    await runUntil(async () => (await counted(name, stream)) === 7, projector);
    await runOnce(projector);
    assert.equal(await counted(name, stream), 7);
    assert.equal(await status(name), 'active');
    await events.close();
  },

  'a reactor handles each message once': async () => {
    const stream = `Node-${run}-d`;
    const events = store();
    await events.appendToStream(stream, [added(1), added(2)]);
    const seen = [];
    const reactor = (consumer) =>
      consumer.reactor({
        processorId: `node-reactor-${run}`,
        eachMessage: ({ data, metadata }) => { if (metadata.streamName === stream) seen.push(data.quantity); },
      });
    await runUntil(() => seen.length === 2, reactor);
    await events.appendToStream(stream, [added(3)]);
    await runUntil(() => seen.length === 3, reactor);
    await runOnce(reactor);
    assert.deepEqual(seen, [1, 2, 3]);
    await events.close();
  },

  'a rebuild empties and fills a read model': async () => {
    const name = `node_rebuilt_${run}`;
    const stream = `Node-${run}-e`;
    const events = store();
    await events.appendToStream(stream, [added(5)]);
    for (let run = 0; run < 30 && (await counted(name, stream).catch(() => 0)) !== 5; run += 1) {
      await rebuildPostgreSQLProjections({ connectionString: url, projection: counting(name) }).start();
    }
    assert.equal(await counted(name, stream), 5);
    await events.close();
  },

  'one instance at a time runs a processor': async () => {
    const first = processor(`node-lock-${run}`, 'first');
    const second = processor(`node-lock-${run}`, 'second');
    assert.equal(await first.take(), true);
    assert.equal(await second.take(), false);
    await first.giveBack();
    assert.equal(await second.take(), true);
    await second.giveBack();
  },

  'a lease ends at its time after the last call': async () => {
    const first = processor(`node-lease-${run}`, 'first', { lockTimeoutSeconds: 0 });
    const second = processor(`node-lease-${run}`, 'second');
    assert.equal(await first.take(), true);
    assert.equal(await second.take(), true);
    await second.giveBack();
  },

  'a checkpoint is compared and set': async () => {
    const processorId = `node-checkpoint-${run}`;
    const set = (newCheckpoint, lastProcessedCheckpoint) =>
      storeProcessorCheckpoint(pool.execute, { processorId, version: 1, newCheckpoint, lastProcessedCheckpoint });
    assert.equal((await set(1n, null)).success, true);
    assert.equal((await set(2n, 1n)).success, true);
    assert.equal((await set(2n, 1n)).reason, 'IGNORED');
    assert.equal((await set(1n, null)).reason, 'CURRENT_AHEAD');
    assert.equal((await set(9n, 7n)).reason, 'MISMATCH');
    const { lastProcessedCheckpoint } = await readProcessorCheckpoint(pool.execute, { processorId });
    assert.equal(lastProcessedCheckpoint, 2n);
  },

  'what was deactivated stays so when its projector stops': async () => {
    const name = `node_switched_${run}`;
    const key = { name, partition: 'emt:default', version: 1 };
    const registration = { type: 'async', projection: { name, version: 1, canHandle: [], handle: () => {} } };
    const registered = await registerProjection(pool.execute, { partition: 'emt:default', status: 'active', registration });
    assert.equal(registered.registered, true);
    const projector = processor(`node-switched-${run}`, 'only', {
      projection: { name, kind: 'async', version: 1, handlingType: 'async' },
    });
    assert.equal(await projector.take(), true);
    assert.equal(await status(name), 'async_processing');
    await projector.giveBack();
    assert.equal(await status(name), 'active');
    assert.equal((await deactivateProjection(pool.execute, key)).deactivated, true);
    assert.equal(await projector.take(), true);
    await projector.giveBack();
    assert.equal((await readProjectionInfo(pool.execute, key)).status, 'inactive');
    assert.equal((await activateProjection(pool.execute, key)).activated, true);
    assert.equal(await status(name), 'active');
  },

  'two open transactions register two projections': async () => {
    const register = (execute, name) =>
      registerProjection(execute, {
        partition: 'emt:default', status: 'active',
        registration: { type: 'inline', projection: { name, version: 1, canHandle: [], handle: () => {} } },
      });
    await pool.withTransaction(async (one) => {
      await register(one.execute, `node_one_${run}`);
      await pool.withTransaction(async (two) => {
        await two.execute.command(rawSql("SET LOCAL lock_timeout = '20s'"));
        await register(two.execute, `node_two_${run}`);
      });
    });
  },

  'a tenant has processors, too': async () => {
    await pool.execute.query(sql('SELECT emt_add_partition(%L)', 'node_tenant'));
    const call = { lockKey: '7', processorId: `node-tenant-${run}`, version: 1, partition: 'node_tenant', processorInstanceId: 'only' };
    const taken = await single(pool.execute.query(callTryAcquireProcessorLock({
      ...call, projectionName: null, projectionType: null, projectionKind: null, lockTimeoutSeconds: 300,
    })));
    assert.equal(taken.acquired, true);
    const { result } = await single(pool.execute.query(callReleaseProcessorLock({ ...call, projectionName: null })));
    assert.equal(result, true);
  },
};

const only = process.argv[3];
for (const [name, holds] of Object.entries(cases)) {
  if (only && !name.includes(only)) continue;
  try {
    await holds();
    console.log(`ok: ${name}`);
  } catch (error) {
    console.error(`FAILED: ${name}\n${error.stack ?? error}`);
    process.exitCode = 1;
  }
}
await pool.close();
