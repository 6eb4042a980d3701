//! What a client may try once it has a session, with records that no library
//! would make.

use std::time::Duration;

use hubcast::rustls::ConnectionTrafficSecrets;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::*;
use crate::support::{eventually, wait_closed};

/// The types of records (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// A KeyUpdate that asks for one in return (RFC 8446 §4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 1];

/// A client that makes its records itself.
struct Forger {
    socket: TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    sent: u64,
}

impl Forger {
    /// Shakes hands as usual, and takes the keys.
    fn new(server: &Secured) -> Forger {
        let mut config = server.identity.client_of(&[&TLS13]);
        config.enable_secret_extraction = true;
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites = vec![rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let roots = {
            let mut roots = RootCertStore::empty();
            roots.add(server.identity.der()).unwrap();
            roots
        };
        let mut only_one = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        only_one.enable_secret_extraction = true;
        let stream = secure(dial(server.address()), only_one).unwrap();
        let (connection, socket) = (stream.conn, stream.sock);
        let secrets = connection.dangerous_extract_secrets().unwrap();
        let (sent, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) = secrets.tx else {
            panic!("another cipher suite");
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap();
        Forger {
            socket,
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().unwrap(),
            sent,
        }
    }

    /// Joins a room, without reading.
    fn join(server: &Secured) -> Forger {
        let mut forger = Forger::new(server);
        let before = server.server.handle().stats().joins;
        let request = forger.record(APPLICATION_DATA, &handshake("/"));
        forger.send(&request);
        eventually("the join", || server.server.handle().stats().joins > before);
        forger
    }

    fn record(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (byte, count) in nonce[4..].iter_mut().zip(self.sent.to_be_bytes()) {
            *byte ^= count;
        }
        self.sent += 1;
        let len = (payload.len() + 1 + 16) as u16;
        let [high, low] = len.to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let mut sealed = [payload, &[kind]].concat();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed)
            .unwrap();
        [&header[..], &sealed].concat()
    }

    fn send(&mut self, bytes: &[u8]) {
        // The server may have ended it already.
        let _ = self.socket.write_all(bytes);
    }
}

/// Everybody else goes on.
fn check_others(server: &Secured, other: &mut Client) {
    for text in ["one", "two"] {
        server.server.handle().broadcast("/", text).unwrap();
        other.expect(text);
    }
}

#[test]
fn a_handshake_message_in_parts_ends_its_sender_and_nobody_else() {
    let server = Secured::start(|_| {});
    let mut other = server.join("/");
    let mut forger = Forger::join(&server);
    let part = forger.record(HANDSHAKE, &KEY_UPDATE[..3]);
    forger.send(&part);
    // The hub encrypts for it meanwhile, or just after.
    check_others(&server, &mut other);
    wait_closed(&server.server, "read_failed", 1);
    check_others(&server, &mut other);
}

#[test]
fn key_updates_are_answered_and_a_flood_of_them_ends_its_sender() {
    let server = Secured::start(|_| {});
    let mut other = server.join("/");
    let mut forger = Forger::join(&server);
    for _ in 0..100 {
        // Only the first is made with the keys that hold then; that is enough.
        let update = forger.record(HANDSHAKE, &KEY_UPDATE);
        forger.send(&update);
        server.server.handle().broadcast("/", "between").unwrap();
        other.expect("between");
    }
    wait_closed(&server.server, "read_failed", 1);
    check_others(&server, &mut other);
}

#[test]
fn a_flood_of_empty_records_ends_its_sender() {
    let server = Secured::start(|_| {});
    let mut other = server.join("/");
    let mut forger = Forger::join(&server);
    for _ in 0..1_000 {
        let empty = forger.record(APPLICATION_DATA, b"");
        forger.send(&empty);
    }
    wait_closed(&server.server, "read_failed", 1);
    check_others(&server, &mut other);
}

#[test]
fn garbage_behind_the_handshake_ends_its_sender() {
    let server = Secured::start(|_| {});
    let mut other = server.join("/");
    let mut forger = Forger::join(&server);
    forger.send(&[
        APPLICATION_DATA,
        3,
        3,
        0,
        20,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
        16,
        17,
        18,
        19,
        20,
    ]);
    wait_closed(&server.server, "read_failed", 1);
    check_others(&server, &mut other);
}

#[test]
fn the_end_of_the_stream_without_a_close_notify_is_the_end() {
    let server = Secured::start(|_| {});
    let client = server.join("/");
    client
        .stream
        .sock
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    wait_closed(&server.server, "end_of_stream", 1);
}

#[test]
fn a_record_that_trickles_in_is_silence() {
    let server = Secured::start(|config| {
        config.ping_interval = Duration::from_millis(200);
        config.pong_timeout = Duration::from_millis(400);
    });
    let mut forger = Forger::join(&server);
    let record = forger.record(APPLICATION_DATA, &masked(Opcode::Binary, &[7; 16_000]));
    let mut bytes = record.iter();
    eventually("the silent peer is dead", || {
        forger.send(&[*bytes.next().unwrap()]);
        server.server.handle().stats().departed("pong_timeout") == 1
    });
}

#[test]
fn the_key_update_of_a_client_is_followed() {
    let server = Secured::start(|_| {});
    let mut client = server.join("/");
    for round in 0..5 {
        client.stream.conn.refresh_traffic_keys().unwrap();
        for number in 0..20 {
            let text = format!("{round} {number}");
            client.send(Opcode::Text, text.as_bytes());
            client.expect(&text);
        }
    }
}
