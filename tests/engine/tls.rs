//! The engine over TLS: a redis-server with a certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::redis::{Keeps, Redis};
use crate::rig::{Load, Node, eventually, join, next_text};
use crate::start::{ends, ends_with};

/// An authority, and what it has signed for the engine and for a node.
struct Authority {
    folder: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let folder = format!("hubcast-engine-tls-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        for (who, names) in [("engine", ["localhost", "127.0.0.1"]), ("node", ["n", "m"])] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(names.map(str::to_owned)).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            let file = |end| folder.join(format!("{who}{end}"));
            fs::write(file(".pem"), certificate.pem()).unwrap();
            fs::write(file(".key"), key.serialize_pem()).unwrap();
        }
        Authority { folder }
    }

    fn file(&self, name: &str) -> String {
        let file = self.folder.join(name);
        assert!(Path::exists(&file));
        file.display().to_string()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A redis-server that speaks TLS at one port, and plain text at another.
fn secure_redis(authority: &Authority, wants_certificate: &str) -> (Redis, u16) {
    let port = crate::redis::free_port();
    let options = [
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &authority.file("engine.pem"),
        "--tls-key-file",
        &authority.file("engine.key"),
        "--tls-ca-cert-file",
        &authority.file("ca.pem"),
        "--tls-auth-clients",
        wants_certificate,
    ]
    .map(|option| &*option.to_owned().leak());
    (Redis::start_with(Keeps::Nothing, &options), port)
}

#[test]
#[ignore = "make test-engine runs it"]
fn nodes_reach_their_engine_over_tls() {
    let authority = Authority::new("good");
    let (mut redis, port) = secure_redis(&authority, "yes");
    let files = ["ca.pem", "node.pem", "node.key"].map(|name| authority.file(name));
    let options = [
        "--engine-ca",
        &files[0],
        "--engine-cert",
        &files[1],
        "--engine-key",
        &files[2],
    ];
    let nodes = ["localhost", "127.0.0.1"].map(|host| {
        let node = Node::launch(&format!("rediss://{host}:{port}"), &options);
        node.await_ready();
        node
    });
    let load = Load::start(&nodes.each_ref(), &["/a"], Duration::from_millis(1));
    thread::sleep(Duration::from_millis(700));
    redis.kill();
    redis.restart();
    redis.await_answer();
    let pause = load.pause();
    // More than one record, both ways.
    let mut listener = join(nodes[1].address, "/large");
    let large = "x".repeat(60_000);
    assert_eq!(nodes[0].post("/large", &large).status, 202);
    assert!(next_text(&mut listener) == Some(large), "it is whole");
    let tally = load.check();
    println!("over TLS, killed once: {tally}, longest pause {pause:.2?}");
}

#[test]
#[ignore = "make test-engine runs it"]
fn what_is_wrong_with_tls_is_said() {
    let authority = Authority::new("bad");
    let (_redis, port) = secure_redis(&authority, "no");
    let other = Authority::new("other");
    let url = format!("rediss://127.0.0.1:{port}");
    let ends = |code: i32, engine: &str, options: &[&str], expected: &[&str]| {
        ends_with(code, &[&["--engine", engine], options].concat(), expected);
    };
    let cert = authority.file("node.pem");
    for (file, expected) in [
        ("/nowhere", "cannot be read"),
        (&authority.file("node.key"), "no certificate"),
    ] {
        ends(2, &url, &["--engine-ca", file], &["engine-ca", expected]);
    }
    ends(
        2,
        &url,
        &["--engine-cert", &cert],
        &["engine-cert and engine-key", "go together"],
    );
    ends(
        2,
        "redis://localhost",
        &["--engine-ca", &cert],
        &["engine-ca", "rediss://"],
    );
    let ca = other.file("ca.pem");
    ends(
        1,
        &url,
        &["--engine-ca", &ca],
        &["UnknownIssuer", "engine-ca"],
    );

    // A certificate for another name.
    let named = format!("rediss://localhost.localdomain:{port}");
    if std::net::ToSocketAddrs::to_socket_addrs("localhost.localdomain:1").is_ok() {
        let ca = authority.file("ca.pem");
        ends(1, &named, &["--engine-ca", &ca], &["not valid for name"]);
    }
}

#[test]
#[ignore = "make test-engine runs it"]
fn an_engine_that_wants_a_certificate() {
    let authority = Authority::new("wants");
    let (redis, port) = secure_redis(&authority, "yes");
    let ca = authority.file("ca.pem");
    let engine = format!("rediss://127.0.0.1:{port}");
    ends(
        &["--engine", &engine, "--engine-ca", &ca],
        &["CertificateRequired", "engine-cert"],
    );
    // Plain text where TLS is spoken, and the other way round.
    let plain = format!("rediss://127.0.0.1:{}", redis.port);
    for (engine, options, expected) in [
        (plain, &["--engine-ca", &ca][..], "speak TLS"),
        (format!("redis://127.0.0.1:{port}"), &[], "the engine"),
    ] {
        let node = Node::launch(&engine, options);
        eventually("the log says what is there", || {
            node.log().contains(expected)
        });
        assert_eq!(node.get("/-/readyz").status, 503);
    }
}
