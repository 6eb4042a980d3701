//! When hooks run, and what they may do.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, ThreadId};
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use hubcast::{
    Client, CloseCode, Departure, Handle, Handler, Message, Refusal, Running, Server, Upgrade,
};

use super::{close, expect_texts, spawn};
use crate::http::ask_for_line;
use crate::kit::frame::{Opcode, masked};
use crate::kit::http::{Answer, UPGRADE, follow, handshake, read_head, request};
use crate::support::{Raw, deadline, dial, eventually, reset, wait_closed};

/// Writes down every hook that runs.
struct Diary(Mutex<Sender<(ThreadId, String)>>);

impl Diary {
    fn note(&self, what: String) {
        let note = (thread::current().id(), what);
        let _ = self.0.lock().unwrap().send(note);
    }
}

impl Handler for Diary {
    fn on_upgrade(&self, upgrade: &mut Upgrade<'_>) -> Result<(), Refusal> {
        self.note(format!("upgrade {}", upgrade.room()));
        match upgrade.room() {
            "/private" => Err(Refusal::new(StatusCode::FORBIDDEN, "members only")),
            _ => Ok(()),
        }
    }

    fn on_join(&self, client: &Client) {
        self.note(format!("join {}", client.room()));
    }

    fn on_message(&self, _client: &Client, message: Message) -> Option<Message> {
        self.note(format!("message {}", message.as_text()?));
        Some(message)
    }

    fn on_leave(&self, _client: &Client, departure: &Departure) {
        self.note(format!("leave {}", departure.cause.name()));
    }
}

#[test]
fn the_hooks_of_a_client_run_in_order_on_one_thread() {
    let (sender, notes) = channel();
    let server = spawn(Server::builder().handler(Diary(Mutex::new(sender))));
    let refused = ask_for_line(server.local_addr(), &handshake("/private"));
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (403, "members only\n")
    );
    let mut client = Raw::connect(&server, "/lobby");
    client.send_bytes(&masked(Opcode::Text, b"one"));
    client.send(Opcode::Text, b"two");
    expect_texts(&mut client, &["one", "two"]);
    close(client);
    let next = || notes.recv_timeout(deadline()).unwrap();
    assert_eq!(next().1, "upgrade /private");
    let (thread, note) = next();
    assert_eq!(note, "upgrade /lobby");
    for expected in [
        "join /lobby",
        "message one",
        "message two",
        "leave closed_by_peer",
    ] {
        assert_eq!(next(), (thread, expected.to_owned()));
    }
    // A refused client has neither joined nor left.
    server.shutdown().unwrap();
    assert!(notes.try_recv().is_err());
}

#[test]
fn a_closure_takes_the_place_of_the_handlers_hook() {
    let (sender, notes) = channel();
    let server = spawn(
        Server::builder()
            .handler(Diary(Mutex::new(sender)))
            .on_message(|_, message| Some(Message::from(format!("closure: {message:?}")))),
    );
    let mut client = Raw::connect(&server, "/");
    client.send(Opcode::Text, b"hi");
    expect_texts(&mut client, &["closure: Text(\"hi\")"]);
    close(client);
    server.shutdown().unwrap();
    let notes: Vec<String> = notes.try_iter().map(|(_, note)| note).collect();
    assert_eq!(notes, ["upgrade /", "join /", "leave closed_by_peer"]);
}

#[test]
fn a_hook_relays_changes_and_stops_messages() {
    let server = spawn(Server::builder().on_message(|client, message| {
        match message.as_text()? {
            "silence" => None,
            "bytes" => Some(Message::from(vec![1, 2])),
            "both" => {
                // What a hook sends comes before what it returns.
                client.handle().broadcast(client.room(), "sent").ok()?;
                Some(Message::from("returned"))
            }
            text => Some(Message::from(text.to_uppercase())),
        }
    }));
    let mut client = Raw::connect(&server, "/");
    let mut other = Raw::connect(&server, "/");
    for text in ["shout", "silence", "bytes", "both", "end"] {
        client.send(Opcode::Text, text.as_bytes());
    }
    client.send(Opcode::Binary, b"silence too");
    for client in [&mut client, &mut other] {
        expect_texts(client, &["SHOUT"]);
        assert_eq!(client.data().opcode, Opcode::Binary);
        expect_texts(client, &["sent", "returned", "END"]);
    }
    server.handle().broadcast("/", "last").unwrap();
    expect_texts(&mut client, &["last"]);
}

#[test]
fn a_join_is_greeted_before_anything_else_is_heard_of_it() {
    let server = spawn(Server::builder().on_join(|client| {
        let _ = client.send(format!("you are {}", client.id()));
        let handle = client.handle();
        let news = format!("{} is here", client.id());
        let _ = handle.broadcast_except(client.room(), client.id(), news);
    }));
    let mut ann = Raw::connect(&server, "/");
    expect_texts(&mut ann, &["you are 1"]);
    let mut bob = Raw::connect(&server, "/");
    expect_texts(&mut bob, &["you are 2"]);
    expect_texts(&mut ann, &["2 is here"]);
    bob.send(Opcode::Text, b"hello");
    expect_texts(&mut bob, &["hello"]);
    expect_texts(&mut ann, &["hello"]);
}

#[test]
fn what_a_hook_sees_is_counted_already() {
    let server = spawn(Server::builder().on_message(|client, _| {
        let clients = client.handle().clients().ok()?;
        let info = clients.iter().find(|info| info.id == client.id())?;
        let total = client.handle().stats().received_bytes;
        let counts = (info.received_messages, info.received_bytes, total);
        Some(format!("{counts:?}").into())
    }));
    let mut client = Raw::connect(&server, "/");
    for counts in ["(1, 11, 11)", "(2, 22, 22)"] {
        client.send(Opcode::Text, b"hello");
        expect_texts(&mut client, &[counts]);
    }
}

#[test]
fn a_slow_hook_holds_up_its_own_client_only() {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let server = spawn(Server::builder().on_message(move |_, message| {
        if message.as_text() == Some("wait") {
            let _ = held.lock().unwrap().recv();
        }
        Some(message)
    }));
    let mut slow = Raw::connect(&server, "/");
    let mut other = Raw::connect(&server, "/");
    slow.send(Opcode::Text, b"wait");
    slow.send(Opcode::Text, b"behind");
    for _ in 0..50 {
        other.send(Opcode::Text, b"past");
        expect_texts(&mut other, &["past"]);
        expect_texts(&mut slow, &["past"]);
    }
    release.send(()).unwrap();
    expect_texts(&mut other, &["wait", "behind"]);
}

#[test]
fn an_upgrade_is_refused_with_what_the_program_says() {
    let server = spawn(Server::builder().on_upgrade(|upgrade| {
        assert_ne!(upgrade.room(), "/panic", "as the test wants");
        let key = upgrade.request().headers().get("x-key");
        if key.is_some_and(|key| key == "open sesame") {
            return Ok(());
        }
        let challenge = HeaderValue::from_static("Bearer");
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "no key");
        Err(refusal.header(header::WWW_AUTHENTICATE, challenge))
    }));
    let refused = ask_for_line(server.local_addr(), &handshake("/"));
    assert_eq!((refused.status, refused.body.as_str()), (401, "no key\n"));
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let failed = ask_for_line(server.local_addr(), &handshake("/panic"));
    assert_eq!(failed.status, 500);
    let mut stream = dial(server.local_addr());
    let headers = [&UPGRADE[..], &["X-Key: open sesame"]].concat();
    let good = request("GET / HTTP/1.1", &headers);
    stream.write_all(&good).unwrap();
    assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(server.handle().stats().joins, 1);
}

#[test]
fn a_refusal_is_one_valid_answer_whatever_the_program_says() {
    let server = spawn(Server::builder().on_upgrade(|upgrade| {
        let status: u16 = upgrade.room().trim_start_matches('/').parse().unwrap();
        let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), "no");
        let value = HeaderValue::from_static;
        Err(refusal
            .header(header::CONTENT_TYPE, value("application/problem+json"))
            .header(header::CONTENT_LENGTH, value("0"))
            .header(header::TRANSFER_ENCODING, value("chunked"))
            .header(header::CONNECTION, value("keep-alive"))
            .header(header::SET_COOKIE, value("a=1"))
            .header(header::SET_COOKIE, value("b=2")))
    }));
    for (asked, status) in [
        (100, 500),
        (101, 500),
        (200, 200),
        (204, 204),
        (304, 304),
        (403, 403),
        (599, 599),
    ] {
        let mut stream = dial(server.local_addr());
        stream.write_all(&handshake(&format!("/{asked}"))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let answer = Answer::parse(&text).unwrap();
        assert_eq!(answer.status, status, "{asked}: {text}");
        let has_body = ![204, 304].contains(&status);
        let expected = if has_body { "no\n" } else { "" };
        assert_eq!(answer.body, expected, "{asked}: {text}");
        let length = if has_body { "3" } else { "" };
        assert_eq!(answer.header("content-length"), length, "{asked}: {text}");
        let kind = if has_body {
            "application/problem+json"
        } else {
            ""
        };
        assert_eq!(answer.header("content-type"), kind, "{asked}: {text}");
        assert_eq!(answer.header("transfer-encoding"), "", "{asked}: {text}");
        assert_eq!(answer.header("connection"), "close", "{asked}: {text}");
        assert_eq!(answer.header("set-cookie"), "a=1, b=2", "{asked}: {text}");
    }
}

#[test]
fn an_upgrade_adds_headers_to_the_answer_but_not_the_servers_own() {
    let server = spawn(Server::builder().on_upgrade(|upgrade| {
        let value = HeaderValue::from_static;
        for name in [
            header::CONNECTION,
            header::UPGRADE,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::TRANSFER_ENCODING,
            header::SEC_WEBSOCKET_ACCEPT,
            header::SEC_WEBSOCKET_EXTENSIONS,
            header::SEC_WEBSOCKET_PROTOCOL,
        ] {
            upgrade.add_header(name, value("forged"));
        }
        upgrade.add_header(header::SET_COOKIE, value("seat=7"));
        Ok(())
    }));
    for (request, status) in [(handshake("/"), 101), (follow("/", &[]), 200)] {
        let mut stream = dial(server.local_addr());
        stream.write_all(&request).unwrap();
        let head = read_head(&mut stream).unwrap();
        let answer = Answer::parse(&head).unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("set-cookie"), "seat=7");
        assert!(!head.contains("forged"), "{head}");
    }
}

#[test]
fn an_upgrade_chooses_room_and_subprotocol() {
    let server = spawn(
        Server::builder()
            .configure(|config| config.subprotocol = vec!["v1".to_owned()])
            .on_upgrade(|upgrade| {
                assert!(upgrade.peer().ip().unwrap().is_loopback());
                let offered: Vec<&str> = upgrade.offered_subprotocols().collect();
                match upgrade.room() {
                    "/keep" => assert_eq!(upgrade.subprotocol(), Some("v1")),
                    "/other" => upgrade.set_subprotocol(offered.last().copied()),
                    "/none" => upgrade.set_subprotocol(None),
                    _ => upgrade.set_subprotocol(Some("not offered")),
                }
                upgrade.set_room("one for all");
                Ok(())
            }),
    );
    let offer = "Sec-WebSocket-Protocol: v1, v2";
    let headers = [&UPGRADE[..], &[offer]].concat();
    let mut streams = Vec::new();
    for (path, chosen) in [
        ("/keep", "v1"),
        ("/other", "v2"),
        ("/none", ""),
        ("/bad", ""),
    ] {
        let mut stream = dial(server.local_addr());
        let line = format!("GET {path} HTTP/1.1");
        stream.write_all(&request(&line, &headers)).unwrap();
        let answer = Answer::parse(&read_head(&mut stream).unwrap()).unwrap();
        assert_eq!(answer.status, 101);
        assert_eq!(answer.header("sec-websocket-protocol"), chosen, "{path}");
        streams.push(stream);
    }
    let clients = server.handle().clients_in("/one for all").unwrap();
    assert_eq!(clients.len(), streams.len());
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn what_is_attached_is_seen_by_all_hooks_and_dropped_with_the_client() {
    let drops = Arc::new(AtomicUsize::new(0));
    let attached = drops.clone();
    let (sender, left) = channel();
    let server = spawn(
        Server::builder()
            .on_upgrade(move |upgrade| {
                let name = upgrade.request().uri().query().unwrap_or("?");
                upgrade.attach("replaced");
                upgrade.attach((name.to_owned(), Dropped(attached.clone())));
                Ok(())
            })
            .on_message(|client, message| {
                let (name, _): &(String, Dropped) = client.attached()?;
                assert!(client.attached::<u8>().is_none());
                Some(Message::from(format!("{name}: {}", message.as_text()?)))
            })
            .on_leave(move |client, _| {
                let attached: Option<&(String, Dropped)> = client.attached();
                let _ = sender.send(attached.unwrap().0.clone());
            }),
    );
    let mut ann = Raw::connect(&server, "/?ann");
    let mut bob = Raw::connect(&server, "/?bob");
    ann.send(Opcode::Text, b"hi");
    expect_texts(&mut ann, &["ann: hi"]);
    expect_texts(&mut bob, &["ann: hi"]);
    let handle = server.handle();
    let is_bob = |client: &Client| {
        let attached: Option<&(String, Dropped)> = client.attached();
        attached.is_some_and(|(name, _)| name == "bob")
    };
    handle.broadcast_where("/", is_bob, "only bob").unwrap();
    expect_texts(&mut bob, &["only bob"]);
    // A clone keeps what is attached, and not the connection.
    let kept = handle.members("/").unwrap();
    close(ann);
    assert_eq!(left.recv_timeout(deadline()).unwrap(), "ann");
    close(bob);
    assert_eq!(left.recv_timeout(deadline()).unwrap(), "bob");
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    kept.iter().for_each(|client| client.send("gone").unwrap());
    drop(kept);
    eventually("both values to be dropped", || {
        drops.load(Ordering::SeqCst) == 2
    });
}

/// Asks the server when it is dropped, and says on which thread that was.
struct LastWords(Arc<OnceLock<Handle>>, Sender<String>);

impl Drop for LastWords {
    fn drop(&mut self) {
        let handle = self.0.get().unwrap();
        let asked = handle.clients().is_ok() && handle.broadcast("/", "bye").is_ok();
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        let _ = self.1.send(format!("{asked} {name}"));
    }
}

#[test]
fn what_is_attached_may_ask_the_server_when_it_is_dropped() {
    let (sender, dropped) = channel();
    let sender = Mutex::new(sender);
    let handle = Arc::new(OnceLock::new());
    let handles = handle.clone();
    let server = spawn(Server::builder().on_upgrade(move |upgrade| {
        let sender = sender.lock().unwrap().clone();
        upgrade.attach(LastWords(handles.clone(), sender));
        Ok(())
    }));
    handle.set(server.handle()).unwrap();
    // A full inbox, so that the hub hears of each departure late.
    let flood = thread::spawn({
        let handle = server.handle();
        move || while handle.broadcast("/nowhere", vec![0; 1000]).is_ok() {}
    });
    for _ in 0..50 {
        reset(Raw::connect(&server, "/").stream);
        let words = dropped.recv_timeout(deadline()).expect("it is dropped");
        assert!(words.starts_with("true reader-"), "{words}");
    }
    server.shutdown().unwrap();
    flood.join().unwrap();
}

#[test]
fn a_hook_may_shut_the_server_down() {
    let server = spawn(Server::builder().on_message(|client, message| {
        client.handle().shutdown();
        Some(message)
    }));
    let mut client = Raw::connect(&server, "/");
    client.send(Opcode::Text, b"stop");
    loop {
        let frame = client.data();
        if frame.opcode == Opcode::Close {
            break assert_eq!(frame.close_code(), Some(1001));
        }
    }
    client.send(Opcode::Close, &1001u16.to_be_bytes());
    client.expect_end();
    drop(client);
    let summary = server.wait().unwrap();
    assert_eq!((summary.aborted, summary.left), (0, 0));
}

#[test]
fn a_hook_that_drops_the_server_does_not_deadlock() {
    let owner: Arc<Mutex<Option<Running>>> = Arc::default();
    let owned = owner.clone();
    let (sender, dropped) = channel();
    let server = spawn(
        Server::builder()
            .configure(|config| config.shutdown_timeout = Duration::from_millis(200))
            .on_message(move |_, _| {
                let server = owned.lock().unwrap().take();
                drop(server);
                let _ = sender.send(());
                None
            }),
    );
    let mut client = Raw::connect(&server, "/");
    *owner.lock().unwrap() = Some(server);
    client.send(Opcode::Text, b"drop it");
    dropped.recv_timeout(deadline()).expect("it has returned");
}

#[test]
fn a_hook_may_disconnect_its_client_and_is_not_called_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let server = spawn(Server::builder().on_message(move |client, message| {
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = client.disconnect(CloseCode::POLICY_VIOLATION, "one is enough");
        // Once the hub has done it, nothing more of the client counts.
        let _ = client.handle().clients();
        Some(message)
    }));
    let mut client = Raw::connect(&server, "/");
    for _ in 0..10 {
        client.send(Opcode::Text, b"again");
    }
    assert_eq!(client.data().close_code(), Some(1008));
    client.send(Opcode::Close, &1008u16.to_be_bytes());
    client.expect_end();
    drop(client);
    wait_closed(&server, "disconnected", 1);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
