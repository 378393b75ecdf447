"""etcd-sdk-python, the maintained python-etcd3: blocking calls, watch threads, locks."""

import queue
import threading
import unittest

import pyetcd

import harness


class Case(unittest.TestCase):
    def setUp(self):
        self.client = pyetcd.client(host=harness.HOST, port=harness.PORT, timeout=harness.PATIENCE_S)
        self.addCleanup(self.client.close)
        self.prefix = "/" + self.id() + "/"

    def key(self, name):
        return self.prefix + name


class KV(Case):
    def test_put_and_get(self):
        self.client.put(self.key("k"), "v")
        value, meta = self.client.get(self.key("k"))
        self.assertEqual(value, b"v")
        self.assertEqual(meta.key, self.key("k").encode())
        self.assertEqual(meta.version, 1)
        self.assertEqual(meta.create_revision, meta.mod_revision)
        self.assertEqual(meta.response_header.revision, meta.mod_revision)

    def test_missing_key(self):
        self.assertEqual(self.client.get(self.key("none")), (None, None))

    def test_binary_values(self):
        value = bytes(range(256)) * 100
        self.client.put(self.key("k"), value)
        self.assertEqual(self.client.get(self.key("k"))[0], value)

    def test_previous_pair(self):
        self.client.put(self.key("k"), "1")
        self.assertEqual(self.client.put(self.key("k"), "2", prev_kv=True).prev_kv.value, b"1")
        self.assertEqual(self.client.delete(self.key("k"), prev_kv=True, return_response=True).prev_kvs[0].value, b"2")

    def test_ranges_and_order(self):
        for name in "bca":
            self.client.put(self.key(name), name)
        values = [value for value, _ in self.client.get_prefix(self.prefix, sort_order="descend", sort_target="key")]
        self.assertEqual(values, [b"c", b"b", b"a"])
        values = [value for value, _ in self.client.get_range(self.key("a"), self.key("c"))]
        self.assertEqual(values, [b"a", b"b"])
        response = self.client.get_prefix_response(self.prefix, limit=2)
        self.assertEqual((response.count, len(response.kvs), response.more), (3, 2, True))

    def test_delete(self):
        self.client.put(self.key("k"), "v")
        self.assertTrue(self.client.delete(self.key("k")))
        self.assertFalse(self.client.delete(self.key("k")))
        for name in "ab":
            self.client.put(self.key(name), name)
        self.assertEqual(self.client.delete_prefix(self.prefix).deleted, 2)

    def test_put_if_not_exists_and_replace(self):
        self.assertTrue(self.client.put_if_not_exists(self.key("k"), "1"))
        self.assertFalse(self.client.put_if_not_exists(self.key("k"), "2"))
        self.assertTrue(self.client.replace(self.key("k"), "1", "2"))
        self.assertFalse(self.client.replace(self.key("k"), "1", "3"))
        self.assertEqual(self.client.get(self.key("k"))[0], b"2")

    def test_compaction(self):
        self.client.put(self.key("k"), "1")
        _, meta = self.client.get(self.key("k"))
        self.client.put(self.key("k"), "2")
        self.client.compact(meta.mod_revision + 1, physical=True)
        with self.assertRaises(Exception) as raised:
            self.client.compact(meta.mod_revision)
        self.assertIn("required revision has been compacted", str(raised.exception))


class Txn(Case):
    def test_both_branches(self):
        client, txn = self.client, self.client.transactions
        client.put(self.key("k"), "v")
        operations = {"success": [txn.get(self.key("k")), txn.put(self.key("won"), "1")], "failure": [txn.delete(self.key("k"))]}
        succeeded, responses = client.transaction(
            compare=[txn.value(self.key("k")) == "v", txn.version(self.key("k")) > 0, txn.create(self.key("none")) == 0],
            **operations,
        )
        self.assertTrue(succeeded)
        self.assertEqual(responses[0][0][0], b"v")
        succeeded, responses = client.transaction(compare=[txn.mod(self.key("k")) < 1], **operations)
        self.assertFalse(succeeded)
        self.assertEqual(responses[0].response_delete_range.deleted, 1)


class Lease(Case):
    def test_keys_go_with_the_lease(self):
        lease = self.client.lease(100)
        self.client.put(self.key("k"), "v", lease=lease)
        self.assertEqual(lease.granted_ttl, 100)
        self.assertGreater(lease.remaining_ttl, 80)
        self.assertEqual(list(lease.keys), [self.key("k").encode()])
        self.assertEqual(lease.refresh()[0].TTL, 100)
        lease.revoke()
        self.assertIsNone(self.client.get(self.key("k"))[0])
        self.assertEqual(lease.remaining_ttl, -1)

    def test_own_id(self):
        lease = self.client.lease(100, lease_id=4711)
        self.assertEqual(lease.id, 4711)
        lease.revoke()

    def test_expiry(self):
        lease = self.client.lease(2)
        self.client.put(self.key("k"), "v", lease=lease)
        event = self.client.watch_once(self.key("k"), timeout=harness.PATIENCE_S)
        self.assertIsInstance(event, pyetcd.events.DeleteEvent)


class Watch(Case):
    def test_changes_in_order(self):
        events, cancel = self.client.watch_prefix(self.prefix, prev_kv=True)
        self.client.put(self.key("a"), "1")
        self.client.put(self.key("a"), "2")
        self.client.delete(self.key("a"))
        seen = [next(events) for _ in range(3)]
        cancel()
        self.assertEqual([type(event).__name__ for event in seen], ["PutEvent", "PutEvent", "DeleteEvent"])
        self.assertEqual([event.value for event in seen[:2]], [b"1", b"2"])
        self.assertEqual([event.prev_value for event in seen[1:]], [b"1", b"2"])

    def test_from_the_past(self):
        self.client.put(self.key("k"), "1")
        _, meta = self.client.get(self.key("k"))
        self.client.put(self.key("k"), "2")
        events, cancel = self.client.watch(self.key("k"), start_revision=meta.mod_revision)
        self.assertEqual([next(events).value, next(events).value], [b"1", b"2"])
        cancel()

    def test_callback(self):
        got = queue.Queue()
        watch_id = self.client.add_watch_callback(self.key("k"), got.put)
        self.client.put(self.key("k"), "v")
        self.assertEqual(got.get(timeout=harness.PATIENCE_S).events[0].value, b"v")
        self.client.cancel_watch(watch_id)

    def test_compacted_history(self):
        self.client.put(self.key("k"), "1")
        _, meta = self.client.get(self.key("k"))
        self.client.put(self.key("k"), "2")
        self.client.compact(meta.mod_revision + 1)
        events, _ = self.client.watch(self.key("k"), start_revision=meta.mod_revision)
        with self.assertRaises(pyetcd.exceptions.RevisionCompactedError) as raised:
            next(events)
        self.assertEqual(raised.exception.compacted_revision, meta.mod_revision + 1)


class Lock(Case):
    def test_excludes(self):
        name = self.id()
        with self.client.lock(name, ttl=30) as lock:
            self.assertTrue(lock.is_acquired())
            self.assertFalse(self.client.lock(name, ttl=30).acquire(timeout=0))
            lock.refresh()
        self.assertFalse(lock.is_acquired())

    def test_passes_on(self):
        name, acquired = self.id(), queue.Queue()
        first = self.client.lock(name, ttl=30)
        self.assertTrue(first.acquire())
        waiter = threading.Thread(target=lambda: acquired.put(self.client.lock(name, ttl=30).acquire(timeout=harness.PATIENCE_S)))
        waiter.start()
        first.release()
        self.assertTrue(acquired.get(timeout=harness.PATIENCE_S))
        waiter.join()


class Server(Case):
    def test_status_and_members(self):
        status = self.client.status()
        self.assertRegex(status.version, r"^3\.\d+\.\d+$")
        self.assertGreater(status.db_size, 0)
        self.assertEqual(status.leader.id, [member.id for member in self.client.members][0])
        self.assertEqual(list(self.client.list_alarms()), [])
        self.client.defragment()

    def test_data_survives_a_kill(self):
        self.client.put(self.key("k"), "v")
        harness.restart_server()
        client = pyetcd.client(host=harness.HOST, port=harness.PORT, timeout=harness.PATIENCE_S)
        self.addCleanup(client.close)
        self.assertEqual(client.get(self.key("k"))[0], b"v")


if __name__ == "__main__":
    harness.main()
