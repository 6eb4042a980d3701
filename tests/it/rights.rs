//! Rights in rooms: what a token allows, at every door, and until when.

use std::env::temp_dir;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hubcast::{Config, Rights, Running, TokenVerifier};

use crate::kit::frame::{Opcode, masked};
use crate::kit::http::{Answer, check_upgrade, follow, handshake, plain, post, read_head};
use crate::support::{Program, Raw, dial, server, wait_closed};

/// A server whose tokens are `reader`, `writer`, `probe` and `boss`.
fn guarded(change: impl FnOnce(&mut Config)) -> Running {
    let verifier = TokenVerifier::new(|token| {
        let rights = Rights::new().name(token);
        match token {
            "reader" => Ok(rights.read("/news").read("/team/*")),
            "writer" => Ok(rights.read("/news").write("/news")),
            "probe" => Ok(rights.write("/news")),
            "boss" => Ok(rights.admin(true)),
            "late" => Ok(rights.read("/*").expires(SystemTime::UNIX_EPOCH)),
            "brief" => {
                let soon = SystemTime::now() + Duration::from_millis(300);
                Ok(rights.read("/*").write("/*").expires(soon))
            }
            _ => Err("is unknown"),
        }
    });
    server(|config| {
        config.token_verifier = Some(verifier);
        config.allow_publish = true;
        change(config);
    })
}

fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = dial(address);
    stream.write_all(request).unwrap();
    Answer::read(&mut stream).unwrap()
}

#[test]
fn a_token_opens_what_it_names_and_no_more() {
    let server = guarded(|_| {});
    let address = server.local_addr();
    let json = ["Accept: application/json"];
    for (request, status, word) in [
        (handshake("/news"), 401, "missing"),
        (handshake("/news?token=nobody"), 401, "the token is unknown"),
        (handshake("/news?token=late"), 401, "the token has expired"),
        (
            handshake("/other?token=reader"),
            403,
            "does not allow to read",
        ),
        (
            handshake("/news?token=probe"),
            403,
            "does not allow to read",
        ),
        (
            follow("/other?token=reader", &[]),
            403,
            "does not allow to read",
        ),
        (
            plain("GET", "/news?token=boss", &json),
            403,
            "does not allow to read",
        ),
        (
            plain("GET", "/team/a?token=reader", &json),
            200,
            "\"clients\":0",
        ),
        (
            plain("GET", "/team%2fb?token=reader", &json),
            200,
            "\"clients\":0",
        ),
        (
            post("/news?token=reader", &[], b"x"),
            403,
            "does not allow to write",
        ),
        (
            post("/other?token=writer", &[], b"x"),
            403,
            "does not allow to write",
        ),
        (post("/news?token=probe", &[], b"x"), 202, ""),
        (
            post("/news", &["Authorization: Bearer writer"], b"x"),
            202,
            "",
        ),
        (post("/news", &[], b"x"), 401, "missing"),
    ] {
        let answer = ask(address, &request);
        let shown = String::from_utf8_lossy(&request);
        assert_eq!(answer.status, status, "{shown}: {}", answer.body);
        assert!(answer.body.contains(word), "{shown}: {}", answer.body);
        assert!(!answer.body.contains("nobody"), "a token is never echoed");
    }
    let mut reader = Raw::connect(&server, "/news?token=reader");
    let mut writer = Raw::connect(&server, "/news?token=writer");
    writer.send(Opcode::Text, b"hello");
    assert_eq!(reader.data().payload, b"hello");
    let mut names: Vec<_> = server.handle().clients().unwrap();
    names.sort_by_key(|client| client.id);
    let names: Vec<_> = names.iter().map(|client| client.name.as_deref()).collect();
    assert_eq!(names, [Some("reader"), Some("writer")]);
}

#[test]
fn the_operators_paths_are_for_a_token_that_says_so() {
    let server = guarded(|_| {});
    // As from elsewhere: what a proxy passes on.
    let via = ["Via: 1.1 proxy"];
    for (target, status) in [
        ("/-/clients", 401),
        ("/-/clients?token=reader", 403),
        ("/-/clients?token=boss", 200),
        ("/-/healthz", 200),
    ] {
        let answer = ask(server.local_addr(), &plain("GET", target, &via));
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
    }
}

#[test]
fn a_client_that_may_only_read_is_told_so_or_ignored() {
    let server = guarded(|_| {});
    let mut reader = Raw::connect(&server, "/news?token=reader");
    reader.send(Opcode::Text, b"let me");
    let close = reader.data();
    assert_eq!(close.close_code(), Some(1008));
    assert!(close.payload[2..].starts_with(b"this token may only read here #"));
    wait_closed(&server, "read_only", 1);
    let server = guarded(|config| config.ignore_writes = true);
    let mut reader = Raw::connect(&server, "/news?token=reader");
    reader.send(Opcode::Text, b"let me");
    reader.send(Opcode::Ping, b"there?");
    let pong = reader.frame();
    assert_eq!(
        (pong.opcode, &pong.payload[..]),
        (Opcode::Pong, &b"there?"[..])
    );
}

#[test]
fn rights_that_end_end_the_connection_in_order() {
    let server = guarded(|config| config.ping_interval = Duration::ZERO);
    let mut events = dial(server.local_addr());
    events.write_all(&follow("/a?token=brief", &[])).unwrap();
    let mut idle = Raw::connect(&server, "/a?token=brief");
    let mut busy = Raw::connect(&server, "/a?token=brief");
    // One that never rests is ended, too.
    loop {
        busy.send_bytes(&masked(Opcode::Text, b"and on"));
        if busy.data().close_code() == Some(1008) {
            break;
        }
    }
    while idle.data().close_code() != Some(1008) {}
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("200 OK"), "{rest}");
    drop((idle, busy));
    wait_closed(&server, "token_expired", 3);
}

fn tokens_file(name: &str, text: &str) -> PathBuf {
    let path = temp_dir().join(format!("hubcast-it-{name}-{}", std::process::id()));
    rewrite(&path, text);
    path
}

fn rewrite(path: &PathBuf, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn a_file_of_tokens_is_read_again_when_it_changes() {
    let first = "aaa name=ann read=/* write=/*\nbbb name=bob read=/*\n";
    let path = tokens_file("tokens", first);
    let mut program = Program::start(&["--tokens", path.to_str().unwrap()]);
    let mut ann = Raw::open(program.address, "/lobby?token=aaa");
    let mut bob = Raw::open(program.address, "/lobby?token=bbb");
    program.expect_log("name=\"bob\" joined");
    ann.send(Opcode::Text, b"hi bob");
    assert_eq!(bob.data().payload, b"hi bob");
    assert_eq!(ann.data().payload, b"hi bob");
    // What cannot be read changes nothing.
    rewrite(&path, "aaa\n");
    program.expect_log("line 1: name= is missing");
    rewrite(
        &path,
        "aaa name=ann read=/* write=/*\nccc name=cid read=/*\n",
    );
    program.expect_log("tokens are read again, 2 of them");
    bob.expect_close(1008);
    let mut stream = dial(program.address);
    stream.write_all(&handshake("/lobby?token=bbb")).unwrap();
    assert_eq!(Answer::read(&mut stream).unwrap().status, 401);
    let mut cid = dial(program.address);
    cid.write_all(&handshake("/lobby?token=ccc")).unwrap();
    check_upgrade(&read_head(&mut cid).unwrap()).unwrap();
    ann.send(Opcode::Text, b"still here");
    assert_eq!(ann.data().payload, b"still here");
    fs::remove_file(&path).unwrap();
}

/// A token of these claims, signed with a secret.
#[cfg(feature = "jwt")]
fn signed(claims: &str, secret: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL_NOPAD;
    use ring::hmac;

    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}

#[cfg(feature = "jwt")]
#[test]
fn a_signed_token_says_by_itself_what_it_allows() {
    let secret = "0123456789abcdef0123456789abcdef";
    let path = tokens_file("jwt", secret);
    let args = ["--jwt-key", path.to_str().unwrap(), "--allow-publish"];
    let program = Program::start(&args);
    let until = |seconds: u64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap().as_secs() + seconds
    };
    let claims = format!(r#"{{"sub":"ann","read":"/lobby","exp":{}}}"#, until(60));
    let token = signed(&claims, secret);
    let mut ann = Raw::open(program.address, &format!("/lobby?token={token}"));
    ann.send(Opcode::Text, b"let me");
    ann.expect_close(1008);
    let forged = signed(
        &claims.replace("/lobby", "/*"),
        "another secret of thirty-two bytes",
    );
    let expired = signed(
        &format!(r#"{{"read":"/*","exp":{}}}"#, until(0) - 60),
        secret,
    );
    let huge = "x".repeat(64 * 1024);
    for (target, token, status, word) in [
        ("/other", &token, 403, "does not allow to read"),
        ("/lobby", &forged, 401, "wrong signature"),
        ("/lobby", &expired, 401, "has expired"),
        ("/lobby", &huge, 431, "larger than"),
    ] {
        let bearer = format!("Authorization: Bearer {token}");
        let request = plain("GET", target, &["Accept: application/json", &bearer]);
        let answer = ask(program.address, &request);
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
        assert!(answer.body.contains(word), "{}", answer.body);
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn presence_shows_the_name_that_the_token_gives() {
    let server = guarded(|config| config.presence = true);
    let address = server.local_addr();
    let _named = Raw::open(address, "/news?token=writer&name=boss");
    let mut watcher = Raw::open(address, "/news?token=reader&presence");
    let here = String::from_utf8(watcher.data().payload).unwrap();
    assert!(
        here.contains(r#""here":[{"id":"1","name":"writer"}]"#),
        "{here}"
    );
}
