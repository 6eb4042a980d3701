//! The certificate that a server shows, read again when its files change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::config::Config;
use crate::error::Error;
use crate::tls::{PemFiles, Source, Tls, TlsVersion};

/// How often the files are looked at, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What is agreed on behind TLS (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// The certificate of a server and what goes with it, as rustls takes it.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// `None`: your program's own, which is never read again.
    files: Option<PemFiles>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// How the files looked when they were read last.
    seen: Vec<Look>,
    looked: Instant,
}

/// How a file looks: its time, size and place on the disk. `None`: it is not
/// there.
type Look = Option<(i64, i64, u64, u64, u64)>;

impl Certificates {
    /// What the settings ask for, if they do.
    ///
    /// # Errors
    ///
    /// What is wrong with a file, in one line.
    pub(crate) fn of(config: &Config) -> Result<Option<Certificates>, Error> {
        config.tls.as_ref().map(Certificates::new).transpose()
    }

    fn new(tls: &Tls) -> Result<Certificates, Error> {
        let (files, seen, config) = match &tls.source {
            Source::Files(files) => (Some(files.clone()), look_at(files), load(files)?),
            Source::Rustls(config) => (None, Vec::new(), ServerConfig::clone(config)),
        };
        Ok(Certificates {
            files,
            current: Mutex::new(Current {
                config: prepared(config),
                seen,
                looked: Instant::now(),
            }),
        })
    }

    /// What the next handshake is made with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current();
        let config = current.config.clone();
        let Some(files) = &self.files else {
            return config;
        };
        if current.looked.elapsed() < LOOK_INTERVAL {
            return config;
        }
        current.looked = Instant::now();
        let seen = look_at(files);
        if seen == current.seen {
            return config;
        }
        // Others go on with what there is while this one reads.
        current.seen = seen;
        drop(current);
        match self.read(files) {
            Ok(config) => config,
            Err(error) => {
                log::warn!("{error}; the certificate before stays in use");
                config
            }
        }
    }

    /// Reads the files now.
    ///
    /// # Errors
    ///
    /// What is wrong with them. What there was stays in use.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let Some(files) = &self.files else {
            return Ok(());
        };
        let seen = look_at(files);
        self.read(files)?;
        self.current().seen = seen;
        Ok(())
    }

    fn read(&self, files: &PemFiles) -> Result<Arc<ServerConfig>, Error> {
        let config = prepared(load(files)?);
        log::info!(
            "the certificate was read again, from {:?}",
            files.certificate
        );
        self.current().config = config.clone();
        Ok(config)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look_at(files: &PemFiles) -> Vec<Look> {
    let look = |path: &Path| {
        let file = fs::metadata(path).ok()?;
        let (seconds, nanos) = (file.mtime(), file.mtime_nsec());
        Some((seconds, nanos, file.size(), file.dev(), file.ino()))
    };
    files.paths().map(look).collect()
}

fn prepared(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// Reads the files.
fn load(files: &PemFiles) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = match files.min_version {
        TlsVersion::V1_2 => &[&TLS12, &TLS13],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| Error::config(format!("tls-min: {error}")))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let unusable = |error: &dyn std::fmt::Display| {
                Error::config(format!("tls-client-ca {path:?} cannot be used: {error}"))
            };
            let mut roots = RootCertStore::empty();
            for authority in certificates("tls-client-ca", path)? {
                roots.add(authority).map_err(|error| unusable(&error))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(&error))?)
        }
    };
    let (certificate, key) = (&files.certificate, &files.key);
    let chain = certificates("tls-cert", certificate)?;
    let mut config = builder
        .with_single_cert(chain, private_key("tls-key", key)?)
        .map_err(|error| {
            Error::config(match error {
                rustls::Error::InconsistentKeys(_) => format!(
                    "tls-key {key:?} does not belong to the first certificate of \
                     tls-cert {certificate:?}; the server's own must be the first"
                ),
                error => format!("tls-cert {certificate:?} and tls-key {key:?}: {error}"),
            })
        })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path)
        .map_err(|error| Error::config(format!("{option} {path:?} cannot be read: {error}")))
}

pub(super) fn certificates(
    option: &str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(option, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(Error::config(format!(
            "{option} {path:?} holds no certificate in PEM, which begins with \
             -----BEGIN CERTIFICATE-----"
        ))),
        Err(error) => Err(Error::config(format!("{option} {path:?}: {error}"))),
    }
}

pub(super) fn private_key(option: &str, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let pem = read(option, path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let is_encrypted = pem.windows(9).any(|word| word == b"ENCRYPTED");
        Error::config(match error {
            _ if is_encrypted => format!(
                "{option} {path:?} is encrypted; decrypt it: openssl pkey -in {} -out plain-key.pem",
                path.display()
            ),
            rustls::pki_types::pem::Error::NoItemsFound => format!(
                "{option} {path:?} holds no private key in PEM, which begins with \
                 -----BEGIN PRIVATE KEY-----"
            ),
            error => format!("{option} {path:?}: {error}"),
        })
    })
}
