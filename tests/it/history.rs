//! Rooms that remember, and clients that come back.

mod resumes;

use std::io::Write;

use hubcast::{Position, Running, Since};
use tungstenite::client::IntoClientRequest;

use crate::http::{ask, ask_for_line};
use crate::kit::http::{UPGRADE, follow, plain, post, read_head, request};
use crate::support::{
    connect, deadline, dial, dial_tight, eventually, next_close, next_text, server, tight_server,
    wait_closed,
};

fn remembering(history: usize) -> Running {
    server(|config| {
        config.history = history;
        config.allow_publish = true;
    })
}

fn say(server: &Running, texts: std::ops::Range<usize>) -> Vec<Position> {
    let handle = server.handle();
    texts
        .map(|n| handle.broadcast_confirmed("/lobby", n.to_string()).unwrap())
        .collect()
}

/// The position at the end of a close reason.
fn since_in(reason: &str) -> &str {
    reason.split_once("since=").unwrap().1
}

#[test]
fn a_client_without_positions_resumes_with_what_its_close_said() {
    let server = remembering(100);
    let mut client = connect(&server, "/lobby");
    eventually("the join", || server.handle().stats().joins == 1);
    say(&server, 0..2);
    assert_eq!(next_text(&mut client), "0");
    let id = server.handle().clients().unwrap()[0].id;
    let code = hubcast::CloseCode::SERVICE_RESTART;
    server.handle().disconnect(id, code, "back soon").unwrap();
    let (code, reason) = next_close(&mut client);
    assert_eq!(code, 1012);
    assert!(reason.starts_with("back soon since="), "{reason}");
    say(&server, 2..4);
    let mut again = connect(&server, &format!("/lobby?since={}", since_in(&reason)));
    assert_eq!([0; 2].map(|_| next_text(&mut again)), ["2", "3"]);
}

#[test]
fn the_answer_says_where_a_client_begins_and_how_its_resume_went() {
    let server = remembering(3);
    let positions = say(&server, 0..5);
    for (query, at, how) in [
        ("", positions[4], ""),
        ("?last=2", positions[2], ""),
        (
            &*format!("?since={}", positions[2]),
            positions[2],
            "complete",
        ),
        (
            &*format!("?since={}", positions[0]),
            positions[1],
            "incomplete",
        ),
        ("?since=k3f9x2qa-1", positions[1], "incomplete"),
        ("?since=30s", positions[1], "incomplete"),
    ] {
        for upgrade in [true, false] {
            let target = format!("/lobby{query}");
            let asked = match upgrade {
                true => request(&format!("GET {target} HTTP/1.1"), &UPGRADE),
                false => follow(&target, &[]),
            };
            let mut stream = dial(server.local_addr());
            stream.write_all(&asked).unwrap();
            let head = read_head(&mut stream).unwrap();
            let header = |name: &str| {
                let line = head.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().to_owned()
            };
            assert_eq!(header("hubcast-position: "), at.to_string(), "{query}");
            assert_eq!(header("hubcast-resume: "), how, "{query}");
        }
    }
}

#[test]
fn without_history_nothing_is_said_about_it() {
    let server = server(|config| config.allow_publish = true);
    let address = server.local_addr();
    let posted = ask(address, &post("/lobby", &[], b"hello"));
    assert_eq!(posted.body, "{\"room\":\"/lobby\",\"clients\":0}\n");
    let accept = ["Accept: application/json"];
    let asked = ask(address, &plain("GET", "/lobby", &accept));
    assert_eq!(asked.body, "{\"room\":\"/lobby\",\"clients\":0}\n");
    for asked in [
        follow("/lobby", &[]),
        request("GET /lobby HTTP/1.1", &UPGRADE),
    ] {
        let mut stream = dial(address);
        stream.write_all(&asked).unwrap();
        let head = read_head(&mut stream).unwrap();
        assert!(!head.contains("hubcast-position") && !head.contains("hubcast-resume"));
    }
}

#[test]
fn positions_can_be_agreed_on_as_a_subprotocol() {
    let server = remembering(10);
    let positions = say(&server, 0..1);
    let url = format!("ws://{}/lobby?last=1", server.local_addr());
    let mut request = url.into_client_request().unwrap();
    let name = http::header::SEC_WEBSOCKET_PROTOCOL;
    request
        .headers_mut()
        .insert(name.clone(), "hubcast.positions".parse().unwrap());
    let stream = dial(server.local_addr());
    let (mut client, answer) = tungstenite::client(request, stream).unwrap();
    assert_eq!(answer.headers()[name], "hubcast.positions");
    assert!(next_text(&mut client).starts_with("!at "));
    assert_eq!(next_text(&mut client), format!("{}\n0", positions[0]));
    client.send("mine".into()).unwrap();
    let echo = next_text(&mut client);
    let (position, text) = echo.split_once('\n').unwrap();
    assert_eq!(text, "mine");
    let history = server.handle().history("/lobby", Since::Last(1)).unwrap();
    assert_eq!(history.messages[0].position.to_string(), position);
}

#[test]
fn a_request_that_cannot_be_understood_is_told_what_is_possible() {
    let server = remembering(10);
    let long = format!("since={}", "x".repeat(2000));
    for (query, part) in [
        (
            "last=-1",
            "last=\"-1\" is not a number of messages such as last=20",
        ),
        (
            "since=yesterday",
            "since: \"yesterday\" is neither a position such as ",
        ),
        (
            "since=k3f9x2qa-18446744073709551616",
            "is neither a position such as ",
        ),
        ("gap=no", "gap=\"no\" means nothing; there is gap=close"),
        ("positions=maybe", "positions=\"maybe\" means nothing"),
        (&long, "is neither a position such as "),
    ] {
        let target = format!("/lobby?{query}");
        let mut requests = vec![
            request(&format!("GET {target} HTTP/1.1"), &UPGRADE),
            follow(&target, &[]),
        ];
        if query.starts_with("since") || query.starts_with("last") {
            requests.push(plain("GET", &target, &["Accept: application/json"]));
        }
        for asked in requests {
            let answer = ask_for_line(server.local_addr(), &asked);
            assert_eq!(answer.status, 400, "{query}");
            assert!(answer.body.contains(part), "{}", answer.body);
            assert!(answer.body.len() < 300, "{}", answer.body);
        }
    }
}

#[test]
fn ten_mebibytes_are_resumed_through_a_small_queue_beside_live_messages() {
    let server = server(|config| {
        config.history = 10_000;
        config.history_bytes = 64 << 20;
        config.queue_bytes = 64 << 10;
    });
    let handle = server.handle();
    let text = |n: usize| format!("{n} {}", "x".repeat(10_000));
    (0..1000).for_each(|n| handle.broadcast("/lobby", text(n)).unwrap());
    let mut client = connect(&server, "/lobby?last=10000");
    for n in 0..1000 {
        assert_eq!(next_text(&mut client), text(n));
        if n % 10 == 0 {
            handle.broadcast("/lobby", text(1000 + n / 10)).unwrap();
        }
    }
    (1000..1100).for_each(|n| assert_eq!(next_text(&mut client), text(n)));
    assert_eq!(handle.stats().departed("evicted"), 0);
    handle.broadcast("/lobby", "live").unwrap();
    assert_eq!(next_text(&mut client), "live");
}

#[test]
fn an_evicted_client_resumes_with_exactly_what_it_did_not_get() {
    let server = tight_server(|config| {
        config.history = 100_000;
        config.history_bytes = 64 << 20;
        config.queue_messages = 50;
        // What its writer has in hand goes out only when the client reads.
        config.close_timeout = deadline();
    });
    let handle = server.handle();
    let stream = dial_tight(server.local_addr());
    let url = format!("ws://{}/lobby", server.local_addr());
    let (mut client, _) = tungstenite::client(url, stream).unwrap();
    let text = |n: usize| format!("{n} {}", "x".repeat(1000));
    let mut said = 0;
    let begun = std::time::Instant::now();
    while handle.clients().unwrap().len() == 1 {
        assert!(begun.elapsed() < deadline(), "never evicted");
        handle.broadcast("/lobby", text(said)).unwrap();
        said += 1;
    }
    let mut heard = 0;
    let since = loop {
        match client.read().unwrap() {
            tungstenite::Message::Text(came) => assert_eq!(came.as_str(), text(heard)),
            tungstenite::Message::Close(frame) => {
                let reason = frame.unwrap().reason.to_string();
                assert!(reason.starts_with("slow consumer: "), "{reason}");
                break since_in(&reason).to_owned();
            }
            _ => continue,
        }
        heard += 1;
    };
    assert!(heard < said);
    drop(client);
    wait_closed(&server, "evicted", 1);
    let mut again = connect(&server, &format!("/lobby?since={since}"));
    (heard..said).for_each(|n| assert_eq!(next_text(&mut again), text(n)));
}

#[test]
fn the_page_of_another_site_may_not_read_what_a_room_remembers() {
    let server = remembering(10);
    say(&server, 0..1);
    let headers = ["Accept: application/json", "Origin: https://evil.example"];
    let answer = ask(
        server.local_addr(),
        &plain("GET", "/lobby?last=1", &headers),
    );
    assert_eq!(answer.status, 403);
    assert!(!answer.body.contains("messages"));
}
