//! Frames however they are cut.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::task::Waker;

/// A stream of chunks that arrive one by one.
struct Chunks(VecDeque<Vec<u8>>);

impl AsyncRead for Chunks {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut chunk) = self.0.pop_front() {
            let rest = chunk.split_off(chunk.len().min(buf.remaining()));
            buf.put_slice(&chunk);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What h2 gets of `bytes` that come in pieces of `cut`, read into a buffer of `space`.
fn handed_on(bytes: &[u8], cut: usize, space: usize) -> io::Result<Vec<u8>> {
    let mut stream = Chunks(bytes.chunks(cut).map(<[u8]>::to_vec).collect());
    let mut filter = HeaderFilter::new();
    let mut out = Vec::new();
    loop {
        let mut buffer = vec![0; space];
        let mut buf = ReadBuf::new(&mut buffer);
        match filter.poll_read(&mut stream, &mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => return Ok(out),
            Poll::Ready(Ok(())) => out.extend_from_slice(buf.filled()),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => unreachable!("chunks are there"),
        }
        assert!(filter.held.len() <= BLOCK_BYTES_MAX + cut.max(space));
    }
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Head { payload_bytes: payload.len(), kind, flags, stream: [0, 0, 0, 1] }.put(&mut out);
    out.extend_from_slice(payload);
    out
}

fn after_preface(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frames.concat()].concat()
}

const DATA: u8 = 0;
/// `:method: POST` and an authority that is left out.
const ODD: &[u8] = b"\x83\x41\x07/x.sock\x86";
const LEFT: &[u8] = b"\x83\x86";

#[test]
fn frames_come_out_right_however_they_are_cut() {
    let settings = frame(4, 0, &[0; 18]);
    let data = frame(DATA, 1, &[7; 3000]);
    let padded = [&[3][..], &[0, 0, 0, 0, 9], ODD, &[0; 3]].concat();
    let prioritised = [&[0, 0, 0, 0, 9], LEFT].concat();
    let came = after_preface(&[
        settings.clone(),
        frame(FRAME_HEADERS, FLAG_END_HEADERS, b"\x83\x86"),
        frame(FRAME_HEADERS, FLAG_END_HEADERS | 1, ODD),
        data.clone(),
        frame(FRAME_HEADERS, FLAG_END_HEADERS | FLAG_PADDED | FLAG_PRIORITY, &padded),
        frame(FRAME_HEADERS, 1, &ODD[..4]),
        frame(FRAME_CONTINUATION, 0, &ODD[4..9]),
        frame(FRAME_CONTINUATION, FLAG_END_HEADERS, &ODD[9..]),
        data.clone(),
        // The one that was left out, by its index.
        frame(FRAME_HEADERS, FLAG_END_HEADERS, b"\x83\xbe\x86"),
        frame(FRAME_HEADERS, 0, b"\x83"),
        frame(FRAME_CONTINUATION, FLAG_END_HEADERS, b"\x86"),
    ]);
    let expected = after_preface(&[
        settings,
        frame(FRAME_HEADERS, FLAG_END_HEADERS, b"\x83\x86"),
        frame(FRAME_HEADERS, FLAG_END_HEADERS | 1, LEFT),
        data.clone(),
        frame(FRAME_HEADERS, FLAG_END_HEADERS | FLAG_PRIORITY, &prioritised),
        frame(FRAME_HEADERS, FLAG_END_HEADERS | 1, LEFT),
        data,
        frame(FRAME_HEADERS, FLAG_END_HEADERS, LEFT),
        frame(FRAME_HEADERS, 0, b"\x83"),
        frame(FRAME_CONTINUATION, FLAG_END_HEADERS, b"\x86"),
    ]);
    for cut in [1, 2, 5, 8, 9, 10, 24, 25, 100, 3000, came.len()] {
        for space in [1, 7, 1000, came.len()] {
            assert_eq!(handed_on(&came, cut, space).expect("well-formed"), expected, "cut {cut}, space {space}");
        }
    }
}

#[test]
fn a_long_block_is_put_into_full_frames() {
    let long = [b"\x83\x41\x01/\x00\x01x\x7f\xa1\xff\x00".as_slice(), &[b'v'; 16_416]].concat();
    let came = after_preface(&[
        frame(FRAME_HEADERS, 0, &long[..16_000]),
        frame(FRAME_CONTINUATION, FLAG_END_HEADERS, &long[16_000..]),
    ]);
    let fields = [b"\x83\x00\x01x\x7f\xa1\xff\x00".as_slice(), &[b'v'; 16_416]].concat();
    let expected = after_preface(&[
        frame(FRAME_HEADERS, 0, &fields[..FRAME_BYTES_MAX]),
        frame(FRAME_CONTINUATION, FLAG_END_HEADERS, &fields[FRAME_BYTES_MAX..]),
    ]);
    assert_eq!(handed_on(&came, 4096, 4096).expect("well-formed"), expected);
}

#[test]
fn what_is_too_long_or_malformed_passes_with_everything_behind_it() {
    let parts = |parts: usize| -> Vec<Vec<u8>> {
        let front = [frame(FRAME_HEADERS, 0, b"\x83")];
        let parts = std::iter::repeat_n(frame(FRAME_CONTINUATION, 0, &[0x86; 4000]), parts);
        front.into_iter().chain(parts).chain([frame(FRAME_CONTINUATION, FLAG_END_HEADERS, b"\x86")]).collect()
    };
    let refused = [
        parts(9),
        parts(100),
        vec![frame(FRAME_HEADERS, 0, b"\x83"), frame(DATA, 0, b"in between")],
        vec![frame(FRAME_HEADERS, FLAG_END_HEADERS | FLAG_PADDED, b"\x09\x83")],
        vec![frame(FRAME_HEADERS, FLAG_END_HEADERS, b"\x41\x8c\x00")],
        vec![frame(FRAME_HEADERS, FLAG_END_HEADERS, b"\xff\xff\xff\xff\xff\xff")],
        vec![frame(FRAME_HEADERS, FLAG_END_HEADERS, &[0x86; FRAME_BYTES_MAX + 1])],
    ];
    let odd = frame(FRAME_HEADERS, FLAG_END_HEADERS, ODD);
    for frames in refused {
        let came = after_preface(&[frames.concat(), odd.clone()]);
        for cut in [1000, came.len()] {
            assert!(handed_on(&came, cut, 8192).expect("passed") == came, "{:?}", frames[0].get(..20));
        }
        let misleading = after_preface(&[odd.clone(), frames.concat()]);
        assert!(handed_on(&misleading, 1000, 8192).is_err(), "an index could mean something else");
    }
}

proptest! {
    #[test]
    fn arbitrary_frames_never_panic_nor_grow(
        frames in prop::collection::vec(
            (prop::sample::select(vec![DATA, FRAME_HEADERS, FRAME_CONTINUATION, 6]), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)),
            0..12,
        ),
        cut in 1..200usize,
    ) {
        let frames: Vec<Vec<u8>> = frames.iter().map(|(kind, flags, payload)| frame(*kind, *flags, payload)).collect();
        let came = after_preface(&frames);
        if let Ok(handed_on) = handed_on(&came, cut, 64) {
            prop_assert!(handed_on.len() <= came.len());
        }
    }
}
