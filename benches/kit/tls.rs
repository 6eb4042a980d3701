//! TLS for the clients of a benchmark, and a certificate for the servers.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::Result;

/// A certificate for `localhost` in files that go with it, and clients that trust it.
#[derive(Debug)]
pub(crate) struct Identity {
    folder: PathBuf,
    client: Arc<ClientConfig>,
}

impl Identity {
    pub(crate) fn new() -> Result<Identity> {
        let folder = std::env::temp_dir().join(format!("hubcast-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Each handshake is a whole one, as of clients that have never been here.
        client.resumption = Resumption::disabled();
        let identity = Identity {
            folder,
            client: Arc::new(client),
        };
        fs::write(identity.certificate(), made.cert.pem())?;
        fs::write(identity.key(), made.signing_key.serialize_pem())?;
        Ok(identity)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// The handshake, on a socket that blocks.
    pub(super) fn connect(&self, mut socket: &TcpStream) -> Result<Session> {
        let name = ServerName::try_from("localhost")?;
        let mut connection = ClientConnection::new(self.client.clone(), name)?;
        connection.set_buffer_limit(None);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Session(Box::new(connection)))
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        // What is left in a temporary folder hurts nobody.
        drop(fs::remove_dir_all(&self.folder));
    }
}

#[derive(Debug)]
pub(super) struct Session(Box<ClientConnection>);

impl Session {
    /// Reads once, as from the socket itself.
    pub(super) fn read(&mut self, mut socket: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.0.read_tls(&mut socket)? == 0 {
                return Ok(0);
            }
            self.0.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Takes all the bytes, and writes as much of them as the socket takes now.
    /// False: some are left.
    pub(super) fn write(&mut self, mut socket: &TcpStream, bytes: &[u8]) -> io::Result<bool> {
        self.0.writer().write_all(bytes)?;
        while self.0.wants_write() {
            match self.0.write_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
