//! Clients behind a proxy: whose address limits, lists and hooks see.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use hubcast::{Config, Peer, Running, Server};

use crate::kit::http::{Answer, UPGRADE, check_upgrade, handshake, plain, read_head, request};
use crate::support::{deadline, dial, server};

/// Sends bytes, and returns the stream that the answer comes by.
fn say(server: &Running, bytes: &[u8]) -> TcpStream {
    let mut stream = dial(server.local_addr());
    stream.write_all(bytes).unwrap();
    stream
}

/// A proxy that passes on a client's handshake.
fn enter_for(server: &Running, header: &str) -> (TcpStream, String) {
    let headers = [&UPGRADE[..], &[header]].concat();
    let mut stream = say(server, &request("GET /lobby HTTP/1.1", &headers));
    let head = read_head(&mut stream).unwrap();
    (stream, head)
}

fn trusting(change: impl FnOnce(&mut Config)) -> Running {
    server(|config| {
        config.trust_proxy = vec!["127.0.0.0/8".to_owned()];
        change(config);
    })
}

#[test]
fn limits_and_lists_see_the_client_of_a_trusted_proxy() {
    let server = trusting(|config| config.max_clients_per_ip = 1);
    let (_one, head) = enter_for(&server, "X-Forwarded-For: 203.0.113.1");
    check_upgrade(&head).unwrap();
    let (_two, head) = enter_for(&server, "Forwarded: for=203.0.113.2;proto=https");
    check_upgrade(&head).unwrap();
    let (_full, head) = enter_for(&server, "X-Forwarded-For: 1.1.1.1, 203.0.113.1");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let clients = server.handle().clients().unwrap();
    let peers: Vec<String> = clients.iter().map(|c| c.peer.to_string()).collect();
    assert_eq!(peers, ["203.0.113.1", "203.0.113.2"]);
}

#[test]
fn the_headers_of_others_change_nothing() {
    let server = server(|config| {
        config.max_clients_per_ip = 1;
        config.trust_proxy = vec!["10.0.0.0/8".to_owned()];
    });
    let (_one, head) = enter_for(&server, "X-Forwarded-For: 203.0.113.1");
    check_upgrade(&head).unwrap();
    let (_full, head) = enter_for(&server, "X-Forwarded-For: 203.0.113.2");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let peer = server.handle().clients().unwrap()[0].peer;
    assert!(peer.ip().unwrap().is_loopback(), "{peer}");
}

#[test]
fn the_operators_paths_are_for_a_near_client_and_not_for_a_near_proxy() {
    let server = trusting(|_| {});
    for (headers, status) in [
        (&[][..], 200),
        (&["X-Forwarded-For: 203.0.113.1"], 403),
        (&["X-Forwarded-For: 127.0.0.1, 203.0.113.1"], 403),
        // Whoever a proxy speaks for is not near, whatever it says.
        (&["X-Forwarded-For: 127.0.0.1"], 403),
        (
            &["X-Forwarded-For: 1.1.1.1", "Forwarded: for=127.0.0.1"],
            400,
        ),
    ] {
        let mut stream = say(&server, &plain("GET", "/-/clients", headers));
        let answer = Answer::read(&mut stream).unwrap();
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
    }
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let (sender, peers) = mpsc::channel();
    let server = Server::builder()
        .configure(|config| config.proxy_protocol = true)
        .on_upgrade(move |upgrade| {
            let _ = sender.send(upgrade.peer());
            Ok(())
        })
        .bind("127.0.0.1:0");
    let server = server.unwrap().spawn().unwrap();
    let v1 = b"PROXY TCP4 203.0.113.1 10.0.0.1 4711 80\r\n".to_vec();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x02\x0a\0\0\x01\x12\x67\0\x50".to_vec();
    for (header, client) in [(v1, "203.0.113.1:4711"), (v2, "203.0.113.2:4711")] {
        // In pieces, as a network may cut it, and all at once.
        let mut stream = say(&server, &header[..7]);
        stream
            .write_all(&[&header[7..], &handshake("/")].concat())
            .unwrap();
        check_upgrade(&read_head(&mut stream).unwrap()).unwrap();
        let peer: Peer = client.parse::<std::net::SocketAddr>().unwrap().into();
        assert_eq!(peers.recv_timeout(deadline()).unwrap(), peer);
    }
    // The proxy's own connection.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let mut stream = say(&server, &[&local[..], &handshake("/")].concat());
    check_upgrade(&read_head(&mut stream).unwrap()).unwrap();
    let peer = peers.recv_timeout(deadline()).unwrap();
    assert!(peer.ip().unwrap().is_loopback(), "{peer}");
}

#[test]
fn a_connection_without_the_header_is_closed_unanswered() {
    let server = server(|config| {
        config.proxy_protocol = true;
        config.handshake_timeout = Duration::from_millis(200);
    });
    for bytes in [&handshake("/")[..], b"PROXY TCP4 x\r\n", b"PROXY ", b""] {
        let mut stream = say(&server, bytes);
        let mut answer = Vec::new();
        // A reset is an end, too: unread bytes cause it.
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"", "{bytes:?}");
    }
    let trusting = trusting_elsewhere();
    let header = b"PROXY TCP4 203.0.113.1 10.0.0.1 4711 80\r\n";
    let mut stream = say(&trusting, &[&header[..], &handshake("/")].concat());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
}

fn trusting_elsewhere() -> Running {
    server(|config| {
        config.proxy_protocol = true;
        config.trust_proxy = vec!["10.0.0.0/8".to_owned()];
    })
}
