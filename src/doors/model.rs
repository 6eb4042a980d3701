//! Properties of every request head, whatever its bytes, and of the answer to
//! it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};

use super::admin::EVENTS;
use super::publish::{self, PublishHead};
use super::{Caller, Door, Doors, Entrance, Opened};
use crate::config::Config;
use crate::embed::Handle;
use crate::embed::Shared;
use crate::http1::Answer;
use crate::http1::Body;
use crate::http1::head::{MAX_HEAD, MAX_HEADERS, parse_head};
use crate::hub::Inbox;
use crate::hub::Places;
use crate::hub::Publisher;
use crate::hub::Watch;
use crate::names::{ADMIN_PREFIX, ClientId, MAX_ROOM};
use crate::net::Stop;
use crate::net::Stream;

/// The largest body that is taken.
const MAX_BODY: usize = 100;

/// Parses the bytes as a request head, whole and cut, and shows the request
/// to the doors.
pub(crate) fn run(bytes: &[u8]) {
    let parsed = parse_head(bytes);
    // A head that was complete or wrong stays so when more bytes come. The cuts
    // are few, because the longest inputs would be slow otherwise.
    for cut in (0..bytes.len()).rev().take(64) {
        match parse_head(&bytes[..cut]) {
            Ok(None) => {}
            Ok(Some((request, len))) => {
                let (whole, whole_len) = parsed.as_ref().unwrap().as_ref().unwrap();
                assert_eq!(len, *whole_len);
                assert_eq!(request.uri(), whole.uri());
                assert_eq!(request.headers(), whole.headers());
            }
            Err(_) => assert!(parsed.is_err(), "refused at {cut} only"),
        }
    }
    match parsed {
        Ok(None) => {}
        Ok(Some((request, len))) => {
            assert!(len <= bytes.len() && len <= MAX_HEAD);
            assert!(request.headers().len() <= MAX_HEADERS);
            assert!(bytes[..len].ends_with(b"\n"));
            let rest = &bytes[len..];
            GROUND.with(|all| all.iter().for_each(|doors| show(doors, &request, rest)));
        }
        Err(answer) => check_answer(&answer),
    }
}

thread_local! {
    /// A server with everything off, and one with everything on. There is no
    /// hub: a query is answered as if the server was stopping.
    static GROUND: [Doors; 2] = [
        doors(|config| {
            config.page = false;
            config.admin = false;
        }),
        doors(|config| {
            config.allow_publish = true;
            config.token = Some("open sesame".into());
            config.publish_token = Some("open".into());
            config.token_cookie = Some("hubcast".to_owned());
            config.subprotocol = vec!["chat".to_owned()];
            config.allow_origin = vec!["https://a.example".to_owned()];
            config.admin_listen = Some("127.0.0.1:0".to_owned());
            config.history = 10;
            config.presence = true;
            config.trust_proxy = vec!["127.0.0.0/8".to_owned()];
        }),
    ];
    /// A connection whose peer has gone: every read says so.
    static ENDED: Stream = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ended = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        ended.into()
    };
}

fn doors(change: impl FnOnce(&mut Config)) -> Doors {
    let mut config = Config::default();
    change(&mut config);
    // There is no hub: what would be published is not.
    let (inbox, _) = Inbox::new();
    let shared = Shared {
        #[cfg(feature = "redis")]
        engine: None,
        config,
        publisher: Publisher::new(inbox.clone()),
        inbox,
        stop: Stop::new().unwrap(),
        leaving: None,
        certificates: None,
        counters: Arc::default(),
    };
    let handle = Handle {
        shared: Arc::new(shared),
    };
    Doors::new(handle, None, Places::unlimited()).unwrap()
}

/// Every door answers in correct HTTP.
fn show(doors: &Doors, request: &Request<()>, rest: &[u8]) {
    for entrance in [Entrance::Main, Entrance::Admin] {
        let caller = Caller {
            id: ClientId(1),
            peer: SocketAddr::from(([127, 0, 0, 1], 9)).into(),
            certificates: &[],
            entrance,
            has_near_address: true,
        };
        ENDED.with(|socket| {
            let mut body = body(doors, socket, rest);
            match doors.open(request, &caller, &mut body) {
                Opened::Room(entry) if entry.start.watch == Some(Watch::News) => {
                    assert_eq!(entry.room.as_ref(), EVENTS);
                    check_head(&entry.response, 200);
                }
                Opened::Room(entry) => {
                    assert_eq!(entrance, Entrance::Main);
                    check_room(&entry.room);
                    entry.further_rooms.iter().for_each(|room| check_room(room));
                    assert!(entry.further_rooms.len() < 16);
                    let status = match entry.encoding.is_stream() {
                        false => 101,
                        true => 200,
                    };
                    check_head(&entry.response, status);
                }
                Opened::Answered(answer) => check_answer(&answer),
            }
            if let Ok(Door::Publish) = doors.find(request, &caller)
                && doors.guard(&Door::Publish, request, &caller).is_ok()
                && let Ok(upgrade) = doors.admit(request, &caller, None)
                && let Ok(head) = publish::head_of(request, MAX_BODY)
            {
                assert!(doors.config().allow_publish);
                check_room(&upgrade.room);
                read_body(doors, &head, socket, request, rest);
            }
        });
    }
}

fn body<'a>(doors: &'a Doors, socket: &'a Stream, rest: &[u8]) -> Body<'a> {
    Body {
        socket,
        stop: &doors.handle.shared.stop,
        early: rest.to_vec(),
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

/// The bytes behind the head are the body, or its beginning.
fn read_body(
    doors: &Doors,
    head: &PublishHead,
    socket: &Stream,
    request: &Request<()>,
    rest: &[u8],
) {
    match publish::read_message(head, &mut body(doors, socket, rest), MAX_BODY) {
        Ok(message) => {
            assert!(message.len() <= MAX_BODY);
            if let Some(length) = request.headers().get(http::header::CONTENT_LENGTH) {
                let length: usize = length.to_str().unwrap().parse().unwrap();
                assert_eq!(message.as_bytes(), &rest[..length]);
            } else {
                assert_eq!(Some(message.as_bytes()), dechunk(rest).as_deref());
            }
        }
        Err(answer) => check_answer(&answer),
    }
}

/// A chunked body (RFC 9112 §7.1) without its trailers, in the plainest way.
fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &rest[..end];
        let digits = line.split(|byte| b"; \t".contains(byte)).next()?;
        let digits = std::str::from_utf8(digits).ok()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn check_room(room: &str) {
    assert!(room.starts_with('/') && !room.starts_with(ADMIN_PREFIX));
    assert!(room.len() <= MAX_ROOM);
    assert!(!room.chars().any(char::is_control));
}

fn check_answer(answer: &Answer) {
    let bytes = answer.to_bytes();
    let (body, length) = check_head(&bytes, answer.status.as_u16());
    let has_body = answer.status != StatusCode::NO_CONTENT;
    assert_eq!(length, has_body.then_some(answer.body.len()));
    let sent = if answer.head_only { "" } else { &answer.body };
    assert_eq!(body, sent.as_bytes());
    if answer.content_type.as_bytes().starts_with(b"text/plain") && answer.status.as_u16() >= 400 {
        // One line, in which nothing of the peer's is unescaped.
        assert_eq!(answer.body.lines().count(), 1);
        assert!(!answer.body.trim_end().chars().any(char::is_control));
    }
}

/// Parses the head of an answer; returns what is behind it, and its length
/// as announced.
fn check_head(bytes: &[u8], status: u16) -> (&[u8], Option<usize>) {
    let mut lines = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(len) = head.parse(bytes).unwrap() else {
        panic!("an answer without an end");
    };
    assert_eq!((head.version, head.code), (Some(1), Some(status)));
    let mut names: Vec<String> = Vec::new();
    let mut length = None;
    for line in head.headers.iter() {
        names.push(line.name.to_ascii_lowercase());
        if line.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(line.value).unwrap().parse().ok();
        }
    }
    let known = [
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "allow",
        "cache-control",
        "connection",
        "content-length",
        "content-security-policy",
        "content-type",
        "date",
        "hubcast-client",
        "hubcast-position",
        "hubcast-resume",
        "idempotent-replayed",
        "referrer-policy",
        "retry-after",
        "sec-websocket-accept",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
        "vary",
        "www-authenticate",
        "x-accel-buffering",
        "x-content-type-options",
        "x-frame-options",
    ];
    for name in &names {
        assert!(known.contains(&name.as_str()), "answered with {name}");
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a header twice");
    (&bytes[len..], length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::choices::Choices;

    const PUBLISH: &str = "POST /lobby HTTP/1.1\r\nHost: a.example\r\n\
        Authorization: Bearer open\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nTrailer: t\r\n\r\n";
    const REQUEST: &str = "GET /lobby?x=1 HTTP/1.1\r\nHost: a.example\r\n\
        Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nOrigin: https://a.example\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: chat, other\r\n\
        Authorization: Bearer open sesame\r\n\r\nrest";

    #[test]
    fn a_right_request_passes_and_wrong_bytes_in_it_do_no_harm() {
        for seed in 0..1_000 {
            let mut choices = Choices::Seed(seed);
            let request = [REQUEST, PUBLISH][choices.below(2)];
            let mut bytes = request.as_bytes().to_vec();
            for _ in 0..choices.below(4) {
                let at = choices.below(bytes.len());
                let byte = match choices.below(3) {
                    0 => choices.below(256) as u8,
                    1 => b"\r\n :,%/\t\0"[choices.below(9)],
                    _ => bytes[choices.below(bytes.len())],
                };
                match choices.below(3) {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            let ran = std::panic::catch_unwind(|| run(&bytes));
            assert!(ran.is_ok(), "seed {seed}: {}", bytes.escape_ascii());
        }
    }
}
