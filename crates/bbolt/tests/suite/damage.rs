//! What is wrong with a file is said, and no file makes a walk long or wide.

use crate::builder::{Builder, PAGE, bucket_at, bucket_inside, leaf, page};
use bbolt::{Cursor, Database, Item, Result};

/// Keys of a bucket, with the keys of buckets inside in brackets.
fn walk(database: &Database<Vec<u8>>, bucket: &bbolt::Bucket) -> Result<Vec<String>> {
    let (mut cursor, mut keys) = (Cursor::new(database, bucket), Vec::new());
    while let Some((_, key, item)) = cursor.next_item()? {
        let key = key.escape_ascii().to_string();
        keys.push(match item {
            Item::Value(_) => key,
            Item::Bucket(inside) => format!("{key}[{}]", walk(database, &inside)?.join(" ")),
        });
    }
    Ok(keys)
}

fn walked(builder: &Builder) -> String {
    let database = builder.open().expect("its metas are whole");
    match walk(&database, &database.root()) {
        Ok(keys) => keys.join(" "),
        Err(error) => error.to_string(),
    }
}

fn problems(builder: &Builder) -> Vec<String> {
    builder.open().expect("its metas are whole").check().expect("memory can be read").problems
}

#[test]
fn trees_of_every_shape_are_walked_in_order() {
    let mut file = Builder::new();
    let long = vec![b'v'; 3 * PAGE];
    let low = file.leaf(&[(b"a", b"1", false), (b"b", &long, false)]);
    let high = file.leaf(&[(b"c", b"", false)]);
    let tree = file.branch(&[(b"a", low), (b"c", high)]);
    let empty = file.leaf(&[]);
    let inside = bucket_inside(&leaf(0, &[(b"x", b"y", false)]));
    let names: [(&[u8], &[u8], bool); 3] =
        [(b"empty", &bucket_at(empty), true), (b"inside", &inside, true), (b"tree", &bucket_at(tree), true)];
    file.root = file.leaf(&names);
    assert_eq!(walked(&file), "empty[] inside[x] tree[a b c]");
    assert_eq!(problems(&file), [""; 0]);
    let database = file.open().expect("whole");
    assert_eq!(database.check().expect("read").pages_in_use, database.meta().pages);
    let bucket = database.bucket("tree").expect("read").expect("is there");
    let mut cursor = Cursor::new(&database, &bucket);
    cursor.next_item().expect("read");
    let (position, ..) = cursor.next_item().expect("read").expect("two are there");
    let Ok((key, Item::Value(value))) = bucket.item(&database, position) else { panic!("it was there") };
    assert_eq!((&key[..], &value[..]), (&b"b"[..], &long[..]));
}

#[test]
fn a_page_that_leads_back_ends_the_walk() {
    let mut file = Builder::new();
    file.root = file.branch(&[(b"a", 2), (b"b", 2)]);
    assert_eq!(walked(&file), "page 2: it comes twice in one tree");
    assert_eq!(problems(&file), ["page 2: it is reached a second time"; 2]);
}

#[test]
fn a_tree_of_one_branch_after_the_other_ends() {
    let mut file = Builder::new();
    for child in 3..80 {
        file.branch(&[(b"a", child)]);
    }
    file.leaf(&[]);
    file.root = 2;
    assert_eq!(walked(&file), "page 34: it lies deeper than 32 pages");
    assert_eq!(problems(&file), ["page 34: it lies deeper than 32 pages"]);
}

#[test]
fn keys_out_of_order_or_place_are_seen() {
    let mut file = Builder::new();
    file.root = file.leaf(&[(b"b", b"", false), (b"a", b"", false)]);
    assert_eq!(walked(&file), "page 2: key 1 is not behind the one before it");
    assert_eq!(problems(&file), ["page 2: key 1 is not behind the one before it"]);
    let mut file = Builder::new();
    let (low, high) = (file.leaf(&[(b"a", b"", false), (b"d", b"", false)]), file.leaf(&[(b"e", b"", false)]));
    file.root = file.branch(&[(b"a", low), (b"c", high)]);
    assert_eq!(problems(&file), ["page 2: key 1 lies outside of what its parent says"]);
}

#[test]
fn elements_that_share_bytes_or_reach_out_are_refused() {
    let mut file = Builder::new();
    let mut shared = leaf(2, &[(b"a", b"12345678", false), (b"b", b"12345678", false)]);
    // The second element's position, moved to the first one's bytes.
    shared[16 + 16 + 4] -= 8;
    file.root = file.push(shared);
    assert_eq!(walked(&file), "page 2: element 1 shares bytes with the one before it");
    let mut file = Builder::new();
    let mut long = leaf(2, &[(b"a", b"1", false)]);
    long[16 + 12..16 + 16].copy_from_slice(&[0xff; 4]);
    file.root = file.push(long);
    assert_eq!(walked(&file), "page 2: element 0 of 1 reaches out of the page");
    let mut file = Builder::new();
    file.root = file.push(page(2, 2, u16::MAX, b""));
    assert_eq!(walked(&file), "page 2: key 1 is not behind the one before it");
}

#[test]
fn pages_that_are_not_there_or_too_large_are_not_read() {
    let mut file = Builder::new();
    file.root = 7;
    assert_eq!(walked(&file), "page 7: it is not in the file, which has 2 pages by its own account and 8192 bytes");
    let mut file = Builder::new();
    let mut huge = page(2, 2, 0, b"");
    huge[12..16].copy_from_slice(&[0xff; 4]);
    file.root = file.push(huge);
    assert!(walked(&file).starts_with("page 4294967297: it is not in the file"));
    let mut file = Builder::new();
    file.root = file.push(page(9, 2, 0, b""));
    assert_eq!(walked(&file), "page 2: it says that it is page 9");
}

#[test]
fn a_bucket_in_a_value_is_a_leaf_and_holds_none() {
    let inside = bucket_inside(&page(0, 1, 1, &[0; 16]));
    let mut file = Builder::new();
    file.root = file.leaf(&[(b"a", &inside, true)]);
    assert_eq!(walked(&file), "page 0: a bucket in a value has a branch");
    let nested = bucket_inside(&leaf(0, &[(b"b", &inside, true)]));
    let mut file = Builder::new();
    file.root = file.leaf(&[(b"a", &nested, true)]);
    assert_eq!(problems(&file), ["page 0: a bucket in a value has a bucket"]);
    let mut file = Builder::new();
    file.root = file.leaf(&[(b"a", b"short", true)]);
    assert_eq!(walked(&file), "page 2: the header of a bucket is cut off");
}

#[test]
fn a_free_list_and_the_tree_share_the_file_without_rest() {
    let made = |free: &dyn Fn(u64) -> Vec<u64>| {
        let mut file = Builder::new();
        let unused = file.push(page(2, 2, 0, b""));
        file.root = file.leaf(&[]);
        file.freelist = Some(file.freelist(&free(unused)));
        problems(&file)
    };
    assert_eq!(made(&|unused| vec![unused]), [""; 0]);
    assert_eq!(made(&|_| vec![]), ["page 2: it is neither in use nor free"]);
    assert_eq!(made(&|unused| vec![unused, 3]), ["page 3: it is in use, and in the free list"]);
    assert_eq!(made(&|unused| vec![unused, unused]), ["page 4: free page 2 is not behind the one before it"]);
    assert_eq!(made(&|unused| vec![unused, 99]), ["page 99: it is free, and not in the file"]);
}

#[test]
fn a_cut_file_says_where_it_ends() {
    let mut file = Builder::new();
    let low = file.leaf(&[(b"a", b"", false)]);
    let high = file.leaf(&[(b"b", b"", false)]);
    file.root = file.branch(&[(b"a", low), (b"b", high)]);
    let mut bytes = file.bytes();
    bytes.truncate(3 * PAGE + 10);
    let database = Database::open(bytes).expect("the metas are there");
    let problems = database.check().expect("read").problems;
    assert_eq!(problems[0], "the file ends after page 3, and by its own account it has 5");
}
