//! What is done to a client, from another node than its own.

use std::net::TcpStream;

use hubcast::{ClientId, CloseCode, Server};

use crate::kit::frame::{self, Opcode};
use crate::kit::http::{Answer, check_upgrade, handshake, plain, post, read_head};
use crate::kit::socket::dial;
use crate::redis::{Keeps, Redis};
use crate::rig::{Node, deadline, eventually, next_text};

/// A client in a room, and its id.
fn join(node: &Node, target: &str) -> (TcpStream, String) {
    use std::io::Write;

    let mut stream = dial(node.address, deadline()).unwrap();
    stream.set_read_timeout(Some(deadline())).unwrap();
    stream.write_all(&handshake(target)).unwrap();
    let head = read_head(&mut stream).unwrap();
    check_upgrade(&head).unwrap();
    let id = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("hubcast-client")
            .then(|| value.trim().to_owned())
    });
    (stream, id.unwrap())
}

fn ask(node: &Node, request: &[u8]) -> Answer {
    use std::io::Write;

    let mut stream = dial(node.address, deadline()).unwrap();
    stream.set_read_timeout(Some(deadline())).unwrap();
    stream.write_all(request).unwrap();
    Answer::read(&mut stream).unwrap()
}

fn delete(node: &Node, path: &str) -> Answer {
    ask(node, &plain("DELETE", path, &[]))
}

/// The code and the reason of the Close that comes next.
fn closed(stream: &mut TcpStream) -> (u16, String) {
    let frame = frame::read(stream).unwrap();
    assert_eq!(frame.opcode, Opcode::Close, "{frame:?}");
    let (code, reason) = frame.payload.split_at(2);
    let code = u16::from_be_bytes(code.try_into().unwrap());
    (code, String::from_utf8(reason.to_vec()).unwrap())
}

#[test]
#[ignore = "make test-engine runs it"]
fn a_client_is_named_on_all_nodes() {
    let redis = Redis::start(Keeps::Nothing);
    let nodes = [(); 2].map(|()| Node::start(&redis, &[]));
    eventually("the nodes know each other", || {
        nodes.iter().all(|node| node.metric("hubcast_nodes") == 2.0)
    });
    let (mut ann, ann_id) = join(&nodes[0], "/");
    let (mut bob, bob_id) = join(&nodes[1], "/");
    assert_ne!(ann_id, bob_id);
    let (number, tag) = ann_id.split_once('@').unwrap();
    let listed = nodes[1].get("/-/nodes").body;
    assert!(
        listed.contains(&format!("\"clients\":\"@{tag}\"")),
        "{listed}"
    );
    let listed = nodes[0].get("/-/clients").body;
    assert!(listed.contains(&format!("\"id\":\"{ann_id}\"")), "{listed}");

    // Whoever takes the message, it is not for Ann.
    for (node, id) in [(1, &*ann_id), (0, &*ann_id), (0, number)] {
        let target = format!("/?except={id}");
        let answer = ask(&nodes[node], &post(&target, &[], b"from ann"));
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(next_text(&mut bob).unwrap(), "from ann");
    }
    assert_eq!(nodes[0].post("/", "to all").status, 202);
    assert_eq!(next_text(&mut ann).unwrap(), "to all");
    assert_eq!(next_text(&mut bob).unwrap(), "to all");

    // What was said before comes before the end.
    assert_eq!(nodes[1].post("/", "the last").status, 202);
    // As libraries for HTTP encode it.
    let answer = delete(&nodes[1], &format!("/-/clients/{number}%40{tag}"));
    assert_eq!((answer.status, &*answer.body), (202, "{\"asked\":1}\n"));
    assert_eq!(next_text(&mut ann).unwrap(), "the last");
    let (code, reason) = closed(&mut ann);
    assert_eq!(code, 1008);
    assert!(
        reason.starts_with("disconnected by the operator"),
        "{reason}"
    );
    eventually("its node tells of it", || {
        let path = format!("/-/departures/{ann_id}");
        nodes[0].get(&path).status == 200
    });

    for (path, status) in [
        ("/-/clients/1@000001", 404),
        ("/-/clients/ann", 400),
        ("/-/clients/1@", 400),
        ("/-/clients/77", 404),
    ] {
        let answer = delete(&nodes[1], path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let answer = delete(&nodes[1], &format!("/-/clients/{bob_id}"));
    assert_eq!(
        (answer.status, &*answer.body),
        (200, "{\"disconnected\":1}\n")
    );
    assert_eq!(next_text(&mut bob).unwrap(), "the last");
    assert_eq!(closed(&mut bob).0, 1008);
}

/// Your program on one node, and a client of another.
#[test]
#[ignore = "make test-engine runs it"]
fn a_handle_reaches_the_clients_of_all_nodes() {
    let redis = Redis::start(Keeps::Nothing);
    let node = Node::start(&redis, &[]);
    let own = Server::builder()
        .configure(|config| config.engine = Some(redis.url().as_str().into()))
        .bind("127.0.0.1:0")
        .unwrap()
        .spawn()
        .unwrap();
    let handle = own.handle();
    let (mut ann, id) = join(&node, "/lobby");
    let id: ClientId = id.parse().unwrap();
    handle.broadcast("/lobby", "1").unwrap();
    handle.send(id, "2").unwrap();
    handle.enter_room(id, "cellar").unwrap();
    handle.broadcast("/cellar", "3").unwrap();
    handle.exit_room(id, "/lobby").unwrap();
    handle.broadcast("/lobby", "not for ann").unwrap();
    // No client can name this room, but the program can.
    let long = "x".repeat(300);
    handle.broadcast(&long, "nobody is there").unwrap();
    handle.enter_room(id, &long).unwrap();
    handle.broadcast(&long, "long").unwrap();
    handle.broadcast_except("/cellar", id, "nor this").unwrap();
    handle.broadcast_all("4").unwrap();
    let bye = CloseCode::new(4001).unwrap();
    handle.disconnect(id, bye, "bye").unwrap();
    handle.broadcast_all("too late").unwrap();
    for text in ["1", "2", "3", "long", "4"] {
        assert_eq!(next_text(&mut ann).as_deref(), Some(text));
    }
    let (code, reason) = closed(&mut ann);
    assert_eq!(code, 4001);
    assert!(reason.starts_with("bye"), "{reason}");
    assert_eq!(node.metric("hubcast_engine_records_unknown_total"), 0.0);
    assert_eq!(node.metric("hubcast_engine_entries_malformed_total"), 0.0);
    own.shutdown().unwrap();
}
