//! Tokens: each way of bringing one, what is open without, and that nobody
//! learns one from the server.

use std::io::Write;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL_NOPAD};
use hubcast::{Config, Message, Running, Secret, Server, Upgrade};
use rustix::process::Signal;

use super::{Follower, look};
use crate::http::{ask, ask_for_line};
use crate::kit::http::{Answer, UPGRADE, follow, handshake, plain, post, read_head, request};
use crate::support::{Program, Raw, dial, server};

/// It needs every kind of encoding.
const TOKEN: &str = "open?>~ sésame+&=%";

fn guarded(config: &mut Config) {
    config.token = Some(Secret::from(TOKEN));
    config.allow_publish = true;
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// A subprotocol entry with this token.
fn entry(token: &str) -> String {
    format!("hubcast.token.{}", BASE64URL_NOPAD.encode(token.as_bytes()))
}

/// A WebSocket request for a target, with more headers.
fn websocket(target: &str, headers: &[&str]) -> Vec<u8> {
    let headers = [&UPGRADE[..], headers].concat();
    request(&format!("GET {target} HTTP/1.1"), &headers)
}

/// Sends a request and returns the head of the answer.
#[track_caller]
fn head_of(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = dial(address);
    stream.write_all(request).unwrap();
    Answer::parse(&read_head(&mut stream).unwrap()).unwrap()
}

/// A request through each door that a token guards.
fn through_each_door(target: &str, headers: &[&str]) -> Vec<(u16, Vec<u8>)> {
    let picture = [headers, &["Accept: image/png"]].concat();
    let count = [headers, &["Accept: application/json"]].concat();
    vec![
        (101, websocket(target, headers)),
        (200, follow(target, headers)),
        (202, post(target, headers, b"hi")),
        (200, plain("GET", target, headers)),
        (426, plain("GET", target, &picture)),
        (200, plain("GET", target, &count)),
    ]
}

/// Ways of bringing a token: what is asked for, and a header.
fn ways(token: &str) -> Vec<(String, Vec<String>)> {
    let encoded = percent_encoded(token);
    let entry = entry(token);
    let with = |header: String| ("/lobby".to_owned(), vec![header]);
    vec![
        (format!("/lobby?token={encoded}"), vec![]),
        (format!("/lobby?name=ann&token={encoded}&x"), vec![]),
        with(format!("Sec-WebSocket-Protocol: {entry}")),
        with(format!("Sec-WebSocket-Protocol: chat, {entry} ,hubcast")),
        (
            "/lobby".to_owned(),
            vec![
                "Sec-WebSocket-Protocol: hubcast".to_owned(),
                format!("Sec-WebSocket-Protocol: {entry}"),
            ],
        ),
    ]
}

/// The same with the token in a header of its own.
fn bearers(token: &str) -> Vec<(String, Vec<String>)> {
    let headers = [
        format!("Authorization: Bearer {token}"),
        format!("authorization: bEARER {token}"),
    ];
    headers
        .map(|header| ("/lobby".to_owned(), vec![header]))
        .to_vec()
}

#[track_caller]
fn all_open(server: &Running, ways: &[(String, Vec<String>)]) {
    for (target, headers) in ways {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        for (status, request) in through_each_door(target, &headers) {
            let answer = head_of(server.local_addr(), &request);
            let asked = String::from_utf8_lossy(&request);
            assert_eq!(answer.status, status, "{asked}{answer:?}");
        }
    }
}

#[test]
fn each_way_of_bringing_the_token_opens_each_door() {
    let unicode = server(guarded);
    all_open(&unicode, &ways(TOKEN));
    all_open(&unicode, &bearers(TOKEN));
    let ascii = server(|config| {
        guarded(config);
        config.token = Some(Secret::from("s3cret~token"));
    });
    all_open(&ascii, &ways("s3cret~token"));
    all_open(&ascii, &bearers("s3cret~token"));
}

fn by_cookie(config: &mut Config) {
    guarded(config);
    config.token_cookie = Some("hub".to_owned());
    config.allow_origin = vec!["https://app.example".to_owned()];
}

#[test]
fn a_cookie_opens_each_door_to_pages_of_this_site_and_those_allowed() {
    let server = server(by_cookie);
    let cookie = format!("Cookie: theme=dark; hub={}", percent_encoded(TOKEN));
    for site in [
        "Sec-Fetch-Site: same-origin",
        "Origin: http://localhost",
        "Origin: https://app.example",
    ] {
        for (status, request) in through_each_door("/lobby", &[&cookie, site]) {
            let answer = head_of(server.local_addr(), &request);
            assert_eq!(answer.status, status, "{site}: {answer:?}");
            let credentials = answer.header("access-control-allow-credentials");
            let is_readable = site.starts_with("Origin") && status != 101;
            let expected = if is_readable { "true" } else { "" };
            assert_eq!(credentials, expected, "{site}: {answer:?}");
        }
    }
}

#[test]
fn a_page_of_another_site_gains_nothing_by_its_visitors_cookie() {
    let server = server(by_cookie);
    let mut room = server.handle().subscribe("/lobby").unwrap();
    let cookie = format!("Cookie: hub={}", percent_encoded(TOKEN));
    for site in [
        "Origin: https://evil.example",
        "Origin: https://app.example.evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ] {
        for (_, request) in through_each_door("/lobby", &[&cookie, site]) {
            let answer = head_of(server.local_addr(), &request);
            assert_eq!(answer.status, 403, "{site}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), "");
            assert_eq!(answer.header("access-control-allow-credentials"), "");
        }
    }
    assert_eq!(server.handle().stats().broadcasts, 0);
    assert!(server.handle().clients().unwrap().is_empty());
    server.handle().broadcast("/lobby", "the first").unwrap();
    assert_eq!(room.next(), Some(Message::from("the first")));
}

#[test]
fn a_cookie_with_the_wrong_token_or_name_opens_nothing() {
    let server = server(by_cookie);
    let right = percent_encoded(TOKEN);
    let cookies = [
        "Cookie: hub=".to_owned(),
        "Cookie: hub=wrong".to_owned(),
        "Cookie: hub=%zz".to_owned(),
        format!("Cookie: hub2={right}"),
        format!("Cookie: HUB={right}"),
        format!("Cookie: theme={right}; hub"),
    ];
    for cookie in &cookies {
        for (_, request) in through_each_door("/lobby", &[cookie]) {
            assert_eq!(
                head_of(server.local_addr(), &request).status,
                401,
                "{cookie}"
            );
        }
    }
}

#[test]
fn a_cookie_that_every_page_could_use_is_refused_at_the_start() {
    let refused = |change: fn(&mut Config)| {
        let builder = Server::builder().configure(guarded).configure(change);
        builder.bind("127.0.0.1:0").unwrap_err().to_string()
    };
    let error = refused(|config| {
        config.token_cookie = Some("hub".to_owned());
        config.allow_origin = vec!["*".to_owned()];
    });
    assert!(error.contains("exclude each other"), "{error}");
    let error = refused(|config| config.token_cookie = Some("a b".to_owned()));
    assert!(error.contains("token-cookie \"a b\""), "{error}");
    let error = refused(|config| {
        config.token_cookie = Some("hub".to_owned());
        config.token = None;
    });
    assert!(error.contains("no effect without a token"), "{error}");
}

#[test]
fn without_the_right_token_each_door_answers_401() {
    let server = server(guarded);
    let mut room = server.handle().subscribe("/lobby").unwrap();
    let encoded = percent_encoded(TOKEN);
    let mut wrong = vec![
        ("/lobby".to_owned(), vec![]),
        ("/lobby?token=".to_owned(), vec![]),
        (format!("/lobby?tokens={encoded}"), vec![]),
        (format!("/lobby?Token={encoded}"), vec![]),
        (format!("/lobby?token={encoded}x"), vec![]),
        (format!("/lobby?token=%zz{encoded}"), vec![]),
        ("/lobby?token=%ff".to_owned(), vec![]),
        (
            "/lobby".to_owned(),
            vec!["Sec-WebSocket-Protocol: hubcast.token.".to_owned()],
        ),
        (
            "/lobby".to_owned(),
            vec!["Sec-WebSocket-Protocol: hubcast.token.%%".to_owned()],
        ),
        (
            "/lobby".to_owned(),
            vec!["Sec-WebSocket-Protocol: hubcast".to_owned()],
        ),
        (
            "/lobby".to_owned(),
            vec!["Authorization: Bearer".to_owned()],
        ),
        (
            "/lobby".to_owned(),
            vec!["Authorization: Bearer ".to_owned()],
        ),
        (
            "/lobby".to_owned(),
            vec![format!(
                "Authorization: Basic {}",
                BASE64.encode(TOKEN.as_bytes())
            )],
        ),
    ];
    for guess in [
        &TOKEN[1..],
        &TOKEN[..TOKEN.len() - 1],
        "open?>~ Sésame+&=%",
        "GUESS",
    ] {
        wrong.extend(ways(guess));
    }
    wrong.extend(bearers("GUESS"));
    for (target, headers) in &wrong {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        for (_, request) in through_each_door(target, &headers) {
            let asked = String::from_utf8_lossy(&request);
            let answer = ask_for_line(server.local_addr(), &request);
            assert_eq!(answer.status, 401, "{asked}");
            let scheme = answer.header("www-authenticate");
            assert!(scheme.starts_with("Bearer "), "{scheme}");
            let told = format!("{answer:?}");
            let secrets = ["GUESS", TOKEN, &encoded, &entry("GUESS")];
            assert!(
                secrets.iter().all(|secret| !told.contains(secret)),
                "{told}"
            );
        }
    }
    assert_eq!(server.handle().stats().joins, 0);
    server.handle().broadcast("/lobby", "the first").unwrap();
    assert_eq!(room.next().unwrap().as_text(), Some("the first"));
}

#[test]
fn what_says_nothing_of_the_rooms_needs_no_token() {
    let server = server(guarded);
    let address = server.local_addr();
    assert_eq!(look(address, "/-/healthz", &[]).status, 200);
    // The page asks for the token.
    assert_eq!(look(address, "/lobby", &["Accept: text/html"]).status, 200);
    assert_eq!(look(address, "/favicon.ico", &[]).status, 204);
    // A browser sends no token with what it asks before a request.
    assert_eq!(ask(address, &plain("OPTIONS", "/lobby", &[])).status, 204);
}

#[test]
fn the_subprotocol_that_is_answered_is_never_the_token() {
    let server = server(|config| {
        guarded(config);
        config.subprotocol = vec!["chat".to_owned()];
    });
    let token = entry(TOKEN);
    for (offers, answered) in [
        (format!("hubcast, {token}"), "hubcast"),
        (format!("{token}, hubcast"), "hubcast"),
        (format!("chat, hubcast, {token}"), "chat"),
        (format!("other, {token}, chat"), "chat"),
        (format!("other, {token}"), ""),
        (token.clone(), ""),
    ] {
        let header = format!("Sec-WebSocket-Protocol: {offers}");
        let answer = head_of(server.local_addr(), &websocket("/", &[&header]));
        assert_eq!(answer.status, 101, "{offers}");
        assert_eq!(
            answer.header("sec-websocket-protocol"),
            answered,
            "{offers}"
        );
    }
    // A browser would fail a connection where none of its offers is answered.
    let origin = "Origin: http://localhost";
    for (offers, status) in [
        (token.clone(), 400),
        (format!("{token}, {token}"), 400),
        (format!("{token}, hubcast"), 101),
        (format!("{token}, other"), 101),
    ] {
        let header = format!("Sec-WebSocket-Protocol: {offers}");
        let answer = head_of(server.local_addr(), &websocket("/", &[&header, origin]));
        assert_eq!(answer.status, status, "{offers}");
    }
    let offered = |upgrade: &mut Upgrade<'_>| {
        let token = upgrade
            .offered_subprotocols()
            .find(|offer| offer.contains("token"));
        assert_eq!(token, None);
        let first = upgrade.request().headers()["x-set"].to_str().unwrap();
        upgrade.set_subprotocol(Some(first));
        Ok(())
    };
    let hooked = hubcast::Server::builder()
        .configure(guarded)
        .on_upgrade(offered)
        .bind("127.0.0.1:0");
    let hooked = hooked.unwrap().spawn().unwrap();
    let header = format!("Sec-WebSocket-Protocol: {token}, x");
    let set = format!("X-Set: {token}");
    let answer = head_of(hooked.local_addr(), &websocket("/", &[&header, &set]));
    assert_eq!(answer.header("sec-websocket-protocol"), "", "{answer:?}");
}

#[test]
fn nobody_learns_a_token_from_the_log_or_an_answer() {
    let secrets = ["room-SECRET", "publish-SECRET", "guess-SECRET"];
    let [room, publish, _] = secrets;
    let mut command = Program::command(&["--allow-publish", "--no-page"]);
    command
        .env("RUST_LOG", "trace")
        .env("HUBCAST_TOKEN", room)
        .env("HUBCAST_PUBLISH_TOKEN", publish);
    let mut program = Program::launch(command);
    let mut told = String::new();
    for secret in secrets {
        for (target, headers) in ways(secret).into_iter().chain(bearers(secret)) {
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            let requests = through_each_door(&target, &headers).into_iter();
            let foreign = [&headers[..], &["Origin: http://evil.example"]].concat();
            let other = [
                websocket(&target, &foreign),
                websocket(&target, &[&headers[..], &["Bad Header: x"]].concat()),
                plain("PUT", &target, &headers),
                post("/%zz", &headers, b"x"),
            ];
            for request in requests.map(|(_, request)| request).chain(other) {
                let answer = head_of(program.address, &request);
                // A stream of events has no end to wait for.
                if !matches!(answer.status, 101 | 200) {
                    told += &ask(program.address, &request).body;
                }
                told += &format!("{answer:?}\n");
            }
        }
    }
    assert!(told.contains("status: 101") && told.contains("status: 202"));
    program.signal(Signal::TERM);
    let log = program.whole_log();
    assert!(log.contains("DEBUG") && log.contains("joined"), "{log}");
    for secret in secrets {
        let bytes = secret.as_bytes();
        let percent = percent_encoded(secret);
        for form in [secret, &percent, &BASE64.encode(bytes), &entry(secret)] {
            assert!(!told.contains(form), "{form} in {told}");
            assert!(!log.contains(form), "{form} in {log}");
        }
    }
    assert!(!log.contains("SECRET") && !told.contains("SECRET"), "{log}");
}

#[test]
fn the_token_may_stand_in_a_file() {
    let path = std::env::temp_dir().join(format!("hubcast-token-{}", std::process::id()));
    std::fs::write(&path, "in the file\nand not this\n").unwrap();
    let option = format!("--token-file={}", path.display());
    let program = Program::start(&[&option]);
    let refused = ask_for_line(program.address, &handshake("/"));
    assert_eq!(refused.status, 401);
    Raw::open(program.address, "/?token=in%20the%20file");
    let asking = follow("/", &["Authorization: Bearer in the file"]);
    Follower::ask(dial(program.address), &asking);
    drop(program);

    std::fs::write(&path, "\n").unwrap();
    for args in [
        &[option.as_str()][..],
        &["--token="],
        &["--token=x", &option],
        &["--token-file=/no/such/file"],
    ] {
        let output = Program::command(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("token"), "{said}");
    }
    std::fs::remove_file(&path).unwrap();
}
