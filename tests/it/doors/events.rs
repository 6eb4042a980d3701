//! Server-sent events: a member of the room that only listens.

use std::io::Write;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hubcast::{Cause, CloseCode, Config, Message, Refusal, Running, Server, SlowConsumer};

use super::{Follower, Part};
use crate::http::{ask, ask_for_line};
use crate::kit::frame::{Opcode, masked};
use crate::kit::http::{follow, post, request};
use crate::support::{
    Raw, deadline, dial, dial_tight, eventually, server, tight_server, wait_closed,
};

#[test]
fn a_stream_of_events_opens_with_its_headers_and_a_comment() {
    let server = server(|_| {});
    let mut follower = Follower::join(&server, "/caf%C3%A9?name=ann");
    let head = &follower.head;
    assert_eq!(head.header("content-type"), "text/event-stream");
    assert_eq!(head.header("cache-control"), "no-store, no-transform");
    assert_eq!(head.header("connection"), "close");
    for absent in ["content-length", "transfer-encoding", "content-encoding"] {
        assert_eq!(head.header(absent), "", "{absent}");
    }
    assert_eq!(head.header("access-control-allow-origin"), "");
    let welcome = follower.part().unwrap();
    assert!(matches!(welcome, Part::Comment(_)), "{welcome:?}");
    assert_eq!(server.handle().clients_in("/café").unwrap().len(), 1);
}

#[test]
fn whoever_accepts_event_streams_gets_one() {
    let server = server(|_| {});
    for accept in [
        "Accept: text/event-stream",
        "accept: TEXT/Event-Stream",
        "Accept: application/json, text/event-stream;q=0.9, */*",
        "Accept: text/event-stream, text/html",
    ] {
        let asking = request("GET / HTTP/1.1", &["Host: localhost", accept]);
        Follower::ask(dial(server.local_addr()), &asking);
    }
    for accept in ["Accept: text/*", "Accept: text/event-streams"] {
        let asking = request("GET / HTTP/1.1", &["Host: localhost", accept]);
        assert_eq!(ask_for_line(server.local_addr(), &asking).status, 426);
    }
}

#[test]
fn a_client_of_events_that_does_not_stop_talking_is_ended() {
    let server = server(|_| {});
    let mut follower = Follower::join(&server, "/");
    follower.stream.get_mut().write_all(&[b'x'; 8192]).unwrap();
    wait_closed(&server, "protocol_error", 1);
}

#[test]
fn a_text_comes_as_the_lines_it_has() {
    let server = server(|_| {});
    let mut follower = Follower::join(&server, "/");
    let mut client = Raw::connect(&server, "/");
    for text in [
        "hello",
        "two\nlines",
        "\na\r\nb\rc\n\r\n\n",
        "",
        "x\n\nevent: close\ndata: forged\n\n",
        "x\r\revent: close\rid: 7\r\r",
        " space and\ttab ",
        ": no comment",
        "data: x",
        "\u{feff}🎉 <b>&amp;</b> \u{2028}\u{85}\0",
    ] {
        client.send(Opcode::Text, text.as_bytes());
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(follower.event(), ("message".to_owned(), lines));
    }
}

#[test]
fn bytes_come_as_base64_under_an_event_name_of_their_own() {
    let server = server(|config| config.allow_publish = true);
    let mut follower = Follower::join(&server, "/");
    let mut client = Raw::connect(&server, "/");
    let all: Vec<u8> = (0..=255).collect();
    for bytes in [&b""[..], b"text", &[0xff, 0xfe], &all] {
        let expected = ("binary".to_owned(), BASE64.encode(bytes));
        client.send(Opcode::Binary, bytes);
        assert_eq!(follower.event(), expected);
        let posting = post("/", &["Content-Type: application/octet-stream"], bytes);
        assert_eq!(ask(server.local_addr(), &posting).status, 202);
        assert_eq!(follower.event(), expected);
    }
}

#[test]
fn an_idle_stream_is_kept_alive_by_comments() {
    let interval = Duration::from_millis(100);
    let server = server(|config| {
        config.ping_interval = interval;
        // No pong comes from a client of events, nor is one waited for.
        config.pong_timeout = Duration::from_millis(1);
    });
    let mut follower = Follower::join(&server, "/");
    follower.part();
    for _ in 0..4 {
        let comment = Part::Comment("keepalive".to_owned());
        assert_eq!(follower.part(), Some(comment));
    }
    server.handle().broadcast("/", "still here").unwrap();
    assert_eq!(follower.text(), "still here");
}

#[test]
fn a_shutdown_is_the_last_event_behind_what_was_broadcast() {
    let server = server(|_| {});
    let mut followers = [(); 3].map(|()| Follower::join(&server, "/"));
    for number in 0..100 {
        server.handle().broadcast("/", number.to_string()).unwrap();
    }
    let (done, ended) = channel();
    let stopping = thread::spawn(move || drop(done.send(server.shutdown())));
    for follower in &mut followers {
        for number in 0..100 {
            assert_eq!(follower.text(), number.to_string());
        }
        follower.expect_close("1001 server shutdown");
    }
    // A peer that reads the end of the stream ends it, too.
    drop(followers);
    let summary = ended.recv_timeout(deadline()).unwrap().unwrap();
    stopping.join().unwrap();
    assert_eq!((summary.aborted, summary.left), (0, 0));
    assert_eq!(summary.stats.departed("shutdown"), 3);
}

#[test]
fn a_program_can_disconnect_a_follower() {
    let server = server(|_| {});
    let handle = server.handle();
    let mut follower = Follower::join(&server, "/");
    let id = handle.clients().unwrap()[0].id;
    handle.send(id, "for you").unwrap();
    let code = CloseCode::new(4000).unwrap();
    handle.disconnect(id, code, "two\r\nlines").unwrap();
    assert_eq!(follower.text(), "for you");
    follower.expect_close("4000 two  lines");
    drop(follower);
    wait_closed(&server, "disconnected", 1);
}

#[test]
fn a_follower_that_goes_is_no_member_any_more() {
    let server = server(|_| {});
    let mut stays = Follower::join(&server, "/");
    let mut goes = Follower::join(&server, "/");
    // A stream with something unread would end by a reset.
    goes.part();
    drop(goes);
    wait_closed(&server, "closed_by_peer", 1);
    eventually("one client to be left", || {
        server.handle().clients_in("/").unwrap().len() == 1
    });
    server.handle().broadcast("/", "just us").unwrap();
    assert_eq!(stays.text(), "just us");
}

#[test]
fn what_a_follower_sends_is_not_relayed() {
    let server = server(|_| {});
    let mut other = Raw::connect(&server, "/");
    let mut follower = Follower::join(&server, "/");
    let mut sending = follower.stream.get_ref();
    sending
        .write_all(&masked(Opcode::Text, b"a frame"))
        .unwrap();
    sending.write_all(&post("/", &[], b"a request")).unwrap();
    other.send(Opcode::Text, b"the first");
    assert_eq!(other.data().payload, b"the first");
    assert_eq!(follower.text(), "the first");
    assert_eq!(server.handle().stats().received_messages, 1);
}

/// What everybody reads before the end.
const LAST: &str = "the last";

#[test]
fn everybody_has_one_order_whatever_the_door() {
    const EACH: usize = 100;
    let server = server(|config| config.allow_publish = true);
    let address = server.local_addr();
    let mut subscription = server.handle().subscribe("/").unwrap();
    let mut followers = [(); 2].map(|()| Follower::join(&server, "/"));
    let mut members = [(); 2].map(|()| Raw::connect(&server, "/"));
    let posting = thread::spawn(move || {
        for number in 0..EACH {
            let text = format!("post {number}");
            assert_eq!(ask(address, &post("/", &[], text.as_bytes())).status, 202);
        }
    });
    let handle = server.handle();
    let calling = thread::spawn(move || {
        for number in 0..EACH {
            handle.broadcast("/", format!("call {number}")).unwrap();
        }
    });
    for number in 0..EACH {
        members[0].send(Opcode::Text, format!("ann {number}").as_bytes());
        members[1].send(Opcode::Text, format!("bob {number}").as_bytes());
    }
    posting.join().unwrap();
    calling.join().unwrap();
    let until_the_last = |next: &mut dyn FnMut() -> String| {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != LAST) {
            texts.push(next());
        }
        texts
    };
    // Once both have got everything, nothing comes behind the last.
    let mut heard: Vec<Vec<String>> = members
        .iter_mut()
        .map(|member| {
            let next = || String::from_utf8(member.data().payload).unwrap();
            std::iter::repeat_with(next).take(4 * EACH).collect()
        })
        .collect();
    server.handle().broadcast("/", LAST).unwrap();
    for texts in &mut heard {
        texts.push(LAST.to_owned());
    }
    for follower in &mut followers {
        heard.push(until_the_last(&mut || follower.text()));
    }
    heard.push(until_the_last(&mut || {
        let message = subscription.next().unwrap();
        message.as_text().unwrap().to_owned()
    }));
    assert_eq!(heard[0].len(), 4 * EACH + 1);
    for texts in &heard {
        assert_eq!(texts, &heard[0]);
    }
}

/// Broadcasts numbered messages of 1 KiB.
fn send_numbered(server: &Running, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let message = format!("{number:<1024}");
        server.handle().broadcast("/", message).unwrap();
    }
}

/// The number of a message, unless its event has another name.
#[track_caller]
fn number_of((name, data): &(String, String)) -> Option<usize> {
    if name != "message" {
        return None;
    }
    assert_eq!(data.len(), 1024);
    Some(data.trim_end().parse().unwrap())
}

fn never_times_out(config: &mut Config) {
    config.write_timeout = Duration::from_secs(600);
}

#[test]
fn a_stalled_follower_delays_nobody_and_is_evicted_with_1008() {
    let server = tight_server(|config| {
        config.queue_bytes = 32 * 1024;
        never_times_out(config);
    });
    let stream = dial_tight(server.local_addr());
    let mut stalled = Follower::join_by(stream, "/");
    let mut member = Raw::connect(&server, "/");
    let mut follower = Follower::join(&server, "/");
    for number in 0..300 {
        send_numbered(&server, number..number + 1);
        assert_eq!(number_of(&follower.event()), Some(number));
        assert_eq!(member.data().payload.len(), 1024);
    }
    // It is in no room any more, though it has not taken its last event.
    assert_eq!(server.handle().clients_in("/").unwrap().len(), 2);
    let mut received = 0;
    let last = loop {
        let event = stalled.event();
        let Some(number) = number_of(&event) else {
            break event;
        };
        assert_eq!(number, received, "no gap before the end");
        received += 1;
    };
    assert!(received > 0 && received < 300, "{received} received");
    let (name, data) = last;
    assert_eq!(name, "close");
    assert!(data.starts_with("1008 slow consumer: "), "{data}");
    assert!(data.ends_with(" bytes) behind #1"), "{data}");
    assert_eq!(stalled.part(), None);
    drop(stalled);
    wait_closed(&server, "evicted", 1);
}

#[test]
fn an_evicted_follower_that_reads_nothing_is_gone_after_the_closing_deadline() {
    let server = tight_server(|config| {
        config.queue_messages = 4;
        config.close_timeout = Duration::from_millis(200);
        never_times_out(config);
    });
    let stream = dial_tight(server.local_addr());
    let stalled = Follower::join_by(stream, "/");
    send_numbered(&server, 0..200);
    wait_closed(&server, "evicted", 1);
    eventually("its backlog to be gone", || {
        server.handle().stats().queue_bytes == 0
    });
    drop(stalled);
}

#[test]
fn a_stalled_follower_is_dropped_when_a_write_takes_too_long() {
    let server = tight_server(|config| config.write_timeout = Duration::from_millis(200));
    let stream = dial_tight(server.local_addr());
    let stalled = Follower::join_by(stream, "/");
    server.handle().broadcast("/", vec![0; 1 << 19]).unwrap();
    wait_closed(&server, "write_timeout", 1);
    drop(stalled);
}

/// Sends 500 numbered messages to a follower that stalls on a large one and
/// has room for 15 behind it; returns those that it reads.
fn read_after_a_stall(policy: SlowConsumer) -> Vec<usize> {
    let server = tight_server(|config| {
        config.slow_consumer = policy;
        config.queue_messages = 16;
        never_times_out(config);
    });
    let stream = dial_tight(server.local_addr());
    let mut stalled = Follower::join_by(stream, "/");
    let given = |messages: u64| {
        eventually("the hub to have given all messages", || {
            server.handle().stats().deliveries >= messages
        });
    };
    let large = vec![7; 1 << 19];
    server.handle().broadcast("/", large.clone()).unwrap();
    given(1);
    send_numbered(&server, 0..500);
    given(501);
    assert_eq!(server.handle().clients().unwrap()[0].dropped_messages, 485);
    assert_eq!(
        stalled.event(),
        ("binary".to_owned(), BASE64.encode(&large))
    );
    let mut number = || number_of(&stalled.event()).expect("a message");
    let received = (0..15).map(|_| number()).collect();
    // Nothing else comes before the next message, and that one does come.
    send_numbered(&server, 999..1000);
    assert_eq!(number(), 999);
    assert_eq!(server.handle().stats().dropped_messages, 485);
    received
}

#[test]
fn with_drop_oldest_a_slow_follower_ends_with_the_newest_in_order() {
    let received = read_after_a_stall(SlowConsumer::DropOldest);
    assert_eq!(received, (485..500).collect::<Vec<usize>>());
}

#[test]
fn with_drop_newest_a_slow_follower_ends_with_the_oldest_in_order() {
    let received = read_after_a_stall(SlowConsumer::DropNewest);
    assert_eq!(received, (0..15).collect::<Vec<usize>>());
}

#[test]
fn a_page_of_another_site_follows_only_where_that_is_allowed() {
    let server = server(|config| {
        config.allow_origin = vec!["https://app.example".to_owned()];
    });
    for foreign in [
        "Origin: https://evil.example",
        "Origin: http://app.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ] {
        let answer = ask_for_line(server.local_addr(), &follow("/", &[foreign]));
        assert_eq!(answer.status, 403, "{foreign}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    for allowed in ["https://app.example", "http://localhost"] {
        let origin = format!("Origin: {allowed}");
        let headers = [&origin, "Sec-Fetch-Site: cross-site"];
        let asking = follow("/", &headers);
        let follower = Follower::ask(dial(server.local_addr()), &asking);
        let cors = follower.head.header("access-control-allow-origin");
        assert_eq!(cors, allowed);
        assert_eq!(follower.head.header("vary").to_lowercase(), "origin");
    }
}

#[test]
fn the_hooks_are_for_followers_too() {
    let (tell, told) = channel();
    let tell_of_leaving = tell.clone();
    let server = Server::builder()
        .on_upgrade(|upgrade| {
            let query = upgrade.request().uri().query();
            let Some(name) = query.and_then(|query| query.strip_prefix("name=")) else {
                let status = http::StatusCode::PAYMENT_REQUIRED;
                return Err(Refusal::new(status, "say who you are"));
            };
            upgrade.attach(name.to_owned());
            upgrade.set_room("/chosen");
            Ok(())
        })
        .on_join(move |client| {
            let name = client.attached::<String>().unwrap();
            client.send(format!("welcome, {name}")).unwrap();
            let _ = tell.send(format!("{name} joined {}", client.room()));
        })
        .on_leave(move |client, departure| {
            let name = client.attached::<String>().unwrap();
            assert!(matches!(departure.cause, Cause::ClosedByPeer));
            let _ = tell_of_leaving.send(format!("{name} left"));
        })
        .bind("127.0.0.1:0");
    let server = server.unwrap().spawn().unwrap();
    let refused = ask_for_line(server.local_addr(), &follow("/", &[]));
    assert_eq!(refused.status, 402);
    assert_eq!(refused.body, "say who you are\n");
    let mut follower = Follower::join(&server, "/asked?name=ann");
    assert_eq!(follower.text(), "welcome, ann");
    server.handle().broadcast("/chosen", "here").unwrap();
    assert_eq!(follower.text(), "here");
    let next = || told.recv_timeout(deadline()).unwrap();
    assert_eq!(next(), "ann joined /chosen");
    drop(follower);
    assert_eq!(next(), "ann left");
}

#[test]
fn a_panic_in_a_hook_ends_that_stream_with_1011() {
    let server = Server::builder()
        .on_join(|client| assert_ne!(client.room(), "/panic", "as the test has it"))
        .bind("127.0.0.1:0");
    let server = server.unwrap().spawn().unwrap();
    let mut other = Follower::join(&server, "/");
    let mut follower = Follower::join(&server, "/panic");
    let (name, data) = follower.event();
    assert_eq!(name, "close");
    assert!(data.starts_with("1011 "), "{data}");
    assert_eq!(follower.part(), None);
    drop(follower);
    wait_closed(&server, "handler_panicked", 1);
    server.handle().broadcast("/", "alive").unwrap();
    assert_eq!(other.text(), "alive");
}

#[test]
fn a_follower_hears_every_room_it_was_put_into_and_what_is_for_all() {
    let server = server(|config| config.append_newline = true);
    let handle = server.handle();
    let mut follower = Follower::join(&server, "/one");
    let id = handle.clients().unwrap()[0].id;
    handle.enter_room(id, "/two").unwrap();
    for (room, text) in [("/one", "1"), ("/two", "2"), ("/three", "3"), ("/one", "4")] {
        handle.broadcast(room, text).unwrap();
    }
    handle.broadcast_all(Message::from(vec![5])).unwrap();
    for text in ["1\n", "2\n", "4\n"] {
        assert_eq!(follower.text(), text);
    }
    assert_eq!(follower.event(), ("binary".to_owned(), BASE64.encode([5])));
}
