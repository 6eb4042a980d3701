//! What browsers ask for on their own, and what every HTTP client may: the
//! page, HEAD, OPTIONS, the favicon.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use http::StatusCode;
use hubcast::{Refusal, Secret, Server};

use super::look;
use crate::http::{ask, ask_for_line};
use crate::kit::http::{Answer, plain};
use crate::support::{Raw, connect, deadline, dial, dial_tight, eventually, server, tight_server};

const HTML: &str = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

#[test]
fn a_browser_gets_the_page_of_any_room() {
    let server = server(|_| {});
    for target in ["/", "/lobby", "/caf%C3%A9?token=x", "/a/b%2Fc"] {
        let answer = look(server.local_addr(), target, &[HTML]);
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        let policy = answer.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'sha256-",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(rule), "{rule} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(answer.header("vary").to_lowercase().contains("accept"));
        let page = answer.body.to_lowercase();
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    }
    // Somebody follows a link from another site.
    let headers = [
        HTML,
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Mode: navigate",
    ];
    assert_eq!(look(server.local_addr(), "/", &headers).status, 200);
    assert_eq!(server.handle().stats().joins, 0);
}

#[test]
fn the_script_for_ones_own_pages_comes_with_the_page_and_needs_no_token() {
    let server = server(|config| {
        config.token = Some("t".into());
        config.allow_origin = vec!["https://app.example".to_owned()];
        config.admin = false;
    });
    let path = "/-/client.js";
    let answer = look(server.local_addr(), path, &["Origin: https://app.example"]);
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type");
    assert_eq!(kind, "text/javascript; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!(allowed, "https://app.example");
    assert!(answer.body.contains("class Hubcast"));
    let foreign = look(server.local_addr(), path, &["Origin: https://evil.example"]);
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    for method in ["POST", "DELETE"] {
        let answer = ask_for_line(server.local_addr(), &plain(method, path, &[]));
        assert_eq!(answer.status, 404, "{method}");
    }
}

#[test]
fn there_is_no_page_for_what_is_no_room() {
    let server = server(|_| {});
    let long = format!("/{}", "x".repeat(256));
    for (target, status) in [
        ("/-/", 404),
        ("/%2d/x", 404),
        ("/%ff", 400),
        ("/%00", 400),
        (&long, 414),
    ] {
        let answer = ask_for_line(server.local_addr(), &plain("GET", target, &[HTML]));
        assert_eq!(answer.status, status, "{target}");
    }
}

#[test]
fn who_asks_for_no_page_is_told_what_this_is() {
    let with_page = server(|_| {});
    let without = server(|config| config.page = false);
    for (server, headers) in [
        (&with_page, &["Accept: image/png"][..]),
        (&without, &[HTML]),
        (&without, &["Accept: image/png"]),
    ] {
        let request = plain("GET", "/", headers);
        let answer = ask_for_line(server.local_addr(), &request);
        assert_eq!(answer.status, 426, "{headers:?}");
        assert_eq!(answer.header("upgrade"), "websocket");
        assert!(answer.body.contains("websocat"), "{}", answer.body);
    }
    connect(&without, "/");
}

#[test]
fn who_may_enter_a_room_may_ask_how_many_are_in_it() {
    let json = "Accept: application/json";
    let server = server(|config| {
        config.token = Some(Secret::from("s3cret"));
        config.allow_origin = vec!["https://app.example".to_owned()];
        config.admin = false;
    });
    let address = server.local_addr();
    let token = "Authorization: Bearer s3cret";
    let clients: Vec<_> = (0..2)
        .map(|_| connect(&server, "/caf%C3%A9?token=s3cret"))
        .collect();
    for (target, answered) in [
        ("/caf%c3%a9", "{\"room\":\"/café\",\"clients\":2}\n"),
        ("/café/", "{\"room\":\"/café/\",\"clients\":0}\n"),
        (
            "/favicon.ico",
            "{\"room\":\"/favicon.ico\",\"clients\":0}\n",
        ),
    ] {
        let answer = look(address, target, &[json, token]);
        assert_eq!((answer.status, &*answer.body), (200, answered));
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for (headers, status) in [
        (&[json][..], 401),
        (&[json, "Authorization: Bearer guess"], 401),
        (&[json, token, "Origin: http://evil.example"], 403),
        (&[json, token, "Sec-Fetch-Site: cross-site"], 403),
    ] {
        let answer = ask_for_line(address, &plain("GET", "/caf%C3%A9", headers));
        assert_eq!(answer.status, status, "{headers:?}");
    }
    let headers = [json, token, "Origin: https://app.example"];
    let answer = look(address, "/caf%C3%A9", &headers);
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!((answer.status, &*allowed), (200, "https://app.example"));
    let exposed = answer.header("access-control-expose-headers");
    for name in ["hubcast-position", "hubcast-resume", "retry-after"] {
        assert!(exposed.contains(name), "{name}: {exposed}");
    }
    assert_eq!(look(address, "/-/caf", &[json, token]).status, 404);
    drop(clients);
}

#[test]
fn a_hook_decides_who_may_ask_how_many_are_in_a_room() {
    let server = Server::builder()
        .on_upgrade(|upgrade| match upgrade.room() {
            "/secret" => Err(Refusal::new(StatusCode::FORBIDDEN, "members only")),
            "/alias" => {
                upgrade.set_room("/lobby");
                Ok(())
            }
            _ => Ok(()),
        })
        .bind("127.0.0.1:0");
    let server = server.unwrap().spawn().unwrap();
    let _client = connect(&server, "/lobby");
    let count = |target| look(server.local_addr(), target, &["Accept: application/json"]);
    assert_eq!(count("/secret").status, 403);
    assert_eq!(
        count("/alias").body,
        "{\"room\":\"/lobby\",\"clients\":1}\n"
    );
}

#[test]
fn a_head_is_answered_as_a_get_without_the_body() {
    let server = server(|config| config.allow_origin = vec!["https://app.example".to_owned()]);
    for (target, headers) in [
        ("/", &[HTML][..]),
        ("/lobby", &["Accept: image/png"]),
        ("/", &["Origin: http://evil.example"]),
        ("/%ff", &[HTML]),
        ("/favicon.ico", &[]),
        ("/-/healthz", &[]),
        ("/-/rooms", &[]),
        ("/-/clients", &[]),
        ("/-/other", &[]),
        ("/-/healthz", &["Sec-Fetch-Site: cross-site"]),
    ] {
        let mut get = look(server.local_addr(), target, headers);
        let mut stream = dial(server.local_addr());
        stream.write_all(&plain("HEAD", target, headers)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let mut head = Answer::parse(&text).unwrap();
        assert_eq!(head.body, "", "{target}");
        // The clock has gone on, perhaps.
        for answer in [&mut head, &mut get] {
            assert!(answer.header("date").ends_with(" GMT"), "{target}");
            answer.headers.retain(|(name, _)| name != "date");
        }
        assert_eq!((head.status, head.headers), (get.status, get.headers));
    }
    // It joins nothing, whatever it accepts or asks for.
    let events = ["Accept: text/event-stream"];
    let upgrade = ["Upgrade: websocket", "Connection: Upgrade"];
    for headers in [&events[..], &upgrade] {
        let mut stream = dial(server.local_addr());
        stream.write_all(&plain("HEAD", "/", headers)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 426 ") && text.ends_with("\r\n\r\n"));
    }
    assert_eq!(server.handle().stats().joins, 0);
}

#[test]
fn options_tell_the_methods_and_an_allowed_site_what_it_may() {
    let server = server(|config| config.allow_origin = vec!["https://app.example".to_owned()]);
    let options = |headers: &[&str]| ask(server.local_addr(), &plain("OPTIONS", "/x", headers));
    let answer = options(&[]);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(answer.header("allow"), "GET, HEAD, POST, PUT, OPTIONS");
    assert_eq!(answer.header("access-control-allow-origin"), "");
    for origin in ["https://app.example", "http://localhost"] {
        let line = format!("Origin: {origin}");
        let answer = options(&[
            &line,
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization,content-type",
        ]);
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        let methods = answer.header("access-control-allow-methods");
        assert!(methods.contains("POST"), "{methods}");
        let headers = answer.header("access-control-allow-headers");
        assert!(headers.contains("authorization") && headers.contains("content-type"));
        assert_eq!(answer.header("vary").to_lowercase(), "origin");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    for foreign in ["Origin: http://evil.example", "Origin: null", "Origin: x"] {
        let answer = options(&[foreign]);
        assert_eq!(answer.status, 403, "{foreign}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
}

#[test]
fn a_favicon_is_no_error() {
    let server = server(|_| {});
    for accept in ["Accept: image/avif,image/webp,*/*;q=0.8", HTML] {
        let answer = look(server.local_addr(), "/favicon.ico", &[accept]);
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    // It is a room all the same.
    Raw::connect(&server, "/favicon.ico");
    assert_eq!(server.handle().stats().refused, 0);
}

#[test]
fn an_answer_that_is_taken_too_slowly_is_given_up() {
    let server = tight_server(|_| {});
    let whole = look(server.local_addr(), "/", &[HTML]).body.len();
    eventually("that to be over", || {
        server.handle().stats().handshakes == 0
    });
    let mut stream = dial_tight(server.local_addr());
    stream.write_all(&plain("GET", "/", &[HTML])).unwrap();
    eventually("it to be accepted", || {
        server.handle().stats().accepted == 2
    });
    let (start, mut taken) = (Instant::now(), 0);
    while server.handle().stats().handshakes > 0 {
        let waited = start.elapsed();
        assert!(waited < deadline() / 4, "{taken} bytes in {waited:?}");
        taken += stream.read(&mut [0; 300]).unwrap_or(0);
        thread::sleep(Duration::from_millis(100)); // its pace
    }
    assert!(taken < whole, "{taken} of {whole} bytes");
}
