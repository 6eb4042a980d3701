//! permessage-deflate (RFC 7692): agreed to, compressed once, inflated within
//! limits.

use std::io::{Read, Write};
use std::net::TcpStream;

use hubcast::{Config, Running, Server, SlowConsumer};
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use miniz_oxide::inflate::decompress_to_vec;

use crate::kit::frame::{FIN, Opcode, RSV1, fragment, masked, masked_as};
use crate::kit::http::{UPGRADE, read_head, request};
use crate::support::{Raw, dial, eventually, server, wait_closed};

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const COMPRESSED_TEXT: u8 = FIN | RSV1 | Opcode::Text as u8;
const COMPRESSED_BINARY: u8 = FIN | RSV1 | Opcode::Binary as u8;

fn deflating(change: impl FnOnce(&mut Config)) -> Running {
    server(|config| {
        config.deflate = true;
        change(config);
    })
}

/// Joins with this offer; returns the answer's extensions, too.
fn offer(server: &Running, offer: &str) -> (Raw, Option<String>) {
    let before = server.handle().stats().joins;
    let mut stream = dial(server.local_addr());
    let extensions = format!("Sec-WebSocket-Extensions: {offer}");
    let headers = [&UPGRADE[..], &[&extensions]].concat();
    stream
        .write_all(&request("GET / HTTP/1.1", &headers))
        .unwrap();
    let head = read_head(&mut stream).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    eventually("the client to join", || {
        server.handle().stats().joins > before
    });
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
    (Raw { stream }, line.map(str::to_owned))
}

/// A client that has agreed.
fn join(server: &Running) -> Raw {
    let (raw, answer) = offer(server, OFFER);
    let expected = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(answer.as_deref(), Some(expected));
    raw
}

/// The next frame: its first byte and its payload.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let len = match head[1] {
        126 => {
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            usize::from(u16::from_be_bytes(len))
        }
        127 => {
            let mut len = [0; 8];
            stream.read_exact(&mut len).unwrap();
            u64::from_be_bytes(len) as usize
        }
        len => usize::from(len),
    };
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).unwrap();
    (head[0], payload)
}

/// The next message, inflated, and whether it was compressed.
#[track_caller]
fn message(raw: &mut Raw) -> (bool, Vec<u8>) {
    let (first, payload) = frame(&mut raw.stream);
    assert!(first & 0xf <= 2, "{first:x} {payload:?}");
    if first & RSV1 == 0 {
        return (false, payload);
    }
    let end = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
    let whole = decompress_to_vec(&[&payload[..], &end].concat()).unwrap();
    assert!(payload.len() < whole.len());
    (true, whole)
}

fn json(len: usize) -> String {
    let text = (0..).map(|n: u32| format!("{{\"symbol\":\"HUB\",\"price\":{}}},", n * n));
    let mut all = String::new();
    for part in text {
        if all.len() >= len {
            break;
        }
        all.push_str(&part);
    }
    all.truncate(len);
    all
}

#[test]
fn each_member_of_a_room_gets_the_form_that_it_agreed_to() {
    let server = deflating(|config| config.deflate_threshold = 100);
    let mut plain = Raw::connect(&server, "/");
    let mut full = join(&server);
    let (mut medium, answer) = offer(&server, "permessage-deflate; server_max_window_bits=13");
    assert!(answer.unwrap().ends_with("; server_max_window_bits=13"));
    let (mut small, answer) = offer(&server, "permessage-deflate; server_max_window_bits=8");
    assert!(answer.unwrap().ends_with("; server_max_window_bits=8"));
    let (mut declined, answer) = offer(&server, "permessage-deflate; server_max_window_bits=7");
    assert_eq!(answer, None);
    // Per length: who gets it compressed.
    let cases = [
        (50, [false, false, false]),
        (200, [true, true, true]),
        (3_000, [true, true, false]),
        (100_000, [true, false, false]),
    ];
    for (len, _) in cases {
        plain.send(Opcode::Text, json(len).as_bytes());
        // So that each is a burst of its own.
        assert_eq!(message(&mut plain), (false, json(len).into_bytes()));
    }
    for (len, compressed) in cases {
        let expected = json(len).into_bytes();
        assert_eq!(message(&mut declined), (false, expected.clone()));
        for (raw, compressed) in [&mut full, &mut medium, &mut small]
            .into_iter()
            .zip(compressed)
        {
            assert_eq!(message(raw), (compressed, expected.clone()), "{len} bytes");
        }
    }
    // And what the program sends, to everybody and to one.
    let handle = server.handle();
    handle.broadcast("/", json(500)).unwrap();
    let info = &handle.clients().unwrap()[1];
    handle.send(info.id, json(600)).unwrap();
    assert_eq!(message(&mut full), (true, json(500).into_bytes()));
    assert_eq!(message(&mut full), (true, json(600).into_bytes()));
    assert_eq!(message(&mut plain), (false, json(500).into_bytes()));
    let agreed = handle
        .clients()
        .unwrap()
        .iter()
        .filter(|c| c.deflate)
        .count();
    assert_eq!(agreed, 3);
    handle.broadcast_uncompressed("/", json(700)).unwrap();
    assert_eq!(message(&mut full), (false, json(700).into_bytes()));
}

#[test]
fn compressed_messages_are_relayed_as_what_they_say() {
    let server = deflating(|_| {});
    let mut plain = Raw::connect(&server, "/");
    let mut sender = join(&server);
    let text = json(2_000);
    let packed = compress_to_vec(text.as_bytes(), 6);
    sender.send_as(COMPRESSED_TEXT, &packed);
    sender.send_as(COMPRESSED_BINARY, &packed);
    sender.send(Opcode::Text, b"not compressed");
    // In fragments: RSV1 on the first, and a Ping between them.
    let (first, rest) = packed.split_at(10);
    sender.send_as(RSV1 | Opcode::Text as u8, first);
    sender.send_bytes(&fragment(Opcode::Continuation, &rest[..5]));
    sender.send(Opcode::Ping, b"");
    sender.send_bytes(&masked(Opcode::Continuation, &rest[5..]));
    sender.send_as(COMPRESSED_TEXT, b"");
    for (opcode, payload) in [
        (Opcode::Text, text.as_bytes()),
        (Opcode::Binary, text.as_bytes()),
        (Opcode::Text, b"not compressed"),
        (Opcode::Text, text.as_bytes()),
        (Opcode::Text, b""),
    ] {
        let frame = plain.data();
        assert_eq!((frame.opcode, &frame.payload[..]), (opcode, payload));
    }
    let metrics = crate::kit::http::plain("GET", "/-/metrics", &["Connection: close"]);
    let mut stream = dial(server.local_addr());
    stream.write_all(&metrics).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(
        text.contains("\nhubcast_inflated_messages_total 4\n"),
        "{text}"
    );
    assert!(
        text.contains("\nhubcast_compressed_messages_total 3\n"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_inflated_ends_the_connection_and_nothing_else() {
    let server = deflating(|config| config.max_message_size = 10_000);
    let mut other = Raw::connect(&server, "/");
    let bomb = compress_to_vec(&vec![0; 50 << 20], 1);
    let bomb = &compress_to_vec(&bomb, 1)[..];
    assert!(bomb.len() < 10_000);
    let large = compress_to_vec(&[7; 10_001], 1);
    let not_utf8 = compress_to_vec(b"\xff\xfe", 1);
    let rsv1_later = [
        masked_as(RSV1 | Opcode::Text as u8, &large[..2]),
        masked_as(FIN | RSV1, &large[2..]),
    ];
    for (bytes, code, cause) in [
        (masked_as(COMPRESSED_BINARY, &large), 1009, "too_large"),
        (masked_as(COMPRESSED_TEXT, &not_utf8), 1007, "invalid_utf8"),
        (
            masked_as(COMPRESSED_TEXT, b"\x07\xff"),
            1007,
            "invalid_deflate",
        ),
        (
            masked_as(COMPRESSED_TEXT, &large[..5]),
            1007,
            "invalid_deflate",
        ),
        (rsv1_later.concat(), 1002, "protocol_error"),
        (
            masked_as(FIN | RSV1 | Opcode::Ping as u8, b""),
            1002,
            "protocol_error",
        ),
    ] {
        let before = server.handle().stats().departed(cause);
        let mut client = join(&server);
        client.send_bytes(&bytes);
        client.expect_close(code);
        drop(client);
        wait_closed(&server, cause, before + 1);
    }
    // Not agreed: any RSV1 is wrong.
    let mut client = Raw::connect(&server, "/");
    client.send_as(COMPRESSED_BINARY, &large);
    client.expect_close(1002);
    let exact = compress_to_vec(&[7; 10_000], 1);
    let mut client = join(&server);
    client.send_as(COMPRESSED_BINARY, &exact);
    assert_eq!(other.data().payload, [7; 10_000]);
}

#[test]
fn nothing_is_agreed_to_unless_it_is_turned_on() {
    let off = server(|_| {});
    assert_eq!(offer(&off, OFFER).1, None);
    let hooked = Server::builder()
        .configure(|config| config.deflate = true)
        .on_upgrade(|upgrade| {
            upgrade.set_compression(upgrade.request().headers().contains_key("compress"));
            Ok(())
        });
    let hooked = hooked.bind("127.0.0.1:0").unwrap().spawn().unwrap();
    let (mut raw, answer) = offer(&hooked, OFFER);
    assert_eq!(answer, None);
    raw.send(Opcode::Text, json(1_000).as_bytes());
    assert_eq!(message(&mut raw), (false, json(1_000).into_bytes()));
    let (mut raw, answer) = offer(&hooked, &format!("{OFFER}\r\ncompress: yes"));
    assert!(answer.is_some());
    raw.send(Opcode::Text, json(1_000).as_bytes());
    assert_eq!(message(&mut raw), (true, json(1_000).into_bytes()));
}

/// A client that keeps its window from the first message to the last.
struct Keeping {
    raw: Raw,
    inflater: Box<DecompressorOxide>,
    window: Vec<u8>,
    at: usize,
    wire_bytes: usize,
}

impl Keeping {
    fn join(server: &Running) -> Keeping {
        let (raw, answer) = offer(server, OFFER);
        let expected = "permessage-deflate; client_no_context_takeover";
        assert_eq!(answer.as_deref(), Some(expected));
        Keeping {
            raw,
            inflater: Box::default(),
            window: vec![0; 1 << 15],
            at: 0,
            wire_bytes: 0,
        }
    }

    /// The next message, and whether it was compressed.
    #[track_caller]
    fn message(&mut self) -> (bool, Vec<u8>) {
        let (first, payload) = frame(&mut self.raw.stream);
        assert!(first & 0xf <= 2, "{first:x} {payload:?}");
        self.wire_bytes += payload.len();
        match first & RSV1 {
            0 => (false, payload),
            _ => (true, self.inflate(payload)),
        }
    }

    fn inflate(&mut self, mut payload: Vec<u8>) -> Vec<u8> {
        payload.extend([0x00, 0x00, 0xff, 0xff]);
        let (mut input, mut out) = (&payload[..], Vec::new());
        loop {
            let flags = TINFL_FLAG_HAS_MORE_INPUT;
            let (inflater, window) = (&mut self.inflater, &mut self.window);
            let (status, read, written) = decompress(inflater, input, window, self.at, flags);
            input = &input[read..];
            out.extend_from_slice(&self.window[self.at..self.at + written]);
            self.at = (self.at + written) % self.window.len();
            match status {
                TINFLStatus::NeedsMoreInput => return out,
                TINFLStatus::HasMoreOutput => {}
                status => panic!("{status:?}"),
            }
        }
    }
}

/// A short message, like the ones before it.
fn tick(n: usize) -> String {
    let (price, size) = (n * 7919 % 10_000, n * 31 % 97);
    format!(
        "{{\"n\":{n:06},\"symbol\":\"HUB\",\"side\":\"buy\",\"price\":{price},\"size\":{size}}}"
    )
}

#[test]
fn short_messages_of_a_room_are_compressed_together() {
    let server = deflating(|config| config.deflate_rooms = true);
    let mut plain = Raw::connect(&server, "/");
    let (mut forgets, answer) = offer(&server, "permessage-deflate; server_no_context_takeover");
    assert!(answer.unwrap().contains("server_no_context_takeover"));
    let mut keeping = [Keeping::join(&server), Keeping::join(&server)];
    let mut late: Option<Keeping> = None;
    let (mut plain_bytes, mut compressed) = (0, 0);
    for n in 0..200 {
        if n == 50 {
            late = Some(Keeping::join(&server));
        }
        let text = tick(n).into_bytes();
        plain_bytes += text.len();
        plain.send(Opcode::Text, &text);
        assert_eq!(message(&mut plain), (false, text.clone()));
        assert_eq!(message(&mut forgets), (false, text.clone()));
        for client in &mut keeping {
            assert_eq!(client.message(), (true, text.clone()), "message {n}");
        }
        if let Some(late) = &mut late {
            let (is_compressed, message) = late.message();
            assert_eq!(message, text, "message {n}");
            compressed += usize::from(is_compressed);
        }
    }
    // It waited for one key frame.
    assert!((100..150).contains(&compressed), "{compressed}");
    let wire_bytes = keeping[0].wire_bytes;
    assert!(
        wire_bytes < plain_bytes * 6 / 10,
        "{wire_bytes} of {plain_bytes}"
    );

    // What is compressed alone comes between, to one and to all.
    let [mut first, mut second] = keeping;
    let handle = server.handle();
    let id = handle.clients().unwrap()[2].id;
    handle.send(id, json(600)).unwrap();
    assert_eq!(first.message(), (true, json(600).into_bytes()));
    handle.broadcast("/", json(3_000)).unwrap();
    handle.broadcast("/", tick(1)).unwrap();
    handle.broadcast_uncompressed("/", tick(2)).unwrap();
    for client in [&mut first, &mut second] {
        assert_eq!(client.message(), (true, json(3_000).into_bytes()));
        assert_eq!(client.message(), (true, tick(1).into_bytes()));
        assert_eq!(client.message(), (false, tick(2).into_bytes()));
    }
    // And a burst.
    let texts: Vec<String> = (0..500).map(tick).collect();
    for text in &texts {
        plain.send(Opcode::Text, text.as_bytes());
    }
    for text in &texts {
        assert_eq!(second.message().1, text.as_bytes());
        assert_eq!(first.message().1, text.as_bytes());
    }
}

#[test]
fn a_client_that_misses_messages_inflates_the_others_of_its_room() {
    let server = deflating(|config| {
        config.deflate_rooms = true;
        config.slow_consumer = SlowConsumer::DropOldest;
        config.queue_messages = 100;
        config.unsent_bytes = 4096;
    });
    let mut slow = Keeping::join(&server);
    let mut quick = Keeping::join(&server);
    let handle = server.handle();
    let mut sent = 0;
    // Until the slow one has lost some.
    while handle.stats().dropped_messages < 100 {
        handle.broadcast("/", tick(sent)).unwrap();
        let text = tick(sent).into_bytes();
        assert_eq!(quick.message(), (true, text));
        sent += 1;
    }
    handle.broadcast("/", "the end").unwrap();
    let mut received = 0;
    let mut last = None;
    loop {
        let (_, message) = slow.message();
        if message == b"the end" {
            break;
        }
        let text = String::from_utf8(message).unwrap();
        let n: usize = text[5..11].parse().unwrap();
        assert_eq!(text, tick(n));
        assert!(last < Some(n), "{n} after {last:?}");
        last = Some(n);
        received += 1;
    }
    assert!(received <= sent - 100, "{received} of {sent}");
    // It is attached again, if only after a while.
    let mut n = sent;
    loop {
        handle.broadcast("/", tick(n)).unwrap();
        let (is_compressed, message) = slow.message();
        assert_eq!(message, tick(n).into_bytes());
        if is_compressed {
            break;
        }
        n += 1;
    }
}

#[test]
fn rooms_are_compressed_together_only_where_who_may_publish_may_read() {
    let refused = |change: fn(&mut Config)| {
        let builder = Server::builder().configure(|config| {
            config.deflate_rooms = true;
            config.deflate = true;
            change(config);
        });
        let error = builder.bind("127.0.0.1:0").err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(|_| {}), "");
    assert!(refused(|config| config.deflate = false).contains("deflate-rooms needs deflate"));
    fn publish(config: &mut Config) {
        config.allow_publish = true;
        config.publish_token = Some("a long enough token".into());
    }
    assert_eq!(refused(publish), "", "everybody may read");
    let apart = refused(|config| {
        publish(config);
        config.token = Some("another token".into());
    });
    assert!(
        apart.contains("not for publish-token beside token"),
        "{apart}"
    );
    let verified = refused(|config| {
        let rights = |_: &str| Ok(hubcast::Rights::new().read("/*"));
        config.token_verifier = Some(hubcast::TokenVerifier::new(rights));
    });
    assert!(verified.contains("deflate-rooms"), "{verified}");
}
