//! Who is let in, and what the log says of those who are not.

use std::net::SocketAddr;

use hubcast::{Config, Secret};
use rustix::process::Signal;

use super::look;
use crate::http::{ask, instead, with};
use crate::kit::http::{follow, handshake, plain, post, request};
use crate::support::{Program, server};

const LISTS: [&str; 3] = ["/-/clients", "/-/rooms", "/-/metrics"];

fn status(address: SocketAddr, request: &[u8]) -> u16 {
    let mut stream = crate::support::dial(address);
    std::io::Write::write_all(&mut stream, request).unwrap();
    let head = crate::kit::http::read_head(&mut stream).unwrap();
    crate::kit::http::Answer::parse(&head).unwrap().status
}

#[test]
fn what_a_proxy_passes_on_does_not_come_from_the_servers_own_machine() {
    let server = server(|_| {});
    let address = server.local_addr();
    for path in LISTS {
        assert_eq!(look(address, path, &[]).status, 200, "{path}");
        for header in [
            "Forwarded: for=192.0.2.1",
            "X-Forwarded-For: 192.0.2.1",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Anything: ",
            "X-Real-IP: 192.0.2.1",
            "CF-Connecting-IP: 192.0.2.1",
            "Via: 1.1 proxy",
        ] {
            assert_eq!(
                look(address, path, &[header]).status,
                403,
                "{path} {header}"
            );
        }
    }
    let proxied = ["X-Forwarded-For: 192.0.2.1"];
    assert_eq!(look(address, "/-/healthz", &proxied).status, 200);
}

#[test]
fn the_operators_token_opens_the_lists_and_that_of_the_rooms_does_not() {
    let server = server(|config| {
        config.token = Some(Secret::from("for the rooms"));
        config.admin_token = Some(Secret::from("for the operator"));
    });
    let address = server.local_addr();
    let proxied = "Via: 1.1 proxy";
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    for path in LISTS {
        assert_eq!(look(address, path, &[]).status, 200, "{path}");
        assert_eq!(look(address, path, &[proxied]).status, 401, "{path}");
        for (token, status) in [("for the rooms", 401), ("for the operator", 200)] {
            let headers = [proxied, &bearer(token)];
            assert_eq!(
                look(address, path, &headers).status,
                status,
                "{path} {token}"
            );
        }
    }
    let count = ["Accept: application/json", &bearer("for the operator")];
    assert_eq!(look(address, "/", &count).status, 401);
}

#[test]
fn no_page_of_another_site_reads_the_operators_paths_whatever_is_allowed() {
    let any = server(|config| config.allow_origin = vec!["*".to_owned(), "null".to_owned()]);
    let address = any.local_addr();
    for path in [
        "/-/healthz",
        "/-/clients",
        "/-/rooms",
        "/-/metrics",
        "/-/none",
    ] {
        for origin in ["Origin: http://evil.example", "Origin: null"] {
            for method in ["GET", "OPTIONS", "POST"] {
                let answer = ask(address, &plain(method, path, &[origin]));
                let refused = if method == "POST" { 405 } else { 403 };
                assert_eq!(answer.status, refused, "{method} {path} {origin}");
                let misleads = answer.body.contains("operator can allow it");
                assert!(!misleads, "{method} {path} {origin}: {answer:?}");
                assert_eq!(answer.header("access-control-allow-origin"), "");
            }
        }
        let own = look(address, path, &["Origin: http://localhost"]);
        assert!([200, 404].contains(&own.status), "{path}: {own:?}");
        assert_eq!(own.header("access-control-allow-origin"), "");
        assert_eq!(own.header("cache-control"), "no-store");
        assert_eq!(own.header("x-content-type-options"), "nosniff");
        let asks = [
            "Origin: http://localhost",
            "Access-Control-Request-Headers: authorization",
        ];
        let preflight = ask(address, &plain("OPTIONS", path, &asks));
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("allow"), "GET, HEAD, DELETE, OPTIONS");
    }
}

#[test]
fn a_preflight_of_an_allowed_page_may_bring_its_token() {
    let server = server(|config| {
        config.allow_origin = vec!["chrome-extension://abc".to_owned()];
        config.token = Some(Secret::from("a long and random token"));
    });
    let asks = [
        "Origin: chrome-extension://abc",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: authorization",
    ];
    let answer = ask(server.local_addr(), &plain("OPTIONS", "/lobby", &asks));
    assert_eq!(answer.status, 204);
    let header = |name: &str| answer.header(&format!("access-control-allow-{name}"));
    assert_eq!(header("origin"), "chrome-extension://abc");
    assert!(header("headers").contains("authorization"), "{answer:?}");
    assert!(header("methods").contains("GET"), "{answer:?}");
}

#[test]
fn a_referer_of_another_site_counts_where_there_is_no_origin() {
    let server = server(|config: &mut Config| {
        config.allow_publish = true;
        config.allow_origin = vec!["https://app.example".to_owned()];
    });
    let address = server.local_addr();
    for (referer, let_in) in [
        ("http://localhost/lobby", true),
        ("https://app.example/x?y#z", true),
        ("about:blank", true),
        ("http://evil.example/", false),
        ("http://evil.example", false),
        ("http://localhost.evil.example/", false),
        ("http://localhost@evil.example/", false),
        ("http://evil.example/?http://localhost/", false),
    ] {
        let header = format!("Referer: {referer}");
        let events = status(address, &follow("/", &[&header]));
        assert_eq!(events == 200, let_in, "{referer}: {events}");
        let posted = status(address, &post("/", &[&header], b"x"));
        assert_eq!(posted == 202, let_in, "{referer}: {posted}");
        // Links may be followed from anywhere.
        let page = status(address, &plain("GET", "/", &["Accept: text/html", &header]));
        assert_eq!(page, 200, "{referer}");
    }
}

#[test]
fn the_first_hour_is_explained_in_the_log() {
    let mut program = Program::start(&[]);
    let address = program.address;
    let host = format!("Host: {address}");
    let of_page = |origin: &str| instead("Host", &[&host, &format!("Origin: {origin}")]);
    for _ in 0..3 {
        assert_eq!(status(address, &of_page("http://localhost:5173")), 403);
    }
    let line = program.expect_log("WARN");
    assert!(
        line.contains("--allow-origin http://localhost:5173"),
        "{line}"
    );
    assert_eq!(status(address, &of_page("http://a;touch$IFS.x")), 403);
    let line = program.expect_log("WARN");
    assert!(!line.contains("--allow-origin"), "{line}");

    let offer = "Sec-WebSocket-Protocol: graphql-ws, soap";
    assert_eq!(status(address, &with(offer)), 101);
    let line = program.expect_log("graphql-ws, soap");
    assert!(line.contains("--subprotocol"), "{line}");

    let lost = request("GET / HTTP/1.1", &["Host: a", "Sec-WebSocket-Key: x"]);
    assert_eq!(status(address, &lost), 426);
    let line = program.expect_log("without `Connection: Upgrade`");
    assert!(line.contains("proxy"), "{line}");
    program.signal(Signal::TERM);
    let log = program.whole_log();
    assert_eq!(log.matches("localhost:5173").count(), 2, "once: {log}");
}

#[test]
fn a_wrong_token_is_a_warning_and_a_missing_one_is_not() {
    let mut program = Program::start(&["--token=a long and random one"]);
    assert_eq!(status(program.address, &handshake("/")), 401);
    for n in 0..20 {
        let guess = handshake(&format!("/?token=guess{n}"));
        assert_eq!(status(program.address, &guess), 401);
    }
    let line = program.expect_log("WARN");
    assert!(line.contains("brought a wrong token"), "{line}");
    let entries: Vec<String> = (0..600).map(|n| format!("hubcast.token.{n:04}")).collect();
    let many = with(&format!("Sec-WebSocket-Protocol: {}", entries.join(",")));
    assert_eq!(status(program.address, &many), 400);
    program.signal(Signal::TERM);
    let log = program.whole_log();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(!log.contains("guess"), "{log}");
}
