//! What the operator asks under `/-/`.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::SocketAddr;

use hubcast::{CloseCode, Running, Secret, Server};
use rustix::process::Signal;

use super::json::Json;
use super::{Follower, look};
use crate::http::{ask, ask_for_line, read_line};
use crate::kit::frame::Opcode;
use crate::kit::http::{follow, handshake, plain, post, read_head};
use crate::support::{
    Program, Raw, dial, dial_tight, eventually, server, tight_server, wait_closed,
};

const PATHS: [&str; 7] = [
    "/-/healthz",
    "/-/readyz",
    "/-/metrics",
    "/-/clients",
    "/-/rooms",
    "/-/departures",
    "/-/nodes",
];

#[test]
fn health_is_ok_until_the_server_stops() {
    let server = server(|_| {});
    let answer = ask_for_line(server.local_addr(), &plain("GET", "/-/healthz", &[]));
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    // A client that has come before the stop is still answered.
    let request = plain("GET", "/-/healthz", &[]);
    let (most, _) = request.split_at(request.len() - 1);
    let mut begun = [dial(server.local_addr()), dial(server.local_addr())];
    begun[0].write_all(most).unwrap();
    eventually("both to be accepted", || {
        server.handle().stats().accepted == 3
    });
    server.handle().shutdown();
    for stream in &mut begun {
        let answer = read_line(stream);
        assert_eq!(answer.status, 503);
        assert_ne!(answer.header("retry-after"), "");
    }
}

#[test]
fn rooms_and_clients_are_listed_as_json() {
    let server = server(|_| {});
    let room = "/caf\u{e9} \"<b>\\\u{1f389}";
    let path = "/caf%C3%A9%20%22%3Cb%3E%5C%F0%9F%8E%89";
    let json = |target| {
        let answer = look(server.local_addr(), target, &[]);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        // It is harmless even inside a page.
        assert!(!answer.body.contains('<'), "{}", answer.body);
        Json::parse(&answer.body)
    };
    assert_eq!(json("/-/rooms").get("rooms").items(), []);
    assert_eq!(json("/-/clients").get("clients").items(), []);

    let mut ann = Raw::connect(&server, path);
    let _bob = Raw::connect(&server, path);
    let cat = Follower::join(&server, "/");
    let ids: Vec<u64> = {
        let mut clients = server.handle().clients().unwrap();
        clients.sort_by_key(|client| client.id);
        server.handle().enter_room(clients[0].id, "/").unwrap();
        clients.iter().map(|client| client.id.value()).collect()
    };
    ann.send(Opcode::Text, b"hello");
    assert_eq!(ann.data().payload, b"hello");

    let rooms = json("/-/rooms");
    let rooms: HashMap<String, f64> = rooms
        .get("rooms")
        .items()
        .iter()
        .map(|room| {
            let Json::String(name) = room.get("name") else {
                panic!("{room:?}");
            };
            (name.clone(), room.get("clients").number())
        })
        .collect();
    assert_eq!(
        rooms,
        HashMap::from([(room.to_owned(), 2.0), ("/".to_owned(), 2.0)])
    );

    let clients = json("/-/clients");
    let clients = clients.get("clients").items();
    assert_eq!(clients.len(), 3);
    let of = |id: u64| {
        let mut found = clients.iter().filter(|c| c.get("id").number() == id as f64);
        found.next().unwrap()
    };
    let ann_as_listed = of(ids[0]);
    let peer = ann.stream.local_addr().unwrap().to_string();
    assert_eq!(ann_as_listed.get("peer"), &Json::from(peer.as_str()));
    let its_rooms = ann_as_listed.get("rooms").items();
    assert_eq!(its_rooms, [Json::from(room), Json::from("/")]);
    assert_eq!(ann_as_listed.get("received_messages").number(), 1.0);
    assert_eq!(ann_as_listed.get("sent_messages").number(), 1.0);
    // Two bytes of a frame's head, four of its mask.
    assert_eq!(ann_as_listed.get("received_bytes").number(), 11.0);
    assert_eq!(ann_as_listed.get("sent_bytes").number(), 7.0);
    assert_eq!(of(ids[1]).get("sent_messages").number(), 1.0);
    let cat_as_listed = of(ids[2]);
    let peer = cat.stream.get_ref().local_addr().unwrap().to_string();
    assert_eq!(cat_as_listed.get("peer"), &Json::from(peer.as_str()));
    for client in clients {
        assert!(client.get("age_seconds").number() >= 0.0);
        assert_eq!(client.get("rtt_seconds"), &Json::Null);
        for name in ["queue_messages", "queue_bytes", "dropped_messages"] {
            assert_eq!(client.get(name).number(), 0.0, "{name}");
        }
    }
}

/// The samples of metrics in the text format 0.0.4, read strictly.
#[derive(Debug, Default)]
struct Metrics {
    /// Kinds by the name of the family.
    families: HashMap<String, String>,
    /// Values by name and labels.
    samples: HashMap<String, f64>,
}

fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

impl Metrics {
    #[track_caller]
    fn of(address: SocketAddr) -> Metrics {
        let answer = look(address, "/-/metrics", &[]);
        assert_eq!(answer.status, 200);
        let kind = answer.header("content-type");
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        Metrics::parse(&answer.body)
    }

    #[track_caller]
    fn parse(text: &str) -> Metrics {
        assert!(text.ends_with('\n') && !text.contains('\r'));
        let mut metrics = Metrics::default();
        // The family whose lines come: all of them in one group, HELP and
        // TYPE first, once each.
        let (mut family, mut helped, mut done) = (String::new(), false, HashSet::new());
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, help] => {
                    assert!(is_name(name) && !help.trim().is_empty(), "{line}");
                    assert!(done.insert(name.to_owned()), "{name} twice");
                    (family, helped) = (name.to_owned(), true);
                }
                ["#", "TYPE", name, kind] => {
                    assert!(helped && name == family, "{line} below {family}");
                    assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                    metrics.families.insert(family.clone(), kind.to_owned());
                    helped = false;
                }
                _ => metrics.sample(&family, line),
            }
        }
        metrics.check_histograms();
        metrics
    }

    fn sample(&mut self, family: &str, line: &str) {
        let (sample, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match sample.split_once('{') {
            None => (sample, ""),
            Some((name, rest)) => (name, rest.strip_suffix('}').expect(line)),
        };
        let kind = self.families.get(family).expect(line);
        let suffix = name.strip_prefix(family).expect(line);
        let suffixes: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(is_name(name) && suffixes.contains(&suffix), "{line}");
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (label, quoted) = label.split_once('=').expect(line);
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let value = quoted.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            let value = value.expect(line);
            assert!(!value.contains(['"', '\\', '\n']), "{line}");
        }
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let known = self.samples.insert(sample.to_owned(), value);
        assert_eq!(known, None, "{sample} twice");
    }

    fn check_histograms(&self) {
        for (family, kind) in &self.families {
            if kind != "histogram" {
                continue;
            }
            let prefix = format!("{family}_bucket{{le=\"");
            let mut buckets: Vec<(f64, f64)> = self
                .samples
                .iter()
                .filter_map(|(sample, count)| {
                    let bound = sample.strip_prefix(&prefix)?.strip_suffix("\"}")?;
                    Some((bound.parse().unwrap(), *count))
                })
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.len() > 2, "{family}");
            assert!(buckets.iter().map(|(_, count)| *count).is_sorted());
            let (bound, all) = *buckets.last().unwrap();
            assert_eq!(bound, f64::INFINITY);
            assert_eq!(all, self.samples[&format!("{family}_count")]);
            assert!(self.samples.contains_key(&format!("{family}_sum")));
        }
    }

    #[track_caller]
    fn get(&self, sample: &str) -> f64 {
        let name = format!("hubcast_{sample}");
        *self
            .samples
            .get(&name)
            .unwrap_or_else(|| panic!("no {name}"))
    }
}

#[test]
fn the_metrics_are_in_the_format_and_say_what_happened() {
    let server = tight_server(|config| {
        config.allow_publish = true;
        config.queue_messages = 4;
        config.write_timeout = std::time::Duration::from_secs(600);
    });
    let address = server.local_addr();
    let fresh = Metrics::of(address);
    for name in [
        "clients",
        "rooms",
        "broadcasts_total",
        "fan_out_seconds_count",
    ] {
        assert_eq!(fresh.get(name), 0.0, "{name}");
    }
    // The one that asks.
    assert_eq!(fresh.get("handshakes"), 1.0);
    assert_eq!(fresh.get("connections_total"), 1.0);

    let mut ann = Raw::connect(&server, "/");
    let mut follower = Follower::join(&server, "/");
    let mut other = Raw::connect(&server, "/other");
    ann.send(Opcode::Text, b"hello");
    assert_eq!(ann.data().payload, b"hello");
    assert_eq!(follower.text(), "hello");
    assert_eq!(ask(address, &post("/", &[], b"hello, too")).status, 202);
    assert_eq!(ann.data().payload, b"hello, too");
    let refused = ask_for_line(address, &plain("POST", "/", &[]));
    assert_eq!(refused.status, 411);
    for _ in 0..2 {
        let asking = follow("/", &["Origin: http://evil.example"]);
        assert_eq!(ask_for_line(address, &asking).status, 403);
    }
    let code = CloseCode::new(4000).unwrap();
    let stalled = Follower::join_by(dial_tight(address), "/stalled");
    for _ in 0..200 {
        server
            .handle()
            .broadcast("/stalled", "x".repeat(1024))
            .unwrap();
    }
    let ids: Vec<_> = server.handle().clients().unwrap();
    let of_other = ids
        .iter()
        .find(|client| client.rooms == ["/other"])
        .unwrap();
    server.handle().disconnect(of_other.id, code, "").unwrap();
    drop(stalled);
    wait_closed(&server, "evicted", 1);
    while other.data().opcode != Opcode::Close {}
    drop(other);
    wait_closed(&server, "disconnected", 1);

    eventually("everything to be counted", || {
        let stats = server.handle().stats();
        (stats.handshakes, stats.rooms, stats.queue_bytes) == (0, 1, 0)
    });

    let now = Metrics::of(address);
    for (name, value) in [
        ("clients", 2.0),
        ("rooms", 1.0),
        ("handshakes", 1.0),
        ("queue_bytes", 0.0),
        ("joins_total", 4.0),
        ("received_messages_total", 1.0),
        ("received_bytes_total", 11.0),
        ("broadcasts_total", 202.0),
        ("evictions_total", 1.0),
        ("departures_total{cause=\"evicted\"}", 1.0),
        ("departures_total{cause=\"disconnected\"}", 1.0),
        ("departures_total{cause=\"shutdown\"}", 0.0),
        ("refused_total{status=\"411\"}", 1.0),
        ("refused_total{status=\"403\"}", 2.0),
        ("refused_total{status=\"401\"}", 0.0),
        ("accept_errors_total", 0.0),
    ] {
        assert_eq!(now.get(name), value, "{name}");
    }
    // A last command may just be on its way.
    assert!(now.get("inbox_commands") <= 8.0);
    assert!(now.get("deliveries_total") >= 5.0);
    assert!(now.get("sent_bytes_total") > 1024.0);
    assert!(now.get("fan_out_seconds_count") >= 3.0);
    assert!(now.get("fan_out_seconds_sum") > 0.0);
    for (sample, kind) in &fresh.families {
        assert_eq!(kind == "counter", sample.ends_with("_total"), "{sample}");
    }
    // No time series comes or goes.
    let names =
        |metrics: &Metrics| -> HashSet<String> { metrics.samples.keys().cloned().collect() };
    assert_eq!(names(&fresh), names(&now));
}

/// Whether this path is a room's, or that of something the server knows.
#[track_caller]
fn nothing_is_answered_under_the_prefix(address: SocketAddr) {
    for path in PATHS.into_iter().chain(["/-/", "/-/x"]) {
        for request in [
            plain("GET", path, &[]),
            handshake(path),
            post(path, &[], b"x"),
        ] {
            let answer = ask_for_line(address, &request);
            assert_eq!(answer.status, 404, "{path}");
        }
    }
}

#[test]
fn without_admin_nothing_is_answered_under_the_prefix() {
    let server = server(|config| config.admin = false);
    nothing_is_answered_under_the_prefix(server.local_addr());
    Raw::connect(&server, "/-");
}

#[test]
fn no_room_is_below_the_prefix() {
    let server = server(|_| {});
    for path in ["/-/", "/-/x", "/-/healthz/x", "/%2d/x", "/%2D%2fhealthz"] {
        let answer = ask_for_line(server.local_addr(), &handshake(path));
        assert_eq!(answer.status, 404, "{path}");
        let answer = ask_for_line(server.local_addr(), &follow(path, &[]));
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(server.handle().stats().joins, 0);
    for path in ["/-", "/-x", "//-/healthz", "/x/-/healthz"] {
        Raw::connect(&server, path);
    }
}

#[test]
fn the_operator_may_have_an_address_of_their_own() {
    let args = [
        "--admin-listen=127.0.0.1:0",
        "--allow-publish",
        "--max-clients=20",
    ];
    let mut program = Program::start(&args);
    let line = program.expect_log("answering the operator on http://");
    let at = line.find("http://").unwrap() + 7;
    let admin: SocketAddr = line[at..].split('/').next().unwrap().parse().unwrap();
    assert_ne!(admin, program.address);

    nothing_is_answered_under_the_prefix(program.address);
    // A full server is one that its operator wants to look at.
    let mut members = Vec::new();
    for _ in 0..=20 {
        let mut stream = dial(program.address);
        stream.write_all(&handshake("/lobby")).unwrap();
        if !read_head(&mut stream).unwrap().starts_with("HTTP/1.1 101 ") {
            break;
        }
        members.push(stream);
    }
    assert!(members.len() <= 20);
    eventually("all of them to have joined", || {
        Metrics::of(admin).get("clients") == members.len() as f64
    });
    for path in PATHS {
        assert_eq!(look(admin, path, &[]).status, 200, "{path}");
    }
    // Nobody gets into a room there.
    for request in [
        handshake("/lobby"),
        handshake("/"),
        follow("/lobby", &[]),
        plain("GET", "/lobby", &["Accept: text/html"]),
        plain("GET", "/favicon.ico", &[]),
    ] {
        let asked = String::from_utf8_lossy(&request);
        assert_eq!(ask_for_line(admin, &request).status, 404, "{asked}");
    }
    assert_eq!(ask_for_line(admin, &post("/lobby", &[], b"x")).status, 405);
    let foreign = plain("GET", "/-/rooms", &["Origin: http://evil.example"]);
    assert_eq!(ask_for_line(admin, &foreign).status, 403);
    program.signal(Signal::TERM);
    drop(members);
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn the_operators_address_must_be_free_and_wanted() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = |admin: bool| {
        let address = taken.local_addr().unwrap().to_string();
        let builder = Server::builder().configure(|config| {
            config.admin = admin;
            config.admin_listen = Some(address);
        });
        builder.bind("127.0.0.1:0").unwrap_err()
    };
    assert_eq!(bind(true).kind(), hubcast::ErrorKind::Bind);
    assert_eq!(bind(false).kind(), hubcast::ErrorKind::Config);
}

fn status_with(server: &Running, path: &str, headers: &[&str]) -> u16 {
    look(server.local_addr(), path, headers).status
}

#[test]
fn no_page_of_another_site_sees_what_the_operator_sees() {
    let server = server(|_| {});
    for path in PATHS {
        for foreign in [
            "Origin: http://evil.example",
            "Origin: http://localhost:81",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
        ] {
            assert_eq!(status_with(&server, path, &[foreign]), 403, "{foreign}");
        }
        let embedded = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"];
        assert_eq!(status_with(&server, path, &embedded), 403);
        for own in [
            &["Origin: http://localhost"][..],
            &["Sec-Fetch-Site: same-origin"],
            &["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"],
            &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"],
        ] {
            assert_eq!(status_with(&server, path, own), 200, "{own:?}");
        }
    }
}

#[test]
fn the_operator_asks_by_get_only() {
    let server = server(|config| config.allow_publish = true);
    for path in PATHS {
        for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
            let request = plain(method, path, &["Content-Length: 0"]);
            let answer = ask_for_line(server.local_addr(), &request);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), "GET, HEAD, DELETE, OPTIONS");
        }
        assert_eq!(
            look(server.local_addr(), &format!("{path}?x=y"), &[]).status,
            200
        );
    }
}

#[test]
fn the_operator_disconnects_a_client_or_a_room() {
    let server = server(|_| {});
    let mut members = [(); 2].map(|()| Raw::connect(&server, "/lob%20by"));
    let mut other = Raw::connect(&server, "/other");
    let delete =
        |path: &str, headers: &[&str]| ask(server.local_addr(), &plain("DELETE", path, headers));
    let id = server.handle().clients_in("/other").unwrap()[0].id;
    for path in [
        "/-/clients/999",
        "/-/clients/",
        "/-/clients/x",
        "/-/rooms/nobody",
        "/-/rooms/%ff",
    ] {
        let status = delete(path, &[]).status;
        assert!(matches!(status, 404 | 400), "{path}: {status}");
    }
    for site in ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"] {
        assert_eq!(delete("/-/rooms/lob%20by", &[site]).status, 403, "{site}");
    }
    assert_eq!(server.handle().clients().unwrap().len(), 3);
    let answer = delete("/-/rooms/lob%20by", &[]);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "{\"disconnected\":2}\n")
    );
    for member in &mut members {
        member.expect_close(1008);
    }
    let answer = delete(&format!("/-/clients/{id}"), &[]);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "{\"disconnected\":1}\n")
    );
    other.expect_close(1008);
    assert_eq!(delete(&format!("/-/clients/{id}"), &[]).status, 404);
}

#[test]
fn who_is_not_the_operator_disconnects_nobody() {
    let server = server(|config| {
        config.token = Some(Secret::from("for rooms"));
        config.admin_token = Some(Secret::from("for the operator"));
    });
    // Another machine's, by the proxy on this one.
    let status = |bearer: &str| {
        let headers = ["X-Forwarded-For: 192.0.2.1", bearer];
        ask(
            server.local_addr(),
            &plain("DELETE", "/-/rooms/lobby", &headers),
        )
        .status
    };
    assert_eq!(status("X-Nothing: y"), 401);
    assert_eq!(status("Authorization: Bearer for rooms"), 401);
    assert_eq!(status("Authorization: Bearer for the operator"), 404);
}

#[test]
fn the_metrics_tell_of_the_build_and_the_process() {
    let server = server(|_| {});
    let text = look(server.local_addr(), "/-/metrics", &[]).body;
    for name in [
        "hubcast_build_info{version=\"",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_threads ",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "{name}: {text}"
        );
    }
}
