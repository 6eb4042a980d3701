//! How a server speaks TLS: where its certificate comes from, and what it asks
//! of clients.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;

/// How a server speaks TLS; see [`Config::tls`](crate::Config::tls).
///
/// The files are read by [`ServerBuilder::bind`](crate::ServerBuilder::bind),
/// which reports what is wrong with them, and again when they have changed:
/// each handshake looks at them, at most once a second. A changed file that
/// cannot be used is logged once, and the certificate before stays in use.
/// Clients that are connected keep their connection in any case.
///
/// Sessions are not resumed: with a certificate of the usual kind (ECDSA) that
/// saves nothing, and what would be remembered is memory.
///
/// ```no_run
/// use hubcast::{Server, Tls, TlsVersion};
///
/// let tls = Tls::from_pem_files("cert.pem", "key.pem").min_version(TlsVersion::V1_3);
/// let server = Server::builder().configure(|config| config.tls = Some(tls));
/// server.bind("0.0.0.0:443")?.run()?;
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Clone)]
pub struct Tls {
    pub(crate) source: Source,
}

/// The oldest version of TLS that is spoken; see [`Tls::min_version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), which clients of the last 15 years speak.
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// Where the certificate comes from.
#[derive(Clone)]
pub(crate) enum Source {
    Files(PemFiles),
    /// Whatever your program has set up.
    Rustls(Arc<ServerConfig>),
}

/// Files in PEM, and what goes with them.
#[derive(Clone, Debug)]
pub(crate) struct PemFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) min_version: TlsVersion,
}

impl PemFiles {
    /// All files that are read.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let always = [self.certificate.as_path(), self.key.as_path()];
        always.into_iter().chain(self.client_ca.as_deref())
    }
}

impl Tls {
    /// TLS with a certificate and its private key, both in PEM: the server's
    /// own certificate first, then its chain; the key as PKCS#8, PKCS#1 or
    /// SEC1, not encrypted. Both may be in the same file.
    pub fn from_pem_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Tls {
        Tls {
            source: Source::Files(PemFiles {
                certificate: certificate.into(),
                key: key.into(),
                client_ca: None,
                min_version: TlsVersion::default(),
            }),
        }
    }

    /// TLS as your program has set it up with [`rustls`]: with
    /// another crypto provider, for example, or a certificate for each name.
    /// Of all settings only the list of ALPN protocols is replaced, by
    /// `http/1.1`. Nothing is read again; a resolver of your own may do that.
    pub fn from_rustls(config: Arc<ServerConfig>) -> Tls {
        Tls {
            source: Source::Rustls(config),
        }
    }

    /// Sets the oldest version that is spoken. Default: TLS 1.2. It has no
    /// effect on a configuration of rustls' own.
    pub fn min_version(mut self, version: TlsVersion) -> Tls {
        if let Source::Files(files) = &mut self.source {
            files.min_version = version;
        }
        self
    }

    /// Lets in only clients that show a certificate of one of the authorities
    /// in this file, in PEM. [`Upgrade::peer_certificates`] shows it to a hook.
    /// Default: none, and clients are asked for no certificate. It has no
    /// effect on a configuration of rustls' own.
    ///
    /// [`Upgrade::peer_certificates`]: crate::Upgrade::peer_certificates
    pub fn client_ca(mut self, authorities: impl Into<PathBuf>) -> Tls {
        if let Source::Files(files) = &mut self.source {
            files.client_ca = Some(authorities.into());
        }
        self
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Files(files) => files.fmt(f),
            Source::Rustls(_) => f.write_str("Rustls"),
        }
    }
}
