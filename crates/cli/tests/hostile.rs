//! Clients that flood, stall or talk nonsense, against a member as a process: it goes on, others are answered, and what
//! it holds for them is bounded. Bytes are written by hand, since no HTTP/2 library would send them.
//!
//! Not here: single wrong requests and their answers (the suite of `api`).

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A deadline of the server for those that say nothing is 10 s.
const SILENCE: Duration = Duration::from_secs(10);
/// What a hundred megabytes of nonsense may leave behind in memory; the debug build and its allocator included.
const HELD_BYTES_MAX: u64 = 64 << 20;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

struct Member {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Member {
    fn start() -> Member {
        Member::start_with(&[])
    }

    fn start_with(flags: &[&str]) -> Member {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.arg("server").arg("--data-dir").arg(folder.path().join("data")).env_clear();
        for flag in ["--listen-client-urls", "--advertise-client-urls", "--listen-peer-urls"] {
            command.args([flag, "http://127.0.0.1:0"]);
        }
        let mut child =
            command.args(flags).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("the binary runs");
        let mut records = BufReader::new(child.stderr.take().expect("it was asked to be piped")).lines();
        let mut address = String::new();
        loop {
            let line = records.next().expect("it becomes ready").expect("readable");
            let record: serde_json::Value = serde_json::from_str(&line).expect("a record");
            if record["msg"] == "serving client traffic insecurely; this is strongly discouraged!" {
                address = record["address"].as_str().expect("an address").to_owned();
            }
            if record["msg"] == "ready to serve client requests" {
                break;
            }
        }
        // Whatever it still has to say must not stop it; a panic would be among it.
        std::thread::spawn(move || {
            for line in records.map_while(Result::ok).filter(|line| line.contains("panic")) {
                eprintln!("{line}");
            }
        });
        Member { child, address, _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    /// A connection that has begun to speak HTTP/2.
    fn connect_http2(&self) -> TcpStream {
        let mut socket = self.connect();
        socket.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).expect("it reads");
        socket
    }

    /// A linearizable read, over connections enough to reach every thread that serves some.
    fn others_are_answered(&self) {
        for _ in 0..8 {
            let mut socket = self.connect();
            socket.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).expect("it answers");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }

    fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it has resident memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    fn metric(&self, name: &str) -> f64 {
        let mut socket = self.connect();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it answers");
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("a metric");
        line.parse().expect("a number")
    }

    /// A connection whose client reads nothing from now on: each stream's window and the connection's are as given.
    fn connect_unread(&self, stream_window: u32, connection_window_more: u32) -> TcpStream {
        let mut socket = self.connect();
        let [a, b, c, d] = stream_window.to_be_bytes();
        let mut begin = [PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, a, b, c, d])].concat();
        if connection_window_more > 0 {
            begin.extend(frame(WINDOW_UPDATE, 0, 0, &connection_window_more.to_be_bytes()));
        }
        socket.write_all(&begin).expect("it reads");
        // The server's window of the connection is open once it has said so.
        let (mut said, mut bytes) = (Vec::new(), [0; 256]);
        while !said.windows(4).any(|head| head == [0, 0, 4, WINDOW_UPDATE]) {
            let count = socket.read(&mut bytes).expect("it answers");
            assert!(count > 0, "it goes on");
            said.extend_from_slice(&bytes[..count]);
        }
        // What the server takes no more of is not sent.
        socket.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        socket
    }

    /// Sends `bytes` again and again while others are answered, until the server has ended the connection, `bytes_max`
    /// are sent, or the server takes no more of it; then checks memory.
    fn flooded(&self, what: &str, mut socket: TcpStream, bytes: &[u8], bytes_max: usize) {
        let before = self.resident_bytes();
        let is_over = AtomicBool::new(false);
        socket.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let rounds = bytes_max / bytes.len() + 1;
                let _ = (0..rounds).try_for_each(|_| socket.write_all(bytes));
                is_over.store(true, Ordering::Release);
            });
            loop {
                self.others_are_answered();
                if is_over.load(Ordering::Acquire) {
                    break;
                }
            }
        });
        let held = self.resident_bytes().saturating_sub(before);
        assert!(held < HELD_BYTES_MAX, "{what}: {} MiB are held", held >> 20);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let has_ended = self.child.try_wait().expect("asked");
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            assert_eq!(has_ended, None, "the server ended");
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of literal headers, short ones only.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        assert!(name.len() < 127 && value.len() < 127, "longer ones need another form");
        block.extend([&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat());
    }
    block
}

fn call() -> Vec<u8> {
    call_of("/etcdserverpb.KV/Put")
}

fn call_of(path: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// True once the server has ended the connection; what it says before is read and dropped.
fn ends(mut socket: TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// A call with its message, of which the last `missing` bytes and the end are left out if there are any.
fn request(stream: u32, path: &str, message: &[u8], missing: usize) -> Vec<u8> {
    let framed = [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat();
    let mut out = frame(HEADERS, END_HEADERS, stream, &call_of(path));
    framed[..framed.len() - missing].chunks(16 << 10).for_each(|chunk| out.extend(frame(DATA, 0, stream, chunk)));
    if missing == 0 {
        out.extend(frame(DATA, END_STREAM, stream, &[]));
    }
    out
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let (mut out, mut length) = (vec![number << 3 | 2], content.len());
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    [&out, content].concat()
}

/// Everything that clients can leave unread or unfinished, at once.
#[test]
fn what_clients_do_not_read_or_finish_holds_no_more_than_the_limit() {
    const KEYS: u32 = 3000;
    const LIMIT_MIB: u64 = 64;
    let member = Member::start_with(&["--memory-in-flight-mib=64"]);
    let mut writer = member.connect_unread(65_535, 0);
    writer.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let mut answers = writer.try_clone().expect("a handle");
    let reader = std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
    for key in 0..KEYS {
        let put = [field(1, format!("key/{key:05}").as_bytes()), field(2, &vec![key as u8; 20_000])].concat();
        writer.write_all(&request(2 * key + 1, "/etcdserverpb.KV/Put", &put, 0)).expect("it reads");
        // No more than the window of the connection takes, of which nothing is read here.
        while (key == 0 || key % 50 == 49) && member.metric("etcd_debugging_mvcc_keys_total") < f64::from(key + 1) {}
    }
    let before = member.resident_bytes();

    let everything = [field(1, &[0]), field(2, &[0])].concat();
    let txn = field(2, &field(1, &everything)).repeat(7);
    let by_value = [&everything[..], &[5 << 3, 1, 6 << 3, 4]].concat();
    let watch = field(1, &[&everything[..], &[3 << 3, 1]].concat());
    let large = [field(1, b"large"), field(2, &vec![7; 900_000])].concat();
    let scrape = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/metrics"), (":authority", "localhost")]);
    let mut unread = Vec::new();
    let mut leave = |connections: usize, windows: (u32, u32), streams: u32, bytes: &dyn Fn(u32) -> Vec<u8>| {
        for _ in 0..connections {
            let mut socket = member.connect_unread(windows.0, windows.1);
            let _ = (0..streams).try_for_each(|stream| socket.write_all(&bytes(2 * stream + 1)));
            unread.push(socket);
        }
    };
    let (small, default, huge) = ((300, 0), (65_535, 0), (0x7fff_ffff, 0x7fff_0000));
    for windows in [small, default, huge] {
        leave(3, windows, 3, &|stream| request(stream, "/etcdserverpb.KV/Txn", &txn, 0));
        leave(3, windows, 50, &|stream| request(stream, "/etcdserverpb.KV/Range", &everything, 0));
        leave(2, windows, 20, &|stream| request(stream, "/etcdserverpb.KV/RangeStream", &everything, 0));
        leave(2, windows, 5, &|stream| request(stream, "/etcdserverpb.KV/Range", &by_value, 0));
        leave(4, windows, 25, &|stream| request(stream, "/etcdserverpb.Watch/Watch", &watch, 0));
        leave(1, windows, 500, &|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &scrape));
        leave(6, windows, 10, &|stream| request(stream, "/etcdserverpb.KV/Put", &large, 1000));
    }
    for _ in 0..20 {
        member.others_are_answered();
    }
    let peak = member.memory("VmHWM:").saturating_sub(before);
    // Beside it: the streams and connections themselves, what each connection has free, and the allocator.
    assert!(peak < (LIMIT_MIB << 20) + 2 * HELD_BYTES_MAX, "{} MiB were held", peak >> 20);
    drop(unread);
    // It reads, but opens no windows, so that answers wait for it too.
    let _ = writer.shutdown(Shutdown::Both);
    let _ = reader.join();
    let began = Instant::now();
    while member.metric("bowline_in_flight_bytes") > 0.0 {
        assert!(began.elapsed() < PATIENCE, "what nobody waits for is given back");
    }
}

/// CVE-2023-44487: calls that are begun and taken back at once.
#[test]
fn r81_calls_taken_back_at_once_cost_nothing() {
    let member = Member::start();
    let mut streams = Vec::new();
    for stream in (1..200_001).step_by(2) {
        streams.extend(frame(HEADERS, END_HEADERS, stream, &call()));
        streams.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let socket = member.connect_http2();
    let bytes_max = streams.len() - 1;
    member.flooded("reset calls", socket.try_clone().expect("a handle"), &streams, bytes_max);
    assert!(ends(socket), "such a client is sent away");
}

/// CVE-2019-9515 and its like: frames that each want an answer, from a client that reads none.
#[test]
fn r81_floods_of_small_frames_hold_no_memory() {
    let member = Member::start();
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(4000);
    member.flooded("settings", member.connect_http2(), &settings, 64 << 20);
    let updates = frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(4000);
    member.flooded("window updates", member.connect_http2(), &updates, 16 << 20);
    let empty = [frame(HEADERS, END_HEADERS, 1, &call()), frame(DATA, 0, 1, &[]).repeat(4000)].concat();
    member.flooded("empty data", member.connect_http2(), &empty, empty.len());
    let unknown = frame(0x77, 0, 0, &[7; 1000]).repeat(100);
    member.flooded("unknown frames", member.connect_http2(), &unknown, 64 << 20);
}

/// CVE-2024-27316: a list of headers that goes on for ever.
#[test]
fn r81_headers_without_end_are_cut_off() {
    let member = Member::start();
    let mut socket = member.connect_http2();
    socket.write_all(&frame(HEADERS, END_STREAM, 1, &call())).expect("it reads");
    let more = frame(CONTINUATION, 0, 1, &block(&[("x", "y")]).repeat(2000)).repeat(10);
    member.flooded("continuations", socket.try_clone().expect("a handle"), &more, 64 << 20);
    assert!(ends(socket), "such a client is sent away");
}

/// CVE-2016-6581: a long header kept in the table of the compression, and named again in one byte.
#[test]
fn r81_headers_that_grow_when_unpacked_are_refused() {
    let member = Member::start();
    let mut socket = member.connect_http2();
    // Literal with indexing: the name x, a value of 127 + 3873 bytes; then the newest entry of the table, many times.
    let kept = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
    let first = [call(), kept].concat();
    socket.write_all(&frame(HEADERS, END_HEADERS, 1, &first)).expect("it reads");
    let bomb = [call(), vec![0xbe; 16_000]].concat();
    let bombs: Vec<u8> = (3..2003).step_by(2).flat_map(|stream| frame(HEADERS, END_HEADERS, stream, &bomb)).collect();
    let bytes_max = bombs.len() - 1;
    member.flooded("bombs", socket, &bombs, bytes_max);
    member.others_are_answered();
}

/// Calls that are begun, by the thousand, and never get their message; the server forgets them with the connection.
#[test]
fn r81_calls_that_never_go_on_are_forgotten_with_their_connection() {
    let member = Member::start();
    let begun: Vec<u8> =
        (1..20_001).step_by(2).flat_map(|stream| frame(HEADERS, END_HEADERS, stream, &call())).collect();
    for _ in 0..4 {
        member.flooded("begun calls", member.connect_http2(), &begun, begun.len() - 1);
    }
    member.others_are_answered();
}

/// Frames that no client may send end its connection, and that only.
#[test]
fn r81_wrong_frames_end_their_connection() {
    let member = Member::start();
    let huge = [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 1 << 15]].concat();
    let table = [
        ("data without a stream", frame(DATA, 0, 0, b"x")),
        ("data on an idle stream", frame(DATA, 0, 5, b"x")),
        ("a frame above the size", huge),
        ("an even stream", frame(HEADERS, END_HEADERS, 2, &call())),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("settings of odd length", frame(SETTINGS, 0, 0, &[0; 5])),
        ("a window above the limit", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("an initial window above the limit", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("a reset of an idle stream", frame(RST_STREAM, 0, 9, &[0; 4])),
        ("a short reset", frame(RST_STREAM, 0, 1, &[0; 3])),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &call())),
        ("headers that do not unpack", frame(HEADERS, END_HEADERS, 1, &[0xff; 64])),
        ("something between headers", [frame(HEADERS, 0, 1, &call()), frame(SETTINGS, 0, 0, &[])].concat()),
        ("a goodbye of odd length", frame(GOAWAY, 0, 0, &[0; 3])),
    ];
    for (what, bytes) in table {
        let mut socket = member.connect_http2();
        socket.write_all(&bytes).expect("it reads");
        assert!(ends(socket), "{what}");
        member.others_are_answered();
    }
}

/// Bytes that are no protocol at all, by a generator with a fixed seed.
#[test]
fn r82_garbage_ends_its_connection() {
    let member = Member::start();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for round in 0..200 {
        let garbage: Vec<u8> = (0..64 + round * 8).map(|_| next()).collect();
        let mut socket = if round % 2 == 0 { member.connect() } else { member.connect_http2() };
        // The server may have ended the connection half-way.
        let _ = socket.write_all(&garbage);
        let _ = socket.shutdown(Shutdown::Write);
        assert!(ends(socket), "round {round}");
    }
    member.others_are_answered();
}

/// Connections that say nothing, or one byte now and then: each is ended, and while there are hundreds others are
/// answered.
#[test]
fn r81_r95_silent_and_slow_connections_are_ended() {
    let member = Member::start();
    let before = member.resident_bytes();
    let starts: [&[u8]; 4] = [b"", b"\x16\x03\x01\x02", b"GET /health HT", &PREFACE[..20]];
    let sockets: Vec<TcpStream> = (0..400)
        .map(|n| {
            let mut socket = member.connect();
            socket.write_all(starts[n % starts.len()]).expect("it reads");
            socket
        })
        .collect();
    // A slow one: a header of HTTP/1 letter by letter, for as long as the server lets it.
    let mut slow = member.connect();
    let began = Instant::now();
    slow.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    slow.write_all(b"GET /health HTTP/1.1\r\nX: ").expect("it reads");
    while began.elapsed() < PATIENCE && slow.write_all(b"x").is_ok() {
        match slow.read(&mut [0; 512]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(count) if count > 0 => {}
            _ => break,
        }
        member.others_are_answered();
    }
    assert!(began.elapsed() < SILENCE * 3, "the slow one was let go on for {:?}", began.elapsed());
    for socket in sockets {
        assert!(ends(socket));
    }
    let held = member.resident_bytes().saturating_sub(before);
    assert!(held < HELD_BYTES_MAX, "{} MiB are held", held >> 20);
}
