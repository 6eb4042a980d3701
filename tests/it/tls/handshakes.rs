//! Handshakes that come slowly, halfway, or to nothing.

use std::time::Duration;

use super::rooms::failures;
use super::*;
use crate::support::eventually;

#[test]
fn a_client_that_speaks_only_http_2_is_told() {
    let server = Secured::start(|_| {});
    let mut config = server.identity.client();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let error = secure(dial(server.address()), config).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("NoApplicationProtocol"), "{text}");
    eventually("the count", || failures(&server, "no_alpn") == 1);
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_counted() {
    let server = Secured::start(|_| {});
    let stranger = Identity::new();
    secure(dial(server.address()), stranger.client()).unwrap_err();
    eventually("the count", || failures(&server, "refused_by_peer") == 1);
}

/// The first message of a client.
fn client_hello(identity: &Identity) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let config = Arc::new(identity.client());
    let mut connection = ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

/// Cuts what is written into single bytes.
struct Dripping(TcpStream);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..1])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_client_that_sends_single_bytes_gets_in() {
    let server = Secured::start(|_| {});
    let mut config = server.identity.client();
    // A first message of some KiB.
    config.alpn_protocols = (0..200).map(|n| format!("{n:020}").into_bytes()).collect();
    config.alpn_protocols.push(b"http/1.1".to_vec());
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = Dripping(dial(server.address()));
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(&handshake("/")).unwrap();
    check_upgrade(&read_head(&mut stream).unwrap()).unwrap();
    stream.write_all(&masked(Opcode::Text, b"hello")).unwrap();
    assert_eq!(frame::read(&mut stream).unwrap().payload, b"hello");
}

#[test]
fn half_a_handshake_is_ended_by_the_deadline() {
    let server = Secured::start(|config| config.handshake_timeout = Duration::from_millis(300));
    let hello = client_hello(&server.identity);
    let mut halves: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = dial(server.address());
            let len = number * hello.len() / 100;
            stream.write_all(&hello[..len]).unwrap();
            stream
        })
        .collect();
    for stream in &mut halves {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    eventually("the count", || failures(&server, "timed_out") >= 100);
    server.join("/");
}

#[test]
fn what_is_no_tls_is_told_so() {
    let server = Secured::start(|_| {});
    let mut stream = dial(server.address());
    stream
        .write_all(&[0x16, 3, 1, 0xff, 0xff, 0, 0, 0])
        .unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).unwrap();
    // RFC 8446 §6: an alert, fatal.
    assert_eq!((alert[0], alert[5]), (21, 2), "{alert:?}");
    eventually("the count", || failures(&server, "not_tls") == 1);
}
