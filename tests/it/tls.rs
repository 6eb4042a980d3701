//! TLS on the server's own port.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hubcast::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use hubcast::rustls::version::{TLS12, TLS13};
use hubcast::rustls::{
    self, ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use hubcast::{Config, Running, Server, Tls};
use rcgen::{CertificateParams, CertifiedKey, KeyPair};

use crate::kit::frame::{self, Frame, Opcode, masked};
use crate::kit::http::{check_upgrade, handshake, read_head};
use crate::support::{dial, dial_tight, tight_listener};

mod certificates;
mod doors;
mod guide;
mod handshakes;
mod hostile;
mod rooms;
mod slow;

/// A folder for the files of one test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("hubcast-tls-{}-{number}", process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Puts a new certificate for `localhost` and its key here.
    fn renew(&self) -> Identity {
        let identity = Identity::new();
        self.write("cert.pem", &identity.certificate.cert.pem());
        self.write("key.pem", &identity.certificate.signing_key.serialize_pem());
        identity
    }

    fn tls(&self) -> Tls {
        Tls::from_pem_files(self.path("cert.pem"), self.path("key.pem"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate that signs itself, and its key.
struct Identity {
    certificate: CertifiedKey<KeyPair>,
}

impl Identity {
    fn new() -> Identity {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Identity { certificate }
    }

    fn der(&self) -> CertificateDer<'static> {
        self.certificate.cert.der().clone()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.certificate.signing_key.serialize_der()).unwrap()
    }

    /// What a client is set up with that trusts this certificate.
    fn client(&self) -> ClientConfig {
        self.client_of(&[&TLS12, &TLS13])
    }

    fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// A server with TLS, its files, and the certificate in them.
struct Secured {
    server: Running,
    folder: Folder,
    identity: Identity,
}

impl Secured {
    fn start(change: impl FnOnce(&mut Config)) -> Secured {
        Secured::with(|config, tls| {
            config.tls = Some(tls);
            change(config);
        })
    }

    /// Like [`start`](Secured::start), where `change` sets TLS, too.
    fn with(change: impl FnOnce(&mut Config, Tls)) -> Secured {
        let folder = Folder::new();
        let identity = folder.renew();
        let tls = folder.tls();
        let server = Server::builder().configure(|config| change(config, tls));
        // Little fits into its sockets, so that a slow client is slow at once.
        let server = server.from_listener(tight_listener()).unwrap();
        Secured {
            server: server.spawn().unwrap(),
            folder,
            identity,
        }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    fn open(&self) -> Stream {
        secure(dial(self.address()), self.identity.client()).unwrap()
    }

    fn join(&self, room: &str) -> Client {
        Client::upgrade(self.open(), room)
    }

    /// Joins with a receive buffer that holds little.
    fn join_tight(&self, room: &str) -> Client {
        let stream = secure(dial_tight(self.address()), self.identity.client());
        Client::upgrade(stream.unwrap(), room)
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Shakes hands.
fn secure(mut socket: TcpStream, config: ClientConfig) -> io::Result<Stream> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// The certificate that a server shows.
fn shown(stream: &Stream) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone()
}

/// A client of a room.
struct Client {
    stream: Stream,
}

impl Client {
    fn upgrade(mut stream: Stream, room: &str) -> Client {
        stream.write_all(&handshake(room)).unwrap();
        check_upgrade(&read_head(&mut stream).unwrap()).unwrap();
        Client { stream }
    }

    fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        self.stream.write_all(&masked(opcode, payload)).unwrap();
    }

    #[track_caller]
    fn frame(&mut self) -> Frame {
        frame::read(&mut self.stream).unwrap()
    }

    /// The next message.
    #[track_caller]
    fn message(&mut self) -> Vec<u8> {
        loop {
            let frame = self.frame();
            match frame.opcode {
                Opcode::Text | Opcode::Binary => return frame.payload,
                Opcode::Ping | Opcode::Pong => {}
                opcode => panic!("{opcode:?} instead of a message"),
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, text: &str) {
        assert_eq!(String::from_utf8(self.message()).unwrap(), text);
    }

    /// Expects the end of the stream as TLS says it: a close_notify.
    #[track_caller]
    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "bytes behind the last frame");
    }
}

/// A certificate authority, and a certificate that it has given.
fn authority() -> (String, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let client_key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a.client".to_owned()]).unwrap();
    let certificate = params.signed_by(&client_key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(client_key.serialize_der()).unwrap();
    (pem, certificate.der().clone(), key)
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
