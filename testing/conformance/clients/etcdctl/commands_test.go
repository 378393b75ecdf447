package etcdctl_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"bowline/testing/conformance/clients/server"
)

var someKeys = run(
	"put a 1", "put b 2", "put c 3", "put dir/x x1", "put dir/y y1", "put dir/x x2", "put dir/z ''",
	"put 'key with space' 'value with space'", "put b 22",
)

func TestPut(t *testing.T) {
	compare(t,
		[]step{{lease: 0x1234567890abcde}},
		inFormats("put k v", "put k v2 --prev-kv", "put new v --prev-kv", "put k --ignore-value", "put k v3 --ignore-lease --prev-kv"),
		run("put k v --lease=1234567890abcde", "get k -w json", "put k v --lease=99", "put k v --lease=nohex",
			"put", "put k", "put '' v", "put k v w", "put k v --ignore-value", "put none --ignore-value", "put k v --unknown"),
		[]step{{args: "put fromstdin", stdin: "line one\nline two"}, {args: "get fromstdin"}},
		run("get k", "get new -w json"),
	)
}

func TestGet(t *testing.T) {
	compare(t, someKeys, inFormats("get a", "get none", "get dir/ --prefix", "get b dir", "get dir/x --rev=5", "get '' --prefix --keys-only"))
}

func TestGetOptions(t *testing.T) {
	compare(t, someKeys, run(
		"get '' --prefix", "get '' --from-key", "get c --from-key", "get b dir/y", "get b a", "get dir/ --prefix --limit=2 -w json",
		"get --prefix dir/ --order=DESCEND", "get '' --prefix --sort-by=MODIFY --keys-only", "get '' --prefix --sort-by=CREATE --order=DESCEND --keys-only",
		"get '' --prefix --sort-by=VALUE", "get '' --prefix --sort-by=VERSION --order=DESCEND --limit=2", "get '' --prefix --sort-by=KEY --order=ASCEND",
		"get '' --prefix --sort-by=WRONG", "get a --order=WRONG", "get dir/ --prefix --count-only -w fields", "get dir/ --prefix --count-only",
		"get dir/ --prefix --count-only -w json", "get a --print-value-only", "get a --print-value-only -w json", "get a --consistency=s", "get a --consistency=l", "get a --consistency=x",
		"get '' --prefix --min-mod-rev=5 --keys-only", "get '' --prefix --max-mod-rev=5 --keys-only", "get '' --prefix --min-create-rev=5 --keys-only",
		"get '' --prefix --max-create-rev=4 --keys-only -w json", "get a --rev=100", "get a --rev=1", "get", "get a b c", "get a b --prefix", "get a --prefix --from-key",
		"get '' --prefix --stream", "get dir/ --prefix --stream -w json", "get dir/ --prefix --stream --limit=1 -w json", "get none --stream", "get dir/ --prefix --stream --rev=6 -w fields",
		"get a --stream --sort-by=MODIFY", "get '' --prefix --hex", "get a --wrong",
	))
}

func TestDelete(t *testing.T) {
	compare(t, someKeys,
		inFormats("del none", "del dir/x --prev-kv"),
		run("del dir/ --prefix --prev-kv", "put dir/a 1", "put dir/b 2", "put dir/c 3", "del dir/a dir/c --range", "del 'key with space' --from-key --prev-kv",
			"get '' --prefix", "del '' --prefix", "del", "del a b c", "del a b --prefix", "del --prefix --from-key a", "get '' --prefix --keys-only -w json"),
	)
}

func TestTxn(t *testing.T) {
	txn := func(stdin string, formats ...string) []step {
		steps := []step{}
		for _, format := range formats {
			steps = append(steps, step{args: "txn -w " + format, stdin: stdin})
		}
		return steps
	}
	all := []string{"simple", "fields", "json", "protobuf", "table"}
	compare(t, []step{{lease: 0x77aa}}, someKeys,
		txn("value(\"a\") = \"1\"\n\nput a 1\nget a\ndel none\n\nget b\n\n", all...),
		txn("value(\"a\") = \"wrong\"\n\nput a 2\n\nget dir/ --prefix --order=DESCEND\ndel dir/z --prev-kv\nput dir/z z --prev-kv\n\n", all...),
		txn("ver(\"a\") > \"0\"\ncreate(\"a\") = \"2\"\nmod(\"b\") != \"7\"\nlease(\"a\") = \"0\"\n\nput leased v --lease=77aa\nget leased\n\n\n", "simple", "json"),
		txn("lease(\"leased\") = \"77aa\"\n\nget leased\n\n\n", "simple"),
		txn("\n\n\n", "simple", "json"),
		txn("wrong\n\n\n\n", "simple"),
		txn("value(\"a\") ~ \"1\"\n\n\n\n", "simple"),
		txn("\nput a 1\nput a 2\n\n\n", "simple"),
		txn("\nwatch a\n\n\n", "simple"),
		txn("\nput a 1\n", "simple"),
		[]step{{args: "txn -i", stdin: "mod(\"a\") > \"0\"\n\nget a\n\nget b\n\n"}, {args: "txn extra"}},
	)
}

func TestCompaction(t *testing.T) {
	compare(t, someKeys, run(
		"compaction 4", "get a --rev=3", "get a --rev=4", "compaction 4", "compaction 100", "compaction", "compaction x",
		"compaction 6 --physical", "get dir/x --rev=6", "compaction 7 -w json", "compact 8",
	))
}

func TestWatch(t *testing.T) {
	watch := func(args string, lines int) step { return step{args: args, lines: lines} }
	interactive := func(stdin string, lines int) step { return step{args: "watch -i", stdin: stdin, lines: lines} }
	compare(t, someKeys, run("del dir/x --prev-kv", "del b", "put b 3"), []step{
		watch("watch b --rev=1", 12),
		watch("watch b --rev=1 --prev-kv", 16),
		watch("watch dir/ --prefix --rev=2", 15),
		watch("watch b dir/y --rev=2 --prev-kv", 32),
		watch("watch '' --prefix --rev=5 --hex", 27),
		watch("watch b --rev=1 -w json --prev-kv", 1),
		watch("watch b --rev=1 -w fields", 32),
		watch("watch a --rev=1 -- sh -c 'echo $ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE'", 4),
		interactive("watch dir/ --prefix --rev=7 --prev-kv\n", 13),
		interactive("watch a --rev=2\n", 3),
	}, run("compaction 8"), []step{
		{args: "watch a --rev=3"}, {args: "watch a --rev=3 -w json"}, {args: "watch"}, {args: "watch b a --rev=9"},
		{args: "watch a --prefix --range"}, watch("watch dir/x --rev=9", 3),
	})
}

func TestLeases(t *testing.T) {
	compare(t,
		run("lease list", "lease grant 600", "lease list"),
		[]step{{lease: 0x5555}, {lease: 0x7fffffffffffffff}},
		run("put k1 v --lease=5555"), // one key: etcd lists several in no order
		inFormats("lease timetolive 5555", "lease timetolive 9999", "lease keep-alive --once 5555", "lease keep-alive --once 9999"),
		run("lease timetolive 7fffffffffffffff --keys -w json", "lease timetolive 5555 --keys", "lease grant 5000000 -w json", "lease grant 600 -w fields"),
		[]step{{args: "lease keep-alive 5555", lines: 1}},
		run("lease revoke 5555", "get k1", "lease revoke 5555", "lease revoke 7fffffffffffffff -w json", "lease revoke zz", "lease grant", "lease grant x",
			"lease grant 9000000001", "lease grant -- -5", "lease revoke", "lease timetolive", "lease timetolive xx", "lease keep-alive", "lease keep-alive --once zz"),
	)
}

func TestLeaseFormats(t *testing.T) {
	compare(t, []step{{lease: 0x5555}}, inFormats("lease list"),
		inFormats("lease revoke 4444"), []step{{lease: 0x1}, {lease: 0x2}, {lease: 0x3}},
		run("lease revoke 1 -w fields", "lease revoke 2 -w protobuf", "lease revoke 3 --hex -w json"))
}

func TestEndpoints(t *testing.T) {
	compare(t, someKeys,
		inFormats("endpoint status", "endpoint health", "endpoint hashkv"),
		run("endpoint hashkv --rev=5", "endpoint hashkv --rev=100", "endpoint hashkv --rev=5 -w json", "compaction 6 --physical", "endpoint hashkv", "endpoint hashkv --rev=3",
			"endpoint hashkv --rev=6 -w json", "endpoint status --cluster", "endpoint health --cluster", "endpoint hashkv --cluster -w json",
			"endpoint status --endpoints=$EP,$EP"),
	)
}

func TestAlarmsDefragMembers(t *testing.T) {
	compare(t, someKeys,
		inFormats("alarm list", "alarm disarm", "member list"),
		run("defrag", "defrag --cluster", "defrag -w json", "member list --consistency=s", "member list --consistency=l", "get '' --prefix", "member list --consistency=x"),
	)
}

func TestLock(t *testing.T) {
	compare(t, []step{
		{args: "lock lock-a", lines: 2},
		{args: "lock lock-a --ttl=20 -w json", lines: 1},
	}, run(
		"lock lock-a echo locked", "lock lock-a -- sh -c 'exit 7'", "lock lock-a -- sh -c 'echo $ETCD_LOCK_KEY $ETCD_LOCK_REV'", "lock lock-a missing-program",
		"get lock-a --prefix", "lock", "lease list",
	))
}

func TestElect(t *testing.T) {
	compare(t, []step{
		{args: "elect elect-a me", lines: 2},
		{args: "elect elect-a me -w json", lines: 1},
	}, run("get elect-a --prefix", "elect", "elect a b c", "elect -l a b", "lease list"))
}

func TestOptionsAndErrors(t *testing.T) {
	compare(t, run("put a 1",
		"version", "version -w json", "get a --command-timeout=2s", "get a -w wrong", "get a --user=root:pw", "get a --keepalive-time=1s",
		"nonsense", "get a --endpoints=127.0.0.1:1 --command-timeout=300ms --dial-timeout=300ms",
		"endpoint health --endpoints=127.0.0.1:1 --command-timeout=300ms --dial-timeout=300ms", "mem list", "get a --max-request-bytes=100", "put big 0123456789 --max-request-bytes=5",
	))
}

func TestCheckDataScale(t *testing.T) {
	compare(t, run("check datascale", "get /etcdctl-check-datascale/ --prefix --count-only -w fields", "check datascale --load=wrong"))
}

// The mirror goes on forever, so this waits until the copy is complete.
func TestMakeMirror(t *testing.T) {
	t.Parallel()
	for name, program := range map[string]string{"etcd": peer("etcd"), "under test": os.Getenv(server.BinaryEnv)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, destination := newSubject(t, program), newSubject(t, program)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for _, key := range []string{"src/a", "src/b", "other"} {
				_, err := source.client.Put(ctx, key, "v")
				require.NoError(t, err)
			}
			mirror := source.command(ctx, "make-mirror --prefix=src/ --dest-prefix=dst/ --no-dest-prefix=false "+destination.server.Address())
			require.NoError(t, mirror.Start())
			defer func() {
				_ = mirror.Process.Kill()
				_ = mirror.Wait() // killed
			}()
			holds := func(want ...string) func() bool {
				return func() bool {
					response, err := destination.client.Get(ctx, "", clientv3.WithPrefix())
					if err != nil || len(response.Kvs) != len(want) {
						return false
					}
					for i, kv := range response.Kvs {
						if string(kv.Key)+"="+string(kv.Value) != want[i] {
							return false
						}
					}
					return true
				}
			}
			require.Eventually(t, holds("dst/a=v", "dst/b=v"), patience, 20*time.Millisecond)
			_, err := source.client.Txn(ctx).Then(clientv3.OpPut("src/c", "new"), clientv3.OpDelete("src/a")).Commit()
			require.NoError(t, err)
			require.Eventually(t, holds("dst/b=v", "dst/c=new"), patience, 20*time.Millisecond)
		})
	}
}
