//! Clients over TLS in a room.

use std::net::SocketAddr;

use hubcast::rustls::version::{TLS12, TLS13};
use hubcast::rustls::{ServerConfig, crypto};
use hubcast::{Server, Tls, TlsVersion};

use super::*;
use crate::support::{Program, Raw, eventually};

#[test]
fn clients_of_both_versions_are_in_one_room() {
    let server = Secured::start(|_| {});
    let mut clients: Vec<Client> = [&TLS12, &TLS13]
        .map(|version| {
            let config = server.identity.client_of(&[version]);
            Client::upgrade(secure(dial(server.address()), config).unwrap(), "/")
        })
        .into();
    for sender in 0..clients.len() {
        let text = format!("from {sender}");
        clients[sender].send(Opcode::Text, text.as_bytes());
        clients.iter_mut().for_each(|client| client.expect(&text));
    }
}

#[test]
fn an_older_version_than_is_wanted_is_refused() {
    let server = Secured::with(|config, tls| {
        config.tls = Some(tls.min_version(TlsVersion::V1_3));
    });
    let config = server.identity.client_of(&[&TLS12]);
    let error = secure(dial(server.address()), config).unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    let reason = "no_shared_version_or_cipher";
    eventually(reason, || failures(&server, reason) == 1);
    server.join("/");
}

/// How many handshakes came to nothing for this reason, as the metrics say.
pub(super) fn failures(server: &Secured, reason: &str) -> u64 {
    let mut stream = server.open();
    let request = crate::kit::http::plain("GET", "/-/metrics", &[]);
    stream.write_all(&request).unwrap();
    let answer = crate::kit::http::Answer::read(&mut stream).unwrap();
    let name = format!("hubcast_tls_failures_total{{reason=\"{reason}\"}} ");
    let line = answer.body.lines().find_map(|l| l.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

#[test]
fn the_closing_handshake_ends_with_a_close_notify() {
    let server = Secured::start(|_| {});
    let mut client = server.join("/");
    client.send(Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(client.frame().close_code(), Some(1000));
    client.expect_end();
    let mut client = server.join("/");
    server.server.handle().shutdown();
    assert_eq!(client.frame().close_code(), Some(1001));
    client.send(Opcode::Close, &1001u16.to_be_bytes());
    client.expect_end();
}

#[test]
fn large_messages_are_cut_into_records_and_joined_again() {
    let server = Secured::start(|config| config.queue_bytes = 16 << 20);
    let mut client = server.join("/");
    for len in [1, 16_383, 16_384, 16_385, 70_000, 1 << 20] {
        let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        client.send(Opcode::Binary, &payload);
        assert!(client.message() == payload, "{len} bytes");
    }
    // Many messages in one read, and some that are cut.
    let mut bytes = Vec::new();
    for number in 0..1_000 {
        bytes.extend(masked(Opcode::Text, format!("message {number}").as_bytes()));
    }
    client.stream.write_all(&bytes).unwrap();
    for number in 0..1_000 {
        client.expect(&format!("message {number}"));
    }
}

#[test]
fn a_port_without_tls_leads_to_the_same_rooms() {
    let folder = Folder::new();
    let identity = folder.renew();
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let mut program = Program::start(&[
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
        "--plain-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    let mut address_after = |start: &str| -> SocketAddr {
        let line = program.expect_log(start);
        let (_, rest) = line.split_once(start).unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    };
    let secured = address_after("listening on wss://");
    let plain = address_after("listening without TLS on ws://");
    let admin = address_after("answering the operator on https://");
    let mut over_tls = Client::upgrade(secure(dial(secured), identity.client()).unwrap(), "/");
    let mut without = Raw::open(plain, "/");
    over_tls.send(Opcode::Text, b"hello");
    over_tls.expect("hello");
    assert_eq!(without.data().payload, b"hello");
    without.send(Opcode::Text, b"and back");
    over_tls.expect("and back");
    let mut stream = secure(dial(admin), identity.client()).unwrap();
    let request = crate::kit::http::plain("GET", "/-/rooms", &[]);
    stream.write_all(&request).unwrap();
    let answer = crate::kit::http::Answer::read(&mut stream).unwrap();
    assert!(answer.body.contains("\"clients\":2"), "{}", answer.body);
}

#[test]
fn a_configuration_of_rustls_is_taken_as_it_is() {
    let identity = Identity::new();
    let provider = Arc::new(crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.der()], identity.key())
        .unwrap();
    // Of this alone it takes another.
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = Tls::from_rustls(Arc::new(config));
    let server = Server::builder().configure(|config| config.tls = Some(tls));
    let server = server.bind("127.0.0.1:0").unwrap().spawn().unwrap();
    let mut wanted = identity.client();
    wanted.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = secure(dial(server.local_addr()), wanted).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut client = Client::upgrade(stream, "/");
    client.send(Opcode::Text, b"hello");
    client.expect("hello");
    server.handle().reload_tls().unwrap();
}
