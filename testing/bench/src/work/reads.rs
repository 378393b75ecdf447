//! Gets, pages, counts and full lists.

use super::{drive, key, kv, load, seconds, value};
use crate::report::{Figure, quantile};
use harness::Server;
use proto::etcdserverpb::{PutRequest, RangeRequest};
use std::time::Instant;

const GET_KEYS: usize = 10_000;
const PREFIX: &[u8] = b"/registry/pods/";
const PREFIX_END: &[u8] = b"/registry/pods0";

pub async fn gets(server: &mut Server, scale: f64, serializable: bool) -> Vec<Figure> {
    load(server, GET_KEYS, 256).await;
    let measured = drive(server, 100, seconds(scale, 4.0), move |mut client, number| async move {
        let key = key(number.wrapping_mul(7919) % GET_KEYS);
        let range = RangeRequest { key, serializable, ..RangeRequest::default() };
        let answer = client.range(range).await.expect("get succeeds").into_inner();
        assert_eq!(answer.kvs.len(), 1);
    })
    .await;
    measured.figures()
}

/// Pages of 500 from changing places, counts, memory and the time to restart, on `total` keys of 60 B with 100 B
/// values.
pub async fn pages(server: &mut Server, scale: f64, total: usize) -> Vec<Figure> {
    load(server, total, 100).await;
    let anonymous = server.anonymous_bytes();
    let channel = server.channel().await;
    let mut client = kv(&channel);
    let rounds = ((200.0 * scale) as usize).max(20);
    let (mut page_us, mut count_us, mut next_us) = (Vec::new(), Vec::new(), Vec::new());
    let cpu = server.cpu();
    for round in 0..rounds {
        let start = key(round.wrapping_mul(104_729) % (total - 1000));
        let range = |key: bytes::Bytes| RangeRequest { key, range_end: PREFIX_END.into(), ..RangeRequest::default() };
        let started = Instant::now();
        let page = RangeRequest { limit: 500, ..range(start) };
        let answer = client.range(page).await.expect("page succeeds").into_inner();
        page_us.push(started.elapsed().as_secs_f64() * 1e6);
        assert_eq!(answer.kvs.len(), 500);
        // The second page as kube-apiserver asks for it: behind the last key, at the first page's revision.
        let last = answer.kvs.last().expect("a page has keys");
        let header = answer.header.expect("an answer has a header");
        let put = PutRequest { key: key(round), value: value(100, round), ..PutRequest::default() };
        client.put(put).await.expect("put succeeds");
        let mut behind = last.key.to_vec();
        behind.push(0);
        let second = RangeRequest { limit: 500, revision: header.revision, ..range(behind.into()) };
        let started = Instant::now();
        client.range(second).await.expect("second page succeeds");
        next_us.push(started.elapsed().as_secs_f64() * 1e6);
        let started = Instant::now();
        let count = RangeRequest { count_only: true, ..range(PREFIX.into()) };
        let answer = client.range(count).await.expect("count succeeds").into_inner();
        count_us.push(started.elapsed().as_secs_f64() * 1e6);
        assert_eq!(answer.count as usize, total);
    }
    let cpu = (server.cpu() - cpu).as_secs_f64() * 1e6 / rounds as f64;
    let restart = server.restart().await;
    vec![
        Figure::new("page of 500, p50", "µs", quantile(&mut page_us, 0.5)),
        Figure::new("next page at its revision, p50", "µs", quantile(&mut next_us, 0.5)),
        Figure::new("count of all, p50", "µs", quantile(&mut count_us, 0.5)),
        Figure::new("server CPU per two pages, a put and a count", "µs", cpu),
        Figure::new("anonymous memory after load", "MB", anonymous / 1e6),
        Figure::new("kill -9 to first linearizable read", "ms", restart.as_secs_f64() * 1e3),
    ]
}

/// 100 k keys of 1 KiB: all at once, then in pages of 500.
pub async fn full_list(server: &mut Server, scale: f64) -> Vec<Figure> {
    const TOTAL: usize = 100_000;
    load(server, TOTAL, 1024).await;
    let channel = server.channel().await;
    let mut client = kv(&channel);
    let (mut whole_ms, mut paged_ms) = (Vec::new(), Vec::new());
    let (rounds, mut extra) = (((5.0 * scale) as usize).max(1), Vec::new());
    for _ in 0..rounds {
        server.reset_peak();
        let before = server.peak_bytes();
        let all = RangeRequest { key: PREFIX.into(), range_end: PREFIX_END.into(), ..RangeRequest::default() };
        let started = Instant::now();
        let answer = client.range(all).await.expect("list succeeds").into_inner();
        whole_ms.push(started.elapsed().as_secs_f64() * 1e3);
        extra.push((server.peak_bytes() - before) / 1e6);
        assert_eq!(answer.kvs.len(), TOTAL);
        drop(answer);
        let (mut next, mut pages, started) = (PREFIX.to_vec(), 0, Instant::now());
        loop {
            let page =
                RangeRequest { key: next.into(), range_end: PREFIX_END.into(), limit: 500, ..RangeRequest::default() };
            let answer = client.range(page).await.expect("page succeeds").into_inner();
            pages += 1;
            if !answer.more {
                break;
            }
            next = answer.kvs.last().map(|kv| [kv.key.as_ref(), &[0]].concat()).expect("a page has keys");
        }
        paged_ms.push(started.elapsed().as_secs_f64() * 1e3 / pages as f64);
    }
    vec![
        Figure::new("all at once, p50", "ms", quantile(&mut whole_ms, 0.5)),
        Figure::new("a page, p50", "ms", quantile(&mut paged_ms, 0.5)),
        Figure::new("peak memory added by the list", "MB", quantile(&mut extra, 0.5)),
    ]
}
