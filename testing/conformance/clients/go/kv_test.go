package goclient_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestPutCountsRevisionsAndVersions(t *testing.T) {
	ctx, client := start(t)
	for i, want := range []int64{2, 3, 4} {
		require.Equal(t, want, put(t, client, "k", fmt.Sprint(i)))
	}
	response, err := client.Get(ctx, "k")
	require.NoError(t, err)
	require.Len(t, response.Kvs, 1)
	kv := response.Kvs[0]
	require.Equal(t, "2", string(kv.Value))
	require.Equal(t, []int64{2, 4, 3}, []int64{kv.CreateRevision, kv.ModRevision, kv.Version})
	require.NotZero(t, response.Header.ClusterId)
	require.NotZero(t, response.Header.MemberId)
	require.NotZero(t, response.Header.RaftTerm)
	require.EqualValues(t, 4, response.Header.Revision)
}

func TestPutReturnsThePreviousPair(t *testing.T) {
	ctx, client := start(t)
	first, err := client.Put(ctx, "k", "old", clientv3.WithPrevKV())
	require.NoError(t, err)
	require.Nil(t, first.PrevKv)
	second, err := client.Put(ctx, "k", "new", clientv3.WithPrevKV())
	require.NoError(t, err)
	require.Equal(t, "old", string(second.PrevKv.Value))
	require.EqualValues(t, 2, second.PrevKv.ModRevision)
}

func TestPutCanKeepTheValueOrTheLease(t *testing.T) {
	ctx, client := start(t)
	lease, err := client.Grant(ctx, 600)
	require.NoError(t, err)
	put(t, client, "k", "v", clientv3.WithLease(lease.ID))

	put(t, client, "k", "v2", clientv3.WithIgnoreLease())
	kv := getOne(t, client, "k")
	require.Equal(t, "v2", string(kv.Value))
	require.EqualValues(t, lease.ID, kv.Lease)

	put(t, client, "k", "", clientv3.WithIgnoreValue())
	kv = getOne(t, client, "k")
	require.Equal(t, "v2", string(kv.Value))
	require.Zero(t, kv.Lease)
	require.EqualValues(t, 3, kv.Version)
}

func TestKVErrors(t *testing.T) {
	ctx, client := start(t, "--max-txn-ops=4", "--max-request-bytes=10000")
	puts := func(n int) []clientv3.Op {
		ops := []clientv3.Op{}
		for i := range n {
			ops = append(ops, clientv3.OpPut(fmt.Sprint("k", i), ""))
		}
		return ops
	}
	txn := func(ops ...clientv3.Op) error {
		_, err := client.Txn(ctx).Then(ops...).Commit()
		return err
	}
	cases := []struct {
		name string
		want error
		call func() error
	}{
		{"put without key", rpctypes.ErrEmptyKey, func() error { _, err := client.Put(ctx, "", "v"); return err }},
		{"delete without key", rpctypes.ErrEmptyKey, func() error { _, err := client.Delete(ctx, ""); return err }},
		{"get without key", rpctypes.ErrEmptyKey, func() error { _, err := client.Get(ctx, ""); return err }},
		{"unknown lease", rpctypes.ErrLeaseNotFound, func() error { _, err := client.Put(ctx, "k", "v", clientv3.WithLease(12345)); return err }},
		{"ignored value given", rpctypes.ErrValueProvided, func() error { _, err := client.Put(ctx, "k", "v", clientv3.WithIgnoreValue()); return err }},
		{"ignored lease given", rpctypes.ErrLeaseProvided, func() error {
			_, err := client.Put(ctx, "k", "v", clientv3.WithIgnoreLease(), clientv3.WithLease(7))
			return err
		}},
		{"no value to keep", rpctypes.ErrKeyNotFound, func() error { _, err := client.Put(ctx, "none", "", clientv3.WithIgnoreValue()); return err }},
		{"future revision", rpctypes.ErrFutureRev, func() error { _, err := client.Get(ctx, "k", clientv3.WithRev(1000)); return err }},
		{"future compaction", rpctypes.ErrFutureRev, func() error { _, err := client.Compact(ctx, 1000); return err }},
		{"too large", rpctypes.ErrRequestTooLarge, func() error { _, err := client.Put(ctx, "k", strings.Repeat("x", 10000)); return err }},
		{"too many operations", rpctypes.ErrTooManyOps, func() error { return txn(puts(5)...) }},
		{"as many operations as allowed", nil, func() error { return txn(puts(4)...) }},
		{"key put twice", rpctypes.ErrDuplicateKey, func() error { return txn(clientv3.OpPut("k", "1"), clientv3.OpPut("k", "2")) }},
		{"key put and deleted", rpctypes.ErrDuplicateKey, func() error {
			return txn(clientv3.OpPut("k", "1"), clientv3.OpDelete("a", clientv3.WithRange("z")))
		}},
		{"unknown lease in a txn", rpctypes.ErrLeaseNotFound, func() error { return txn(clientv3.OpPut("k", "1", clientv3.WithLease(99))) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.call()
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.want)
		})
	}
	require.Equal(t, "<none>", value(t, client, "none"))
}

func TestGetRanges(t *testing.T) {
	ctx, client := start(t)
	for _, key := range []string{"a", "b", "b/1", "b/2", "b/3", "c", "\xff\xff"} {
		put(t, client, key, "v-"+key)
	}
	cases := []struct {
		name    string
		key     string
		options []clientv3.OpOption
		want    []string
		count   int64
		more    bool
	}{
		{"one key", "b", nil, []string{"b"}, 1, false},
		{"missing key", "x", nil, []string{}, 0, false},
		{"prefix", "b/", []clientv3.OpOption{clientv3.WithPrefix()}, []string{"b/1", "b/2", "b/3"}, 3, false},
		{"prefix without end", "\xff", []clientv3.OpOption{clientv3.WithPrefix()}, []string{"\xff\xff"}, 1, false},
		{"half open range", "b", []clientv3.OpOption{clientv3.WithRange("b/3")}, []string{"b", "b/1", "b/2"}, 3, false},
		{"reversed range", "c", []clientv3.OpOption{clientv3.WithRange("a")}, []string{}, 0, false},
		{"from a key on", "c", []clientv3.OpOption{clientv3.WithFromKey()}, []string{"c", "\xff\xff"}, 2, false},
		{"everything", "", []clientv3.OpOption{clientv3.WithPrefix()}, []string{"a", "b", "b/1", "b/2", "b/3", "c", "\xff\xff"}, 7, false},
		{"page", "", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithLimit(2)}, []string{"a", "b"}, 7, true},
		{"last page", "b/3", []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithLimit(3)}, []string{"b/3", "c", "\xff\xff"}, 3, false},
		{"count", "b", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithCountOnly()}, []string{}, 4, false},
		{"serializable", "b", []clientv3.OpOption{clientv3.WithSerializable()}, []string{"b"}, 1, false},
		{"historical", "", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(3)}, []string{"a", "b"}, 2, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			response, err := client.Get(ctx, c.key, c.options...)
			require.NoError(t, err)
			require.Equal(t, c.want, keys(response.Kvs))
			require.Equal(t, c.count, response.Count)
			require.Equal(t, c.more, response.More)
			require.EqualValues(t, 8, response.Header.Revision)

			stream, err := client.GetStream(ctx, c.key, c.options...)
			require.NoError(t, err)
			streamed, err := clientv3.GetStreamToGetResponse(stream)
			require.NoError(t, err)
			require.Equal(t, c.want, keys(streamed.Kvs))
			require.Equal(t, c.count, streamed.Count)
			require.Equal(t, c.more, streamed.More)
		})
	}
}

func TestGetKeysOnlyOmitsValues(t *testing.T) {
	ctx, client := start(t)
	put(t, client, "k", "v")
	response, err := client.Get(ctx, "k", clientv3.WithKeysOnly())
	require.NoError(t, err)
	require.Equal(t, []string{"k"}, keys(response.Kvs))
	require.Empty(t, response.Kvs[0].Value)
	require.EqualValues(t, 2, response.Kvs[0].ModRevision)
}

func TestGetSorts(t *testing.T) {
	ctx, client := start(t)
	put(t, client, "b", "3")
	put(t, client, "c", "1")
	put(t, client, "a", "2")
	put(t, client, "c", "0") // now: b@2 v1 "3", a@4 v1 "2", c created 3 mod 5 v2 "0"
	put(t, client, "c", "1")
	put(t, client, "b", "3") // b created 2 mod 7 v2, c created 3 mod 6 v3, a created 4 mod 4 v1
	ascending := map[string]struct {
		target clientv3.SortTarget
		want   []string
	}{
		"key":     {clientv3.SortByKey, []string{"a", "b", "c"}},
		"version": {clientv3.SortByVersion, []string{"a", "b", "c"}},
		"create":  {clientv3.SortByCreateRevision, []string{"b", "c", "a"}},
		"mod":     {clientv3.SortByModRevision, []string{"a", "c", "b"}},
		"value":   {clientv3.SortByValue, []string{"c", "a", "b"}},
	}
	for name, c := range ascending {
		for order, label := range map[clientv3.SortOrder]string{
			clientv3.SortNone: "none", clientv3.SortAscend: "ascending", clientv3.SortDescend: "descending",
		} {
			t.Run(name+" "+label, func(t *testing.T) {
				response, err := client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithSort(c.target, order))
				require.NoError(t, err)
				want := append([]string{}, c.want...)
				if order == clientv3.SortDescend {
					want = []string{want[2], want[1], want[0]}
				}
				require.Equal(t, want, keys(response.Kvs))

				limited, err := client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithSort(c.target, order), clientv3.WithLimit(1))
				require.NoError(t, err)
				if order == clientv3.SortNone {
					// No order: the limit applies first, to one key more than asked for in key order.
					want = slices.DeleteFunc(want, func(key string) bool { return key == "c" })
				}
				require.Equal(t, want[:1], keys(limited.Kvs))
				require.True(t, limited.More)
				require.EqualValues(t, 3, limited.Count)
			})
		}
	}
}

func TestGetFiltersByRevision(t *testing.T) {
	ctx, client := start(t)
	for _, key := range []string{"a", "b", "c", "b", "a"} { // a: 2..6, b: 3..5, c: 4..4
		put(t, client, key, "v")
	}
	cases := []struct {
		name    string
		options []clientv3.OpOption
		want    []string
	}{
		{"mod at least", []clientv3.OpOption{clientv3.WithMinModRev(5)}, []string{"a", "b"}},
		{"mod at most", []clientv3.OpOption{clientv3.WithMaxModRev(5)}, []string{"b", "c"}},
		{"create at least", []clientv3.OpOption{clientv3.WithMinCreateRev(3)}, []string{"b", "c"}},
		{"create at most", []clientv3.OpOption{clientv3.WithMaxCreateRev(3)}, []string{"a", "b"}},
		{"all of them", []clientv3.OpOption{clientv3.WithMinModRev(4), clientv3.WithMaxModRev(5), clientv3.WithMinCreateRev(3), clientv3.WithMaxCreateRev(4)}, []string{"b", "c"}},
		{"filter, then limit", []clientv3.OpOption{clientv3.WithMaxModRev(5), clientv3.WithLimit(1)}, []string{"b"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			response, err := client.Get(ctx, "", append(c.options, clientv3.WithPrefix())...)
			require.NoError(t, err)
			require.Equal(t, c.want, keys(response.Kvs))
			require.EqualValues(t, 3, response.Count)
		})
	}
}

func TestFirstAndLastKeyHelpers(t *testing.T) {
	ctx, client := start(t)
	for _, key := range []string{"m", "z", "a", "m"} {
		put(t, client, key, "v")
	}
	for name, c := range map[string]struct {
		options []clientv3.OpOption
		want    string
	}{
		"first key": {clientv3.WithFirstKey(), "a"}, "last key": {clientv3.WithLastKey(), "z"},
		"first create": {clientv3.WithFirstCreate(), "m"}, "last create": {clientv3.WithLastCreate(), "a"},
		"first mod": {clientv3.WithFirstRev(), "z"}, "last mod": {clientv3.WithLastRev(), "m"},
	} {
		t.Run(name, func(t *testing.T) {
			response, err := client.Get(ctx, "", c.options...)
			require.NoError(t, err)
			require.Equal(t, []string{c.want}, keys(response.Kvs))
		})
	}
}

func TestHistoryIsReadableDownToTheCompaction(t *testing.T) {
	ctx, client := start(t)
	for i := range 5 {
		put(t, client, "k", fmt.Sprint(i)) // revisions 2..6
	}
	deleted, err := client.Delete(ctx, "k")
	require.NoError(t, err)
	require.EqualValues(t, 7, deleted.Header.Revision)
	at := func(revision int64) string {
		response, err := client.Get(ctx, "k", clientv3.WithRev(revision))
		if err != nil {
			return err.Error()
		}
		if len(response.Kvs) == 0 {
			return "<none>"
		}
		return string(response.Kvs[0].Value)
	}
	require.Equal(t, []string{"<none>", "0", "4", "<none>"}, []string{at(1), at(2), at(6), at(7)})

	_, err = client.Compact(ctx, 4, clientv3.WithCompactPhysical())
	require.NoError(t, err)
	compacted := rpctypes.ErrCompacted.Error()
	require.Equal(t, []string{compacted, compacted, "2", "3", "<none>"}, []string{at(2), at(3), at(4), at(5), at(7)})
	_, err = client.Compact(ctx, 4)
	require.ErrorIs(t, err, rpctypes.ErrCompacted)
	_, err = client.Compact(ctx, 7)
	require.NoError(t, err)
	require.Equal(t, []string{compacted, "<none>"}, []string{at(6), at(7)})
}

func TestDelete(t *testing.T) {
	ctx, client := start(t)
	for _, key := range []string{"a", "b/1", "b/2", "c", "d"} {
		put(t, client, key, "v-"+key)
	}
	none, err := client.Delete(ctx, "missing")
	require.NoError(t, err)
	require.Zero(t, none.Deleted)
	require.EqualValues(t, 6, none.Header.Revision, "deleting nothing makes no revision")

	prefix, err := client.Delete(ctx, "b/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	require.NoError(t, err)
	require.EqualValues(t, 2, prefix.Deleted)
	require.EqualValues(t, 7, prefix.Header.Revision)
	require.Equal(t, []string{"b/1", "b/2"}, keys(prefix.PrevKvs))
	require.Equal(t, "v-b/2", string(prefix.PrevKvs[1].Value))

	from, err := client.Delete(ctx, "c", clientv3.WithFromKey())
	require.NoError(t, err)
	require.EqualValues(t, 2, from.Deleted)
	rest, err := client.Get(ctx, "", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, keys(rest.Kvs))

	put(t, client, "b/1", "again")
	kv := getOne(t, client, "b/1")
	require.EqualValues(t, 1, kv.Version)
	require.Equal(t, kv.CreateRevision, kv.ModRevision)
}

func TestBytesOfAnyKindAndSize(t *testing.T) {
	ctx, client := start(t)
	binary := "\x00\x01\xfe\xff/\n"
	for _, c := range []struct{ key, value string }{
		{"empty", ""}, {binary, binary}, {"\x00", "zero"}, {strings.Repeat("long", 8000), "key"},
		{"big", strings.Repeat("0123456789abcdef", 80_000)},
	} {
		put(t, client, c.key, c.value)
		require.True(t, c.value == value(t, client, c.key), "%d bytes", len(c.value))
	}
	all, err := client.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
	require.NoError(t, err)
	require.EqualValues(t, 5, all.Count)
}

func TestALargeListArrivesWhole(t *testing.T) {
	ctx, client := start(t)
	const n = 2000
	text := strings.Repeat("x", 4096)
	var done sync.WaitGroup
	for worker := range 20 {
		done.Go(func() {
			for i := worker; i < n; i += 20 {
				_, err := client.Put(ctx, fmt.Sprintf("list/%06d", i), text)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	list, err := client.Get(ctx, "list/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, list.Kvs, n)
	stream, err := client.GetStream(ctx, "list/", clientv3.WithPrefix())
	require.NoError(t, err)
	streamed, err := clientv3.GetStreamToGetResponse(stream)
	require.NoError(t, err)
	require.Equal(t, keys(list.Kvs), keys(streamed.Kvs))
	require.EqualValues(t, n, streamed.Count)

	paged := []string{}
	key, revision := "list/", int64(0)
	for {
		page, err := client.Get(ctx, key, clientv3.WithRange(clientv3.GetPrefixRangeEnd("list/")), clientv3.WithLimit(300), clientv3.WithRev(revision))
		require.NoError(t, err)
		require.EqualValues(t, n-len(paged), page.Count)
		paged = append(paged, keys(page.Kvs)...)
		if !page.More {
			break
		}
		key, revision = paged[len(paged)-1]+"\x00", list.Header.Revision
	}
	require.Equal(t, keys(list.Kvs), paged)
}

func TestConcurrentWritersEachGetTheirOwnRevision(t *testing.T) {
	ctx, client := start(t)
	const writers, each = 16, 50
	var seen sync.Map
	var done sync.WaitGroup
	for writer := range writers {
		done.Go(func() {
			last := int64(0)
			for i := range each {
				response, err := client.Put(ctx, fmt.Sprint("w", writer), fmt.Sprint(i))
				if err != nil {
					t.Error(err)
					return
				}
				revision := response.Header.Revision
				if _, twice := seen.LoadOrStore(revision, writer); twice || revision <= last {
					t.Errorf("revision %d after %d, seen before: %v", revision, last, twice)
				}
				last = revision
			}
		})
	}
	done.Wait()
	response, err := client.Get(ctx, "w0")
	require.NoError(t, err)
	require.EqualValues(t, 1+writers*each, response.Header.Revision)
}

func TestDoRunsAnyOperation(t *testing.T) {
	ctx, client := start(t)
	for _, op := range []clientv3.Op{
		clientv3.OpPut("k", "v"),
		clientv3.OpGet("k"),
		clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("k2", "v")}, nil),
		clientv3.OpDelete("k"),
	} {
		_, err := client.Do(ctx, op)
		require.NoError(t, err)
	}
	require.Equal(t, []string{"<none>", "v"}, []string{value(t, client, "k"), value(t, client, "k2")})
}
