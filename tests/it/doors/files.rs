//! One's own pages on the server's port: which files are shown, and which
//! are not.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use hubcast::{ErrorKind, Running, Secret, Server};

use super::look;
use crate::http::ask;
use crate::kit::http::{Answer, plain, post, read_head};
use crate::support::{connect, dial, dial_tight, eventually, next_text, server};

const HTML: &str = "Accept: text/html,*/*;q=0.8";

/// A folder of pages beside what must not be shown; removed when dropped.
struct Site {
    folder: PathBuf,
}

impl Site {
    fn new() -> Site {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("hubcast-pages-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let site = Site { folder };
        fs::create_dir_all(site.pages().join("docs")).unwrap();
        site.write("secret", "outside");
        site.write("pages/index.html", "<!doctype html>mine");
        site.write("pages/app.js", "let x;");
        site.write("pages/a b%41.CSS", "p {}");
        site.write("pages/blob", "\u{1}");
        site.write("pages/.env", "hidden");
        site.write("pages/docs/index.html", "docs");
        symlink("../secret", site.pages().join("out")).unwrap();
        symlink("..", site.pages().join("up")).unwrap();
        symlink("/etc", site.pages().join("etc")).unwrap();
        symlink("app.js", site.pages().join("same.js")).unwrap();
        symlink("docs", site.pages().join("latest")).unwrap();
        site
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn pages(&self) -> PathBuf {
        self.folder.join("pages")
    }

    fn serve(&self) -> Running {
        server(|config| config.pages = Some(self.pages()))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Asks for a file by HEAD.
fn head(address: SocketAddr, target: &str) -> Answer {
    let mut stream = dial(address);
    stream.write_all(&plain("HEAD", target, &[])).unwrap();
    Answer::parse(&read_head(&mut stream).unwrap()).unwrap()
}

#[test]
fn files_are_answered_with_their_types() {
    let site = Site::new();
    let server = site.serve();
    for (target, kind, body) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>mine"),
        (
            "/index.html?x=1",
            "text/html; charset=utf-8",
            "<!doctype html>mine",
        ),
        ("/app.js", "text/javascript; charset=utf-8", "let x;"),
        ("/same.js", "text/javascript; charset=utf-8", "let x;"),
        ("/a%20b%2541.CSS", "text/css; charset=utf-8", "p {}"),
        ("/blob", "application/octet-stream", "\u{1}"),
        ("/docs/", "text/html; charset=utf-8", "docs"),
        ("/latest/index.html", "text/html; charset=utf-8", "docs"),
    ] {
        for headers in [&[HTML][..], &["Accept: */*"], &[]] {
            let answer = look(server.local_addr(), target, headers);
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (200, body),
                "{target}"
            );
            assert_eq!(answer.header("content-type"), kind, "{target}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert_eq!(answer.header("content-security-policy"), "");
        }
    }
    let folder = look(server.local_addr(), "/docs?a=b", &[HTML]);
    assert_eq!(folder.status, 307);
    assert_eq!(folder.header("location"), "/docs/?a=b");
}

#[test]
fn nothing_hidden_or_outside_is_shown_however_it_is_asked_for() {
    let site = Site::new();
    let server = site.serve();
    for target in [
        "/.env",
        "/%2eenv",
        "/out",
        "/up/secret",
        "/etc/hostname",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%252e%252e/secret",
        "/docs/../../secret",
        "/docs/%2e%2e/app.js",
        "/./app.js",
        "//app.js",
        "//etc/hostname",
        "/docs//index.html",
        "/app.js/",
        "/app.js%00.html",
        "/..%5csecret",
    ] {
        let answer = look(server.local_addr(), target, &[HTML]);
        let shown = answer.body.starts_with("<!doctype html>\n") || answer.status == 400;
        assert!(shown, "{target}: {answer:?}");
        for secret in ["outside", "hidden", "let x", "docs\n"] {
            assert!(
                !answer.body.contains(secret) || answer.body.len() > 1000,
                "{target}"
            );
        }
    }
    // A pipe is no file, and nobody waits for its other end.
    let made = Command::new("mkfifo")
        .arg(site.pages().join("pipe"))
        .status();
    assert!(made.unwrap().success());
    let answer = look(server.local_addr(), "/pipe", &[HTML]);
    assert!(answer.header("content-security-policy").contains("'none'"));
}

#[test]
fn a_file_is_sent_again_only_if_it_has_changed() {
    let site = Site::new();
    let server = site.serve();
    let address = server.local_addr();
    let first = look(address, "/app.js", &[]);
    let etag = first.header("etag");
    assert!(etag.starts_with('"') && first.header("cache-control") == "no-cache");
    let known = format!("If-None-Match: W/\"x\", {etag}");
    let again = look(address, "/app.js", &[&known]);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(again.header("etag"), etag);
    let head = head(address, "/app.js");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, "6".into())
    );
    site.write("pages/app.js", "let another;");
    let changed = look(address, "/app.js", &[&known]);
    assert_eq!(
        (changed.status, changed.body.as_str()),
        (200, "let another;")
    );
}

#[test]
fn rooms_and_the_operator_go_before_files_and_tokens_guard_rooms_alone() {
    let site = Site::new();
    fs::create_dir(site.pages().join("-")).unwrap();
    site.write("pages/-/healthz", "mine");
    site.write("pages/lobby", "a file");
    let server = server(|config| {
        config.pages = Some(site.pages());
        config.allow_publish = true;
    });
    let address = server.local_addr();
    assert_eq!(look(address, "/-/healthz", &[]).body, "ok\n");
    assert_eq!(look(address, "/lobby", &[HTML]).body, "a file");
    let mut client = connect(&server, "/lobby");
    let posted = ask(address, &post("/lobby", &[], b"posted"));
    assert!(posted.status < 300, "{posted:?}");
    assert_eq!(next_text(&mut client), "posted");
    // Where there is no file, everything is as without files.
    let page = look(address, "/other", &[HTML]);
    assert!(page.body.contains("<script>"), "{}", page.body);
    let guarded = self::server(|config| {
        config.pages = Some(site.pages());
        config.token = Some(Secret::from("a token that is long enough"));
    });
    let address = guarded.local_addr();
    assert_eq!(
        look(address, "/app.js", &["Origin: http://evil.example"]).status,
        200
    );
    assert_eq!(look(address, "/other", &["Accept: text/plain"]).status, 401);
    let lines = look(address, "/lobby?as=lines", &[]);
    assert_eq!(lines.status, 401, "lines are asked for, not the file");
}

#[test]
fn a_large_file_comes_whole_and_one_that_is_not_read_keeps_nobody() {
    let site = Site::new();
    let text = "0123456789abcde\n".repeat(500_000);
    site.write("pages/large.txt", &text);
    let server = site.serve();
    let answer = look(server.local_addr(), "/large.txt", &[]);
    assert!(answer.body == text);
    let mut stalled = dial_tight(server.local_addr());
    let request = plain("GET", "/large.txt", &[]);
    stalled.write_all(&request).unwrap();
    eventually("the file to be begun", || {
        stalled.read(&mut [0]).unwrap() == 1
    });
    let head = head(server.local_addr(), "/large.txt");
    assert_eq!(head.header("content-length"), text.len().to_string());
    let summary = server.shutdown().unwrap();
    assert_eq!(summary.left, 0, "{summary}");
}

#[test]
fn a_folder_that_is_none_is_an_error_at_the_start() {
    for path in ["/nowhere/at/all", "/dev/null"] {
        let server = Server::builder().configure(|config| config.pages = Some(path.into()));
        let error = server.bind("127.0.0.1:0").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().starts_with("pages \""), "{error}");
    }
    assert!(Path::new("/dev/null").exists());
    let answer = |server: &Running| -> Answer {
        let stream = dial(server.local_addr());
        drop(stream);
        look(server.local_addr(), "/x", &[HTML])
    };
    // A folder that goes away is as one without files.
    let site = Site::new();
    let server = site.serve();
    fs::remove_dir_all(&site.folder).unwrap();
    assert_eq!(answer(&server).status, 200);
}
