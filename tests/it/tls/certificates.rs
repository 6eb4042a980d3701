//! Certificates: what may be wrong with them, and that they change.

use std::fs::File;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use hubcast::{ErrorKind, Server};

use super::*;
use crate::support::{Program, eventually};

#[test]
fn what_is_wrong_with_a_file_is_said_in_one_line() {
    let folder = Folder::new();
    folder.renew();
    let other = Identity::new().certificate.signing_key.serialize_pem();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| text_of(&folder.path(name)));
    let good_cert = folder.write("cert.pem", &cert);
    let good_key = folder.write("key.pem", &key);
    let missing = folder.path("missing.pem").to_str().unwrap().to_owned();
    let other_key = folder.write("other.pem", &other);
    let encrypted = folder.write(
        "encrypted.pem",
        &key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
    );
    let garbage = folder.write("garbage.pem", "no PEM at all\n");
    let both = folder.write("both.pem", &format!("{cert}{key}"));
    let cases: [(&[&str], String); 11] = [
        (
            &["--tls-cert", &missing, "--tls-key", &good_key],
            format!("tls-cert {missing:?} cannot be read: No such file or directory (os error 2)"),
        ),
        (
            &["--tls-cert", &good_key, "--tls-key", &good_key],
            format!("tls-cert {good_key:?} holds no certificate in PEM"),
        ),
        (
            &["--tls-cert", &good_cert, "--tls-key", &missing],
            format!("tls-key {missing:?} cannot be read: "),
        ),
        (
            &["--tls-cert", &good_cert, "--tls-key", &good_cert],
            format!("tls-key {good_cert:?} holds no private key in PEM"),
        ),
        (
            &["--tls-cert", &good_cert, "--tls-key", &encrypted],
            format!("tls-key {encrypted:?} is encrypted; decrypt it: openssl pkey -in {encrypted}"),
        ),
        (
            &["--tls-cert", &good_cert, "--tls-key", &other_key],
            format!("tls-key {other_key:?} does not belong to the first certificate of"),
        ),
        (
            &[
                "--tls-cert",
                &both,
                "--tls-key",
                &both,
                "--tls-client-ca",
                &garbage,
            ],
            format!("tls-client-ca {garbage:?} holds no certificate in PEM"),
        ),
        (
            &["--tls-key", &good_key],
            "tls-key needs tls-cert, the certificate's file".to_owned(),
        ),
        (
            &["--tls-client-ca", &good_cert],
            "tls-client-ca needs tls-cert, the certificate's file".to_owned(),
        ),
        (
            &["--tls-cert", &good_cert],
            format!("tls-cert {good_cert:?} needs tls-key, its private key's file"),
        ),
        (
            &["--plain-listen", "127.0.0.1:0"],
            "plain-listen needs tls-cert: without it, listen speaks plain text already".to_owned(),
        ),
    ];
    for (options, line) in cases {
        let program = Command::new(env!("CARGO_BIN_EXE_hubcast"))
            .args(["--listen", "127.0.0.1:0"])
            .args(options)
            .output()
            .unwrap();
        let said = String::from_utf8(program.stderr).unwrap();
        assert_eq!(program.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.starts_with(&format!("hubcast: {line}")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // One file may hold both.
    Program::start(&["--tls-cert", &both, "--tls-key", &both]);
}

#[test]
fn a_library_is_told_as_well() {
    let folder = Folder::new();
    let server = Server::builder().configure(|config| config.tls = Some(folder.tls()));
    let error = server.bind("127.0.0.1:0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().starts_with("tls-cert "), "{error}");
}

/// Waits until a new client is shown this certificate.
#[track_caller]
fn expect_shown(server: &Secured, identity: &Identity) {
    // A second must pass between two looks at the files.
    eventually("the new certificate", || {
        thread::sleep(Duration::from_millis(50));
        secure(dial(server.address()), identity.client()).is_ok()
    });
}

#[test]
fn a_new_certificate_reaches_new_clients_and_drops_none() {
    let server = Secured::start(|_| {});
    let mut clients: Vec<Client> = (0..50).map(|_| server.join("/")).collect();
    let renewed = server.folder.renew();
    expect_shown(&server, &renewed);
    let old = secure(dial(server.address()), server.identity.client());
    assert!(old.is_err(), "nobody gets the old one any more");
    let stream = secure(dial(server.address()), renewed.client()).unwrap();
    assert_eq!(shown(&stream), renewed.der());
    clients.push(Client::upgrade(stream, "/"));
    for sender in [0, 49, 50] {
        let text = format!("from {sender}");
        clients[sender].send(Opcode::Text, text.as_bytes());
        clients.iter_mut().for_each(|client| client.expect(&text));
    }
    assert_eq!(server.server.handle().stats().clients, 51);
}

#[test]
fn a_new_certificate_is_read_at_once_where_the_program_asks() {
    let server = Secured::start(|_| {});
    let renewed = server.folder.renew();
    server.server.handle().reload_tls().unwrap();
    let stream = secure(dial(server.address()), renewed.client()).unwrap();
    assert_eq!(shown(&stream), renewed.der());
    server.folder.write("key.pem", "nothing");
    let error = server.server.handle().reload_tls().unwrap_err();
    assert!(
        error.to_string().contains("holds no private key"),
        "{error}"
    );
    secure(dial(server.address()), renewed.client()).unwrap();
}

#[test]
fn a_file_that_cannot_be_used_is_warned_of_once_and_changes_nothing() {
    let folder = Folder::new();
    let identity = folder.renew();
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let [cert_path, key_path] = [&cert, &key].map(|path| path.to_str().unwrap());
    let mut program = Program::start(&["--tls-cert", cert_path, "--tls-key", key_path]);
    folder.write("cert.pem", "nothing");
    let knock = |program: &Program, identity: &Identity| {
        secure(dial(program.address), identity.client()).is_ok()
    };
    // Looks, in all, at more than one later time.
    let mut refused = 0;
    let start = SystemTime::now();
    while start.elapsed().unwrap() < Duration::from_millis(2_500) {
        refused += usize::from(!knock(&program, &identity));
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(refused, 0);
    program.expect_log("the certificate before stays in use");
    let renewed = folder.renew();
    // Another time than the file before, however coarse the clock of the disk is.
    let later = SystemTime::now() + Duration::from_secs(5);
    File::options()
        .append(true)
        .open(&cert)
        .unwrap()
        .set_modified(later)
        .unwrap();
    eventually("the new certificate", || {
        thread::sleep(Duration::from_millis(50));
        knock(&program, &renewed)
    });
    program.signal(rustix::process::Signal::TERM);
    let log = program.whole_log();
    let warnings = log.lines().filter(|line| line.contains("stays in use"));
    assert_eq!(warnings.count(), 1, "{log}");
    assert!(log.contains("the certificate was read again"), "{log}");
}

#[test]
fn clients_show_a_certificate_where_an_authority_is_set() {
    let folder = Folder::new();
    let identity = folder.renew();
    let (authority, certificate, key) = authority();
    let authorities = folder.write("clients.pem", &authority);
    let (sender, shown) = std::sync::mpsc::channel();
    let server = Server::builder()
        .configure(|config| config.tls = Some(folder.tls().client_ca(authorities)))
        .on_upgrade(move |upgrade| {
            sender.send(upgrade.peer_certificates().to_vec()).unwrap();
            Ok(())
        });
    let server = server.bind("127.0.0.1:0").unwrap().spawn().unwrap();
    let address = server.local_addr();
    let refused = |stream: io::Result<Stream>| {
        // In TLS 1.3 a client is done before the server has seen its answer.
        let read = stream.and_then(|mut stream| {
            stream.write_all(&handshake("/"))?;
            read_head(&mut stream)
        });
        read.unwrap_err().to_string()
    };
    let error = refused(secure(dial(address), identity.client()));
    assert!(error.contains("CertificateRequired"), "{error}");
    let with = |chain: CertificateDer<'static>, key: PrivateKeyDer<'static>| {
        let mut roots = RootCertStore::empty();
        roots.add(identity.der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots);
        config.with_client_auth_cert(vec![chain], key).unwrap()
    };
    let stranger = Identity::new();
    let error = refused(secure(dial(address), with(stranger.der(), stranger.key())));
    assert!(error.contains("received fatal alert"), "{error}");
    let stream = secure(dial(address), with(certificate.clone(), key)).unwrap();
    let mut client = Client::upgrade(stream, "/");
    assert_eq!(shown.recv().unwrap(), [certificate.to_vec()]);
    client.send(Opcode::Text, b"hello");
    client.expect("hello");
}
