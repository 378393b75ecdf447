//! A client and a server with tables of their own, and the filter between them.

use super::*;
use proptest::prelude::*;

type Field = (&'static str, &'static str);

/// The part of the static table that is used here.
const STATIC: [(usize, Field); 7] = [
    (1, (":authority", "")),
    (3, (":method", "POST")),
    (4, (":path", "/")),
    (6, (":scheme", "http")),
    (31, ("content-type", "")),
    (57, ("transfer-encoding", "")),
    (58, ("user-agent", "")),
];

/// Fields that clients send, and if they are left out.
const FIELDS: [(Field, bool); 16] = [
    ((":method", "POST"), false),
    ((":path", "/etcdserverpb.KV/Put"), false),
    ((":scheme", "http"), false),
    ((":authority", "localhost:2379"), false),
    ((":authority", "[::1]:2379"), false),
    ((":authority", "#initially=[127.0.0.1:2379;http://127.0.0.1:2379]"), true),
    ((":authority", "/tmp/x.sock"), true),
    ((":authority", "%2Ftmp%2Fx.sock"), true),
    ((":authority", "a b"), true),
    ((":authority", ""), true),
    (("te", "trailers"), false),
    (("te", "gzip"), true),
    (("transfer-encoding", ""), true),
    (("keep-alive", "timeout=5"), true),
    (("user-agent", "grpc-go/1.83.2"), false),
    (("grpc-timeout", "4999m"), false),
];

/// A table as the RFC has it.
struct Table {
    entries: VecDeque<Field>,
    bytes_max: usize,
}

impl Table {
    fn new() -> Table {
        Table { entries: VecDeque::new(), bytes_max: TABLE_BYTES_MAX }
    }

    fn get(&self, index: usize) -> Field {
        match index.checked_sub(62) {
            Some(nth) => self.entries[nth],
            None => STATIC.iter().find(|(at, _)| *at == index).expect("a known entry").1,
        }
    }

    fn find(&self, is_it: impl Fn(Field) -> bool) -> Option<usize> {
        let known = STATIC.iter().copied().chain((62..).zip(self.entries.iter().copied()));
        known.filter(|(_, field)| is_it(*field)).map(|(index, _)| index).last()
    }

    fn insert(&mut self, field: Field) {
        self.entries.push_front(field);
        self.resize(self.bytes_max);
    }

    fn resize(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        while self.entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > bytes_max {
            self.entries.pop_back();
        }
    }

    /// Writes a field: from the table if it may be, else in one of the three literal forms.
    fn encode(&mut self, out: &mut Vec<u8>, field: Field, form: u8, named_by_index: bool) {
        if let Some(index) = self.find(|known| known == field).filter(|_| form == 0) {
            return put_integer(out, 0x80, 7, index);
        }
        let (pattern, bits) = [(0x40, 6), (0x40, 6), (0x00, 4), (0x10, 4)][usize::from(form)];
        let index = self.find(|known| known.0 == field.0).filter(|_| named_by_index);
        put_integer(out, pattern, bits, index.unwrap_or(0));
        if index.is_none() {
            put_text(out, field.0);
        }
        put_text(out, field.1);
        if pattern == 0x40 {
            self.insert(field);
        }
    }

    fn decode(&mut self, block: &[u8]) -> Vec<Field> {
        let mut input = Input { bytes: block };
        let mut fields = Vec::new();
        while let Some(first) = input.bytes.first().copied() {
            if first & 0x80 != 0 {
                fields.push(self.get(input.integer(7).expect("an index")));
            } else if first & 0xe0 == 0x20 {
                self.resize(input.integer(5).expect("a size"));
            } else {
                let index = input.integer(if first & 0x40 != 0 { 6 } else { 4 }).expect("an index");
                let mut text = || {
                    let text = input.text().expect("a text");
                    Box::leak(String::from_utf8(text.bytes.to_vec()).expect("a text").into_boxed_str()) as &'static str
                };
                let name = if index == 0 { text() } else { self.get(index).0 };
                fields.push((name, text()));
                if first & 0x40 != 0 {
                    self.insert((name, fields[fields.len() - 1].1));
                }
            }
        }
        fields
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_integer(out, 0, 7, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn block(fields: &[Field], form: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut table = Table::new();
    fields.iter().for_each(|field| table.encode(&mut out, *field, form, true));
    out
}

#[test]
fn what_h2_refuses_and_etcd_takes_is_left_out() {
    for (field, is_left_out) in FIELDS {
        let around = [(":method", "POST"), field, ("user-agent", "x")];
        for form in 0..4 {
            let filtered = Fields::new().filter(&block(&around, form)).expect("well-formed");
            assert_eq!(filtered.is_some(), is_left_out, "{field:?} as {form}");
            if let Some(filtered) = filtered {
                assert_eq!(Table::new().decode(&filtered), [around[0], around[2]], "{field:?} as {form}");
            }
        }
    }
}

#[test]
fn what_both_refuse_stays() {
    for field in [(":authority", "a\nb"), (":authority", "\u{7f}"), ("te", "\0"), ("connection", "close")] {
        assert_eq!(Fields::new().filter(&block(&[field], 2)), Ok(None), "{field:?}");
    }
    let (good, odd) = ((":authority", "localhost"), (":authority", "/"));
    assert_eq!(Fields::new().filter(&block(&[good, good], 2)), Ok(None));
    for twice in [[good, odd], [odd, good], [odd, odd]] {
        let filtered = Fields::new().filter(&block(&twice, 2)).expect("well-formed").expect("something left out");
        assert!(filtered.contains(&REFUSED), "{twice:?}");
    }
}

#[test]
fn a_name_that_h2_does_not_have_is_named_otherwise() {
    let (mut client, mut fields, mut h2) = (Table::new(), Fields::new(), Table::new());
    let mut step = |field, form| {
        let mut block = Vec::new();
        client.encode(&mut block, field, form, true);
        let filtered = fields.filter(&block).expect("well-formed").unwrap_or(block);
        h2.decode(&filtered)
    };
    assert!(step((":authority", ""), 1).is_empty());
    assert_eq!(step((":authority", "localhost"), 1), [(":authority", "localhost")]);
    assert!(step(("te", "gzip"), 1).is_empty());
    assert!(step(("te", "trailers"), 1).is_empty(), "its name is not in the other table");
    assert_eq!(step((":authority", "localhost"), 0), [(":authority", "localhost")]);
    assert!(step((":authority", ""), 0).is_empty());
}

/// Requests of RFC 7541, appendices C.3 and C.4: untouched, and the table has the size that is told there.
#[test]
fn requests_of_the_rfc_pass() {
    let plain: [(&[u8], usize); 3] = [
        (b"\x82\x86\x84\x41\x0fwww.example.com", 57),
        (b"\x82\x86\x84\xbe\x58\x08no-cache", 110),
        (b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value", 164),
    ];
    let huffman: [(&[u8], usize); 3] = [
        (b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", 57),
        (b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf", 110),
        (b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", 164),
    ];
    for requests in [plain, huffman] {
        let mut fields = Fields::new();
        for (block, bytes) in requests {
            assert_eq!(fields.filter(block), Ok(None));
            assert_eq!(fields.bytes, bytes);
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_blocks_never_panic_nor_grow(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..8)) {
        let mut fields = Fields::new();
        for block in blocks {
            match fields.filter(&block) {
                Ok(Some(filtered)) => prop_assert!(filtered.len() <= block.len()),
                Ok(None) => {}
                Err(Malformed) => break,
            }
        }
    }

    /// Through evictions and changes of the table's size, whatever is left out.
    #[test]
    fn both_ends_mean_the_same_fields(
        blocks in prop::collection::vec(
            (prop::option::of(0..400usize), prop::collection::vec((0..FIELDS.len(), 0..4u8, any::<bool>()), 0..12)),
            1..40,
        ),
    ) {
        let (mut client, mut fields, mut h2) = (Table::new(), Fields::new(), Table::new());
        for (bytes_max, sent) in blocks {
            let (mut block, mut expected, mut has_authority) = (Vec::new(), Vec::new(), false);
            if let Some(bytes_max) = bytes_max {
                client.resize(bytes_max);
                put_integer(&mut block, 0x20, 5, bytes_max);
            }
            for (nth, form, named_by_index) in sent {
                let (field, is_left_out) = FIELDS[nth];
                if field.0 == ":authority" && std::mem::replace(&mut has_authority, true) {
                    continue;
                }
                client.encode(&mut block, field, form, named_by_index);
                expected.extend((!is_left_out).then_some(field));
            }
            let filtered = fields.filter(&block).expect("well-formed");
            prop_assert!(filtered.as_ref().is_none_or(|filtered| filtered.len() <= block.len()));
            let seen = h2.decode(filtered.as_ref().unwrap_or(&block));
            // `te` may be left out with its name, also when it is a usual one.
            let without_te = |fields: Vec<Field>| fields.into_iter().filter(|(name, _)| *name != "te").collect::<Vec<_>>();
            prop_assert_eq!(without_te(seen), without_te(expected));
            prop_assert_eq!(fields.bytes, client.entries.iter().map(|(n, v)| n.len() + v.len() + 32).sum::<usize>());
        }
    }
}
