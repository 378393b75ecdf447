"""aetcd: the asyncio client. Many calls at once on one connection."""

import asyncio
import unittest

import aetcd

import harness


class Case(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = aetcd.Client(host=harness.HOST, port=harness.PORT, timeout=harness.PATIENCE_S)
        await self.client.connect()
        self.addAsyncCleanup(self.client.close)
        self.prefix = f"/{self.id()}/".encode()

    def key(self, name):
        return self.prefix + name


async def events(watch, count):
    seen = []
    async for event in watch:
        seen.append(event)
        if len(seen) == count:
            return seen


class KV(Case):
    async def test_put_and_get(self):
        put = await self.client.put(self.key(b"k"), b"v")
        got = await self.client.get(self.key(b"k"))
        self.assertEqual((got.value, got.version, got.mod_revision), (b"v", 1, put.header.revision))
        self.assertIsNone(await self.client.get(self.key(b"none")))

    async def test_ranges(self):
        for name in (b"b", b"c", b"a"):
            await self.client.put(self.key(name), name)
        listed = await self.client.get_prefix(self.prefix, sort_order="descend", sort_target="key")
        self.assertEqual([kv.value for kv in listed], [b"c", b"b", b"a"])
        part = await self.client.get_range(self.key(b"a"), self.key(b"c"))
        self.assertEqual((part.count, len(part), part.more), (2, 2, False))
        deleted = await self.client.delete_prefix(self.prefix)
        self.assertEqual(deleted.deleted, 3)

    async def test_replace(self):
        await self.client.put(self.key(b"k"), b"1")
        self.assertTrue(await self.client.replace(self.key(b"k"), b"1", b"2"))
        self.assertFalse(await self.client.replace(self.key(b"k"), b"1", b"3"))

    async def test_many_at_once(self):
        puts = await asyncio.gather(*(self.client.put(self.key(b"%d" % i), b"v") for i in range(500)))
        self.assertEqual(len({put.header.revision for put in puts}), 500)
        self.assertEqual((await self.client.get_prefix(self.prefix)).count, 500)


class Txn(Case):
    async def test_both_branches(self):
        txn = self.client.transactions
        await self.client.put(self.key(b"k"), b"v")
        succeeded, responses = await self.client.transaction(
            compare=[txn.value(self.key(b"k")) == b"v", txn.version(self.key(b"k")) == 1],
            success=[txn.put(self.key(b"k"), b"w"), txn.get(self.key(b"k"))],
            failure=[],
        )
        self.assertTrue(succeeded)
        self.assertEqual(responses[1][0][0], b"w")
        succeeded, _ = await self.client.transaction(
            compare=[txn.value(self.key(b"k")) == b"v"],
            success=[],
            failure=[txn.delete(self.key(b"k"))],
        )
        self.assertFalse(succeeded)
        self.assertIsNone(await self.client.get(self.key(b"k")))


class Lease(Case):
    async def test_life(self):
        lease = await self.client.lease(100)
        await self.client.put(self.key(b"k"), b"v", lease=lease)
        self.assertGreater(await lease.remaining_ttl(), 80)
        self.assertEqual((await self.client.refresh_lease(lease.id)).TTL, 100)
        await lease.revoke()
        self.assertIsNone(await self.client.get(self.key(b"k")))

    async def test_expiry(self):
        watch = await self.client.watch(self.key(b"k"), kind=aetcd.EventKind.DELETE)
        await self.client.put(self.key(b"k"), b"v", lease=await self.client.lease(2))
        seen = await asyncio.wait_for(events(watch, 1), harness.PATIENCE_S)
        self.assertEqual(seen[0].kind, "DELETE")


class Watch(Case):
    async def test_changes_in_order(self):
        watch = await self.client.watch_prefix(self.prefix, prev_kv=True)
        await self.client.put(self.key(b"a"), b"1")
        await self.client.put(self.key(b"a"), b"2")
        await self.client.delete(self.key(b"a"))
        seen = await asyncio.wait_for(events(watch, 3), harness.PATIENCE_S)
        self.assertEqual([event.kind for event in seen], ["PUT", "PUT", "DELETE"])
        self.assertEqual([event.prev_kv.value for event in seen[1:]], [b"1", b"2"])
        await watch.cancel()

    async def test_many_watches(self):
        watches = [await self.client.watch(self.key(b"%d" % i)) for i in range(50)]
        await asyncio.gather(*(self.client.put(self.key(b"%d" % i), b"%d" % i) for i in range(50)))
        for i, watch in enumerate(watches):
            seen = await asyncio.wait_for(events(watch, 1), harness.PATIENCE_S)
            self.assertEqual(seen[0].kv.value, b"%d" % i)


class Lock(Case):
    async def test_excludes_and_passes_on(self):
        inside, entered = 0, 0

        async def worker():
            nonlocal inside, entered
            async with self.client.lock(self.key(b"lock"), ttl=30):
                inside += 1
                self.assertEqual(inside, 1)
                await self.client.put(self.key(b"work"), b"v")
                inside -= 1
                entered += 1

        await asyncio.wait_for(asyncio.gather(*(worker() for _ in range(5))), harness.PATIENCE_S)
        self.assertEqual(entered, 5)


class Server(Case):
    async def test_status_and_members(self):
        status = await self.client.status()
        self.assertRegex(status.version, r"^3\.\d+\.\d+$")
        self.assertEqual([member.id async for member in self.client.members()], [status.leader.id])

    async def test_connection_goes_on_after_a_kill(self):
        await self.client.put(self.key(b"k"), b"v")
        await asyncio.to_thread(harness.restart_server)
        # The channel notices the broken connection on its next call at the latest.
        while True:
            try:
                self.assertEqual((await self.client.get(self.key(b"k"))).value, b"v")
                return
            except aetcd.ConnectionFailedError:
                await self.client.channel.channel_ready()


if __name__ == "__main__":
    harness.main()
