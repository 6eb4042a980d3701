//! The table: what the front door decides by the request alone.

use crate::http::{instead, with};
use crate::kit::http::{UPGRADE, handshake, request};

/// A request and its answer.
pub struct Case {
    pub what: String,
    pub request: Vec<u8>,
    pub status: u16,
    /// Headers that the answer must have, with a part of their values.
    pub headers: Vec<(&'static str, &'static str)>,
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, status: u16, what: &str, request: Vec<u8>) {
        let headers = match status {
            101 => vec![
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ],
            405 => vec![("allow", "GET")],
            426 => vec![("upgrade", "websocket"), ("connection", "upgrade")],
            _ => vec![],
        };
        self.0.push(Case {
            what: what.to_owned(),
            request,
            status,
            headers,
        });
    }

    /// Adds a request for a version of the protocol that nobody speaks here.
    fn add_version(&mut self, what: &str, request: Vec<u8>) {
        self.add(426, what, request);
        let case = self.0.last_mut().unwrap();
        case.headers.push(("sec-websocket-version", "13"));
    }
}

/// A good handshake whose head has exactly this length.
fn of_length(length: usize) -> Vec<u8> {
    let plain = with("X-Filler: ").len();
    let filler = format!("X-Filler: {}", "x".repeat(length - plain));
    let request = with(&filler);
    assert_eq!(request.len(), length);
    request
}

/// A good handshake with this number of header lines.
fn of_lines(lines: usize) -> Vec<u8> {
    let more = vec!["X: y"; lines - UPGRADE.len()];
    request("GET / HTTP/1.1", &[&UPGRADE[..], &more].concat())
}

/// All cases.
pub fn all() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    cases.add(101, "the plainest handshake", handshake("/"));
    cases.add(101, "a query", handshake("/lobby?token=a&b"));
    cases.add(
        101,
        "a percent-encoded path",
        handshake("/caf%C3%A9%20%2F%25"),
    );
    cases.add(101, "dots and empty segments", handshake("/../a//./b/"));
    cases.add(101, "absolute form", handshake("http://localhost/lobby"));
    cases.add(
        101,
        "absolute form, scheme ws",
        handshake("ws://localhost/lobby"),
    );
    cases.add(
        101,
        "absolute form without a path",
        handshake("http://localhost"),
    );
    cases.add(
        101,
        "a room name of 256 bytes",
        handshake(&format!("/{}", "x".repeat(255))),
    );
    let target = format!("/?{}", "q".repeat(4094));
    cases.add(101, "a target of 4,096 bytes", handshake(&target));
    cases.add(101, "a head of 16 KiB", of_length(16 * 1024));
    cases.add(101, "100 header lines", of_lines(100));
    let firefox = ["Connection: keep-alive, Upgrade"];
    cases.add(101, "Firefox's Connection", instead("Connection", &firefox));
    let lines = ["Connection: keep-alive", "Connection: upgrade"];
    cases.add(
        101,
        "two lines of Connection",
        instead("Connection", &lines),
    );
    let no_space = ["Connection:keep-alive,,Upgrade"];
    cases.add(
        101,
        "an empty list element",
        instead("Connection", &no_space),
    );
    cases.add(
        101,
        "Upgrade in capitals",
        instead("Upgrade", &["UPGRADE: WebSocket"]),
    );
    let many = ["Upgrade: h2c, websocket"];
    cases.add(
        101,
        "several protocols to choose from",
        instead("Upgrade", &many),
    );
    let spaces = ["Sec-WebSocket-Version: \t 13 \t"];
    cases.add(
        101,
        "spaces around a value",
        instead("Sec-WebSocket-Version", &spaces),
    );
    cases.add(101, "a Content-Length of zero", with("Content-Length: 0"));
    cases.add(
        101,
        "an extension, which is not taken",
        with("Sec-WebSocket-Extensions: permessage-deflate"),
    );
    cases.add(
        101,
        "an empty line before the request",
        [b"\r\n", &handshake("/")[..]].concat(),
    );
    cases.add(
        101,
        "bytes that are not ASCII in a value",
        [b"GET / HTTP/1.1\r\nX: \xff\xfe\r\n", &handshake("/")[16..]].concat(),
    );

    let mut bad = |what: &str, request| cases.add(400, what, request);
    bad("no Host", instead("Host", &[]));
    bad("two Hosts", with("Host: localhost"));
    bad(
        "two Hosts in absolute form",
        request(
            "GET http://a/ HTTP/1.1",
            &[&UPGRADE[..], &["Host: b"]].concat(),
        ),
    );
    bad(
        "a Host with bytes that are not ASCII",
        [
            b"GET / HTTP/1.1\r\nHost: \xff\r\n",
            &instead("Host", &[])[16..],
        ]
        .concat(),
    );
    bad("no Connection", instead("Connection", &[]));
    bad(
        "another Connection",
        instead("Connection", &["Connection: keep-alive"]),
    );
    bad(
        "a longer word in Connection",
        instead("Connection", &["Connection: upgrades"]),
    );
    let key = "Sec-WebSocket-Key";
    bad("no key", instead(key, &[]));
    bad("two keys", with(UPGRADE[4]));
    bad("an empty key", instead(key, &["Sec-WebSocket-Key:"]));
    bad(
        "a key of 15 bytes",
        instead(key, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"]),
    );
    bad(
        "a key of 18 bytes",
        instead(key, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZXh4"]),
    );
    bad(
        "a key that is not base64",
        instead(key, &["Sec-WebSocket-Key: ?GhlIHNhbXBsZSBub25jZQ=="]),
    );
    bad(
        "a key without padding",
        instead(key, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"]),
    );
    bad("two versions", with("Sec-WebSocket-Version: 13"));
    bad("a body", with("Content-Length: 5"));
    bad(
        "two lengths",
        with("Content-Length: 0\r\nContent-Length: 0"),
    );
    bad("a body in chunks", with("Transfer-Encoding: chunked"));
    bad(
        "two Origins",
        with("Origin: http://localhost\r\nOrigin: http://localhost"),
    );
    bad("a percent sign alone", handshake("/100%"));
    bad("a percent sign before no digits", handshake("/%zz"));
    bad("an encoded byte that is not UTF-8", handshake("/%ff"));
    bad("an encoded NUL", handshake("/a%00b"));
    bad("an encoded line end", handshake("/a%0d%0ab"));
    bad("an encoded C1 control", handshake("/%C2%9B"));
    bad("a target without a slash", handshake("lobby"));
    bad("a fragment", handshake("/lobby#top"));
    bad(
        "two spaces in the request line",
        b"GET  / HTTP/1.1\r\n\r\n".to_vec(),
    );
    bad(
        "no target",
        b"GET HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
    );
    bad("no version", b"GET /\r\n\r\n".to_vec());
    bad(
        "a method that is no token",
        b"G@T{} / HTTP/1.1\r\n\r\n".to_vec(),
    );
    bad("a header without a colon", with("what is this"));
    bad("a space before the colon", with("X : y"));
    bad("a header without a name", with(": y"));
    bad("a folded header", with("X: y\r\n z"));
    bad("a NUL in a value", with("X: \0"));
    bad("a carriage return in a value", with("X: a\rb"));
    bad("binary rubbish", b"\0\x01\x02\x03\r\n\r\n".to_vec());

    for method in ["DELETE", "PATCH", "TRACE", "BREW", "get"] {
        let line = format!("{method} / HTTP/1.1");
        cases.add(405, method, request(&line, &["Host: localhost"]));
    }
    let post = request(
        "PATCH / HTTP/1.1",
        &["Host: localhost", "Content-Length: 200000"],
    );
    cases.add(
        405,
        "a large body that nobody wants",
        [post, vec![b'x'; 200_000]].concat(),
    );

    let plain = request("GET / HTTP/1.1", &["Host: localhost", "Accept: image/png"]);
    cases.add(426, "a GET of a picture", plain.clone());
    cases.add(426, "two of them in a row", [&plain[..], &plain].concat());
    cases.add(
        426,
        "another protocol",
        instead("Upgrade", &["Upgrade: h2c"]),
    );
    let version = "Sec-WebSocket-Version";
    for wrong in ["12", "8", "0", "", "14", "13, 8", "0x0d", "130"] {
        let line = format!("{version}: {wrong}");
        cases.add_version(&line, instead(version, &[&line]));
    }
    cases.add_version("no version", instead(version, &[]));

    cases.add(
        414,
        "a target of 4,097 bytes",
        handshake(&format!("/?{}", "q".repeat(4095))),
    );
    cases.add(
        414,
        "a target of 20 KiB",
        handshake(&format!("/{}", "x".repeat(20 * 1024))),
    );
    cases.add(414, "a target without an end", vec![b'x'; 17 * 1024]);
    cases.add(
        414,
        "a room name of 257 bytes",
        handshake(&format!("/{}", "x".repeat(256))),
    );
    let encoded = format!("/{}", "%C3%A9".repeat(128));
    cases.add(
        414,
        "a room name of 257 bytes, encoded",
        handshake(&encoded),
    );

    cases.add(431, "a head of 16 KiB and a byte", of_length(16 * 1024 + 1));
    cases.add(431, "a head of 60 KiB", of_length(60 * 1024));
    cases.add(
        431,
        "a head without an end",
        request("GET / HTTP/1.1", &[&"x: y\r\n".repeat(5000)])[..20_000].to_vec(),
    );
    cases.add(431, "101 header lines", of_lines(101));
    cases.add(
        431,
        "one endless header",
        [b"GET / HTTP/1.1\r\nX: ", &[b'x'; 17_000][..]].concat(),
    );

    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/2.1", "HTTP/3", "HTTP/10.1"] {
        let line = format!("GET / {version}");
        cases.add(505, version, request(&line, &UPGRADE));
    }
    for line in [
        "GET /my room HTTP/1.1",
        "GET / HTTP",
        "GET / HTTP/",
        "GET / http/1.1",
        "GET / FTP/1.1",
    ] {
        cases.add(400, line, request(line, &UPGRADE));
    }
    cases.add(101, "HTTP/1.2", request("GET / HTTP/1.2", &UPGRADE));
    let of_old = "an upgrade in HTTP/1.0, which has none";
    cases.add(426, of_old, request("GET / HTTP/1.0", &UPGRADE));
    cases.add(
        426,
        "HTTP/1.0 without a Host",
        request("GET / HTTP/1.0", &[]),
    );
    cases.add(
        200,
        "a probe of HTTP/1.0",
        request("GET /-/healthz HTTP/1.0", &[]),
    );
    cases.add(
        101,
        "the key of RFC 6455 §4.1",
        instead(key, &["Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC=="]),
    );
    cases.0.last_mut().unwrap().headers.pop();
    for (what, target) in [
        ("another host in absolute form", "http://evil.example/"),
        ("another port in absolute form", "http://localhost:81/"),
    ] {
        cases.add(400, what, handshake(target));
    }
    cases.add(
        403,
        "a foreign Origin",
        with("Origin: https://evil.example"),
    );
    cases.add(
        403,
        "an Origin that is no origin",
        with("Origin: localhost"),
    );
    cases.add(403, "an opaque Origin", with("Origin: null"));
    cases.0
}
