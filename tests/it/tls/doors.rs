//! The other doors, over TLS and knocked at without it.

use super::*;
use crate::kit::http::{Answer, follow, plain, post};

fn ask(server: &Secured, request: &[u8]) -> Answer {
    let mut stream = server.open();
    stream.write_all(request).unwrap();
    // The end is said by a close_notify, or this fails.
    Answer::read(&mut stream).unwrap()
}

#[test]
fn every_door_opens_over_tls() {
    let server = Secured::start(|config| config.allow_publish = true);
    let page = ask(&server, &plain("GET", "/lobby", &["Accept: text/html"]));
    assert!(page.status == 200 && page.body.len() > 10_000);
    let health = ask(&server, &plain("GET", "/-/healthz", &[]));
    assert_eq!((health.status, &health.body[..]), (200, "ok\n"));
    let mut events = server.open();
    events.write_all(&follow("/lobby", &[])).unwrap();
    assert!(read_head(&mut events).unwrap().starts_with("HTTP/1.1 200 "));
    let mut client = server.join("/lobby");
    let published = ask(&server, &post("/lobby", &[], b"hello"));
    assert_eq!(published.status, 202, "{published:?}");
    client.expect("hello");
    let expected = b": welcome\n\ndata: hello\n\n";
    let mut read = vec![0; expected.len()];
    events.read_exact(&mut read).unwrap();
    assert_eq!(read, expected);
    // A body in more records than one, that is waited for.
    let large = vec![b'x'; 100_000];
    let request = post("/lobby", &["Expect: 100-continue"], &large);
    let head = crate::kit::http::head_end(&request).unwrap();
    let mut stream = server.open();
    stream.write_all(&request[..head]).unwrap();
    assert!(read_head(&mut stream).unwrap().contains("100 Continue"));
    stream.write_all(&request[head..]).unwrap();
    assert_eq!(Answer::read(&mut stream).unwrap().status, 202);
    assert!(client.message() == large);
}

#[test]
fn plain_http_is_led_to_tls_or_told_about_it() {
    let server = Secured::start(|config| config.allow_publish = true);
    let line = "this port speaks TLS: use wss:// and https://\n";
    let refused = |request: &[u8]| {
        let mut stream = dial(server.address());
        stream.write_all(request).unwrap();
        Answer::read(&mut stream).unwrap()
    };
    let answer = refused(&plain("GET", "/lobby?x=1", &[]));
    assert_eq!(answer.status, 308);
    assert_eq!(answer.header("location"), "https://localhost/lobby?x=1");
    assert_eq!(answer.body, line);
    for request in [handshake("/"), post("/", &[], b"hello")] {
        let answer = refused(&request);
        assert_eq!((answer.status, &answer.body[..]), (400, line));
        assert_eq!(answer.header("location"), "");
    }
    assert_eq!(server.server.handle().stats().joins, 0);
}
