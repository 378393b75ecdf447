// The Node client etcd3, unmodified: keys, transactions, leases, watches that reconnect, locks,
// elections and software transactions.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { Etcd3, EtcdLockFailedError } from 'etcd3';

const client = new Etcd3({ hosts: `http://${process.env.ETCD_HOST}:${process.env.ETCD_PORT}` });
after(() => client.close());

/** Each test has its own prefix. */
let tests = 0;
const fresh = () => client.namespace(`/test-${(tests += 1)}/`);

/** Kills the server and waits until it listens again. */
async function restartServer() {
  // Node sees signals only while it listens for them.
  const back = once(process, 'SIGUSR2');
  process.kill(process.ppid, 'SIGUSR1');
  await back;
}

/** The next `count` events of a watcher as `name key=value`. */
function events(watcher, count) {
  const seen = [];
  return new Promise((resolve, reject) => {
    const add = (name) => (kv) => {
      seen.push(`${name} ${kv.key}=${kv.value}`);
      if (seen.length === count) resolve(seen);
    };
    watcher.on('put', add('put')).on('delete', add('delete')).on('error', reject);
  });
}

test('put and get', async () => {
  const kv = fresh();
  await kv.put('k').value('v');
  assert.equal(await kv.get('k').string(), 'v');
  assert.equal(await kv.get('none').string(), null);
  const { kvs, header, count } = await kv.get('k').exec();
  assert.equal(count, '1');
  assert.equal(kvs[0].version, '1');
  assert.equal(kvs[0].mod_revision, header.revision);
  await kv.put('n').value(42);
  assert.equal(await kv.get('n').number(), 42);
  await kv.put('j').value(JSON.stringify({ a: 1 }));
  assert.deepEqual(await kv.get('j').json(), { a: 1 });
});

test('binary values', async () => {
  const kv = fresh();
  const value = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 256));
  await kv.put('k').value(value);
  assert.ok(value.equals(await kv.get('k').buffer()));
});

test('ranges, order, limits and history', async () => {
  const kv = fresh();
  for (const name of ['b', 'c', 'a']) await kv.put(name).value(name.toUpperCase());
  assert.deepEqual(await kv.getAll().strings(), { a: 'A', b: 'B', c: 'C' });
  assert.deepEqual(await kv.getAll().sort('Key', 'Descend').limit(2).keys(), ['c', 'b']);
  assert.equal(await kv.getAll().count(), 3);
  assert.deepEqual(await kv.getAll().inRange({ start: 'a', end: 'c' }).keys(), ['a', 'b']);
  const before = (await kv.get('a').exec()).header.revision;
  await kv.put('a').value('later');
  assert.equal(await kv.get('a').revision(before).string(), 'A');
});

test('delete', async () => {
  const kv = fresh();
  await kv.put('k').value('v');
  const previous = await kv.delete().key('k').getPrevious();
  assert.equal(previous[0].value.toString(), 'v');
  for (const name of ['a', 'b']) await kv.put(name).value('');
  assert.equal((await kv.delete().all()).deleted, '2');
});

test('errors have a kind', async () => {
  await assert.rejects(() => client.get('k').revision(1_000_000).exec(), /future revision/);
  await assert.rejects(() => client.put('k').lease('4711').value('v').exec(), /requested lease not found/);
});

test('transactions', async () => {
  const kv = fresh();
  await kv.put('k').value('v');
  const run = (expected) =>
    kv.if('k', 'Value', '==', expected).and('k', 'Version', '>', 0)
      .then(kv.put('won').value('yes'), kv.get('k'))
      .else(kv.put('won').value('no')).commit();
  const won = await run('v');
  assert.equal(won.succeeded, true);
  assert.equal(won.responses[1].response_range.kvs[0].value.toString(), 'v');
  assert.equal((await run('x')).succeeded, false);
  assert.equal(await kv.get('won').string(), 'no');
});

test('software transactions lose no update', async () => {
  const kv = fresh();
  await kv.put('counter').value(0);
  const add = () => kv.stm({ retries: 100 }).transact(async (tx) => {
    await tx.put('counter').value((await tx.get('counter').number()) + 1);
  });
  await Promise.all(Array.from({ length: 10 }, add));
  assert.equal(await kv.get('counter').number(), 10);
});

test('many calls at once', async () => {
  const kv = fresh();
  await Promise.all(Array.from({ length: 500 }, (_, i) => kv.put(`${i}`).value('v')));
  assert.equal(await kv.getAll().count(), 500);
});

test('leases', async () => {
  const kv = fresh();
  const lease = kv.lease(100, { autoKeepAlive: false });
  await lease.put('k').value('v');
  const id = await lease.grant();
  const left = await client.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  assert.equal(left.grantedTTL, '100');
  assert.equal(left.keys.length, 1);
  assert.equal((await lease.keepaliveOnce()).TTL, '100');
  assert.ok((await client.leaseClient.leaseLeases()).leases.some((l) => l.ID === id));
  await lease.revoke();
  assert.equal(await kv.get('k').string(), null);
});

test('a lease is kept alive', async () => {
  const lease = fresh().lease(3);
  await lease.grant();
  const [answer] = await once(lease, 'keepaliveSucceeded');
  assert.equal(answer.TTL, '3');
  await lease.revoke();
});

test('a lease expires', async () => {
  const kv = fresh();
  const watcher = await kv.watch().key('k').create();
  const seen = events(watcher, 2);
  const lease = kv.lease(2, { autoKeepAlive: false });
  await lease.put('k').value('v');
  assert.equal((await seen)[1].split(' ')[0], 'delete');
  lease.release();
  await watcher.cancel();
});

test('a watch sees changes in order', async () => {
  const kv = fresh();
  const watcher = await kv.watch().prefix('').withPreviousKV().create();
  const seen = events(watcher, 3);
  await kv.put('a').value('1');
  await kv.put('a').value('2');
  await kv.delete().key('a');
  assert.deepEqual((await seen).map((line) => line.replace(/ .*\//, ' ')), ['put a=1', 'put a=2', 'delete a=']);
  await watcher.cancel();
});

test('a watch starts in the past', async () => {
  const kv = fresh();
  await kv.put('k').value('1');
  const { kvs } = await kv.get('k').exec();
  await kv.put('k').value('2');
  const watcher = kv.watch().key('k').startRevision(kvs[0].mod_revision).watcher();
  assert.equal((await events(watcher, 2)).length, 2);
  await watcher.cancel();
});

test('a watch goes on when the server was killed', async () => {
  const kv = fresh();
  const watcher = await kv.watch().key('k').create();
  const seen = events(watcher, 2);
  await kv.put('k').value('before');
  await restartServer();
  for (;;) {
    try {
      await kv.put('k').value('after');
      break;
    } catch (error) {
      // Until the client has noticed that its connection is gone.
      assert.match(String(error), /UNAVAILABLE|Unavailable|ECONN|connection|closed|dropped/i);
    }
  }
  assert.deepEqual((await seen).map((line) => line.split('=')[1]), ['before', 'after']);
  await watcher.cancel();
});

test('locks exclude', async () => {
  const kv = fresh();
  const held = await kv.lock('lock').ttl(30).acquire();
  await assert.rejects(() => kv.lock('lock').ttl(30).acquire(), EtcdLockFailedError);
  await held.release();
  assert.equal(await kv.lock('lock').ttl(30).do(async () => 'done'), 'done');
});

test('elections', async () => {
  const election = fresh().election('vote', 10);
  const one = election.campaign('one');
  await once(one, 'elected');
  assert.equal(await election.leader(), 'one');
  const two = election.campaign('two');
  await two.getCampaignKey();
  const observer = await election.observe();
  assert.equal(observer.leader(), 'one');
  const elected = once(two, 'elected');
  await one.resign();
  await elected;
  if (observer.leader() !== 'two') await once(observer, 'change');
  assert.equal(await election.leader(), 'two');
  await observer.cancel();
  await two.resign();
});

test('status, members and maintenance', async () => {
  const status = await client.maintenance.status();
  assert.match(status.version, /^3\.\d+\.\d+$/);
  const { members } = await client.cluster.memberList({});
  assert.equal(members.length, 1);
  assert.equal(members[0].ID, status.leader);
  assert.deepEqual((await client.maintenance.alarm({ action: 'Get' })).alarms, []);
  await client.maintenance.defragment();
});
