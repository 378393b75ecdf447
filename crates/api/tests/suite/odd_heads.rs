//! Calls whose head is none by HTTP's book, as etcd's clients and the proxies in front of them send it: each is
//! answered, as grpc-go answers it, and the connection goes on.

use crate::server::{Server, put};
use prost::Message;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `#initially=[127.0.0.1:2379;http://127.0.0.1:2379]`, as clientv3 3.5.0 has it, in HPACK's Huffman code.
const INITIALLY: &[u8] =
    b"\xff\xa3\x54\x64\x98\x74\x51\xea\x0f\xfd\x84\x4e\xae\x05\xc0\xb8\x6e\x09\x97\x5f\xfb\x9d\x29\
    \xae\xe3\x0c\x04\x4e\xae\x05\xc0\xb8\x6e\x09\x97\x5f\xff\xe7";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A field that is written out; it enters the table if `pattern` is 0x40.
fn literal(pattern: u8, name: &str, value: &str) -> Vec<u8> {
    [&[pattern, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

fn authority(value: &str) -> Vec<u8> {
    [&[0x41, value.len() as u8], value.as_bytes()].concat()
}

/// Method, scheme and path of a put, the field, and what makes it a gRPC call.
fn head(authority: &[u8], field: &[u8]) -> Vec<u8> {
    let path = [&[0x04, 20], b"/etcdserverpb.KV/Put".as_slice()].concat();
    let grpc = [&[0x0f, 16, 16], b"application/grpc".as_slice()].concat();
    [b"\x83\x86", authority, &path, &grpc, field].concat()
}

/// A connection that writes its frames itself.
struct Client {
    socket: TcpStream,
    last_stream: u32,
}

impl Client {
    async fn connect(server: &Server) -> Client {
        let mut socket = TcpStream::connect(server.address()).await.expect("connected");
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
        socket.write_all(&hello).await.expect("written");
        Client { socket, last_stream: 0 }
    }

    /// Puts with this head, which is cut into frames behind `first` bytes; true if a message and the end came back.
    async fn is_answered(&mut self, head: &[u8], first: usize) -> bool {
        self.last_stream += 2;
        let stream = self.last_stream - 1;
        let message = put("k", "v").encode_to_vec();
        let body = [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat();
        let (front, rest) = head.split_at(first.min(head.len()));
        let head = match rest {
            [] => frame(HEADERS, END_HEADERS, stream, front),
            rest => {
                let rest = frame(CONTINUATION, END_HEADERS, stream, rest);
                [frame(HEADERS, 0, stream, front), rest].concat()
            }
        };
        self.socket.write_all(&[head, frame(DATA, END_STREAM, stream, &body)].concat()).await.expect("written");
        tokio::time::timeout(Duration::from_secs(20), self.answer(stream)).await.expect("in time")
    }

    async fn answer(&mut self, stream: u32) -> bool {
        let mut has_message = false;
        loop {
            let mut head = [0; 9];
            self.socket.read_exact(&mut head).await.expect("the connection is open");
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.socket.read_exact(&mut payload).await.expect("the connection is open");
            let (kind, flags, of) = (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
            if of != stream {
                continue;
            }
            has_message |= kind == DATA && payload.len() > 5;
            if kind == RESET || flags & END_STREAM != 0 {
                return has_message && kind != RESET;
            }
        }
    }
}

#[tokio::test]
async fn odd_authorities_are_answered() {
    let server = Server::start();
    let initially = [&[0x41, 0x80 | INITIALLY.len() as u8], INITIALLY].concat();
    let long = "/".repeat(120);
    let odd =
        ["", "/", "/tmp/x.sock", "%2Ftmp%2Fx.sock", "a b", "#initially=[a;http://a]", "a:b:c", "[::1", "é", &long];
    let written = odd.iter().map(|value| authority(value)).chain([initially]);
    let mut shared = Client::connect(&server).await;
    for (nth, written) in (1..).zip(written) {
        let mut own = Client::connect(&server).await;
        for client in [&mut own, &mut shared] {
            for first in [usize::MAX, 0, 1, 3, 5] {
                assert!(client.is_answered(&head(&written, b""), first).await, "{written:02x?} cut at {first}");
                // It is the newest of the table now.
                assert!(client.is_answered(&head(b"\xbe", b""), first).await, "{written:02x?} by its index");
            }
            let usual = authority("localhost:2379");
            assert!(client.is_answered(&head(&usual, b""), usize::MAX).await, "behind {written:02x?}");
            let behind = head(b"\xbe", &literal(0x40, "x", "y"));
            assert!(client.is_answered(&behind, usize::MAX).await, "the usual one by its index");
        }
        let of_static_table = head(b"\x81", b"");
        assert!(own.is_answered(&of_static_table, usize::MAX).await, "the empty one of the static table");
        assert_eq!(server.node.view().revision().0, 1 + nth * 25, "each was carried out");
    }
}

#[tokio::test]
async fn fields_that_mean_nothing_here_are_answered() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let usual = authority("localhost");
    let table = [
        ("te", "trailers"),
        ("te", "gzip"),
        ("te", "trailers, deflate;q=0.5"),
        ("te", ""),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
    ];
    for (name, value) in table {
        for pattern in [0x00, 0x10, 0x40] {
            let head = head(&usual, &literal(pattern, name, value));
            assert!(client.is_answered(&head, usize::MAX).await, "{name}: {value}");
        }
        // By its index, which is the newest of the table, with an authority in front that enters it as well.
        assert!(client.is_answered(&head(b"\xbf", b"\xbe"), usize::MAX).await, "{name}: {value} by its index");
    }
    // With grpc-go, too.
    assert!(!client.is_answered(&head(&usual, &literal(0, "connection", "close")), usize::MAX).await);
    assert!(!client.is_answered(&head(&authority("a\nb"), b""), usize::MAX).await);
    assert!(!client.is_answered(&head(&[authority("/"), usual.clone()].concat(), b""), usize::MAX).await);
    assert!(client.is_answered(&head(&usual, b""), usize::MAX).await, "the connection goes on");
}
