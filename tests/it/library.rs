//! The library as a program embeds it: servers, and that nothing a program
//! calls can deadlock.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use http::StatusCode;
use hubcast::{
    Cause, Client, ClientId, CloseCode, ErrorKind, Handle, Refusal, Running, Server, ServerBuilder,
};

use crate::kit::frame::Opcode;
use crate::kit::http::{handshake, read_head};
use crate::support::{Raw, deadline, dial, eventually, server};

mod answers;
mod handle;
mod hooks;

fn spawn(builder: ServerBuilder) -> Running {
    builder.bind("127.0.0.1:0").unwrap().spawn().unwrap()
}

/// Does something that must not hang, and fails if it does.
#[track_caller]
fn in_time<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = channel();
    thread::spawn(move || sender.send(act()));
    match done.recv_timeout(deadline()) {
        Ok(result) => result,
        Err(_) => panic!("{what}: it hangs"),
    }
}

/// A client and the id that the server gave it.
fn with_id(server: &Running, room: &str) -> (Raw, ClientId) {
    let client = Raw::connect(server, room);
    let peer = client.stream.local_addr().unwrap();
    let clients = server.handle().clients().unwrap();
    let info = clients
        .iter()
        .find(|info| info.peer == peer.into())
        .unwrap();
    (client, info.id)
}

#[track_caller]
fn expect_texts(client: &mut Raw, texts: &[&str]) {
    for text in texts {
        let frame = client.data();
        assert_eq!(frame.opcode, Opcode::Text, "{frame:?}");
        assert_eq!(String::from_utf8(frame.payload).unwrap(), *text);
    }
}

/// Closes a client and waits for the end.
fn close(mut client: Raw) {
    client.send(Opcode::Close, &1000u16.to_be_bytes());
    while client.data().opcode != Opcode::Close {}
    client.expect_end();
}

#[test]
fn servers_in_one_process_have_nothing_in_common() {
    let servers: Vec<Running> = (0..5).map(|_| server(|_| {})).collect();
    let mut clients: Vec<Raw> = servers.iter().map(|s| Raw::connect(s, "/")).collect();
    for (number, server) in servers.iter().enumerate() {
        server.handle().broadcast_all(format!("{number}")).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        expect_texts(client, &[&number.to_string()]);
    }
    let mut servers = servers.into_iter();
    let first = servers.next().unwrap();
    first.handle().shutdown();
    close(clients.remove(0));
    first.wait().unwrap();
    let others: Vec<Running> = servers.collect();
    for (server, client) in others.iter().zip(&mut clients) {
        assert_eq!(server.handle().stats().clients, 1);
        client.send(Opcode::Text, b"alive");
        expect_texts(client, &["alive"]);
    }
    drop(clients);
}

#[test]
fn a_listener_of_the_programs_own_is_taken_as_it_is() {
    for blocking in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(!blocking).unwrap();
        let address = listener.local_addr().unwrap();
        // A client that has come already is not forgotten.
        let mut early = dial(address);
        early.write_all(&handshake("/")).unwrap();
        let server = Server::from_listener(listener).unwrap();
        assert_eq!(server.local_addr(), address);
        let server = server.spawn().unwrap();
        assert!(read_head(&mut early).unwrap().starts_with("HTTP/1.1 101 "));
        let mut client = Raw::connect(&server, "/");
        client.send(Opcode::Text, b"hi");
        expect_texts(&mut client, &["hi"]);
        drop((early, client));
    }
}

#[test]
fn an_ipv6_address_serves_as_well() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return; // this machine has none
    };
    let server = Server::from_listener(listener).unwrap().spawn().unwrap();
    let mut client = Raw::connect(&server, "/");
    client.send(Opcode::Text, b"hi");
    expect_texts(&mut client, &["hi"]);
}

#[test]
fn an_address_that_is_taken_is_an_error_of_its_kind() {
    let holder = server(|_| {});
    let address = holder.local_addr();
    let error = Server::bind(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bind);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn a_server_that_never_runs_fails_those_who_wait_for_it() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let handle = server.handle();
    let mut lobby = handle.subscribe("/lobby").unwrap();
    let asking = thread::spawn(move || handle.clients().is_err());
    let waiting = [10, 100_000].map(|size| {
        let handle = server.handle();
        // Until the inbox is full, and then it waits.
        thread::spawn(move || while handle.broadcast("/", vec![0; size]).is_ok() {})
    });
    let handle = server.handle();
    eventually("a full inbox", || {
        handle
            .try_broadcast("/", "")
            .is_err_and(|error| error.is_full())
    });
    drop(server);
    for waiting in waiting {
        in_time("a broadcast", || waiting.join().unwrap());
    }
    let is_err = in_time("a question", || asking.join().unwrap());
    assert!(is_err, "told that it has stopped");
    assert_eq!(in_time("a subscription", move || lobby.next()), None);
}

#[test]
fn whoever_asks_during_the_shutdown_is_answered_or_refused() {
    for _ in 0..50 {
        let server = server(|_| {});
        let askers = [(); 4].map(|()| {
            let handle = server.handle();
            thread::spawn(move || while handle.clients().is_ok() && handle.rooms().is_ok() {})
        });
        let handle = server.handle();
        let listener = thread::spawn(move || {
            while let Ok(subscription) = handle.subscribe("/") {
                drop(handle.broadcast("/", vec![0; 100_000]));
                // At most this one message, and the end.
                assert!(subscription.count() <= 1);
            }
        });
        in_time("the shutdown", || server.shutdown().unwrap());
        for asker in askers {
            in_time("a question", || asker.join().unwrap());
        }
        in_time("a subscription", || listener.join().unwrap());
    }
}

/// Calls every method of a handle but the one that ends the server.
fn call_everything(handle: &Handle, id: ClientId, gone: ClientId) {
    handle.broadcast("/", "all").unwrap();
    let tried = handle.try_broadcast("/", "perhaps");
    assert!(tried.is_ok() || tried.unwrap_err().is_full());
    handle.broadcast_except("/", id, "others").unwrap();
    let filter = |client: &Client| {
        // A filter may use the handle, too.
        let _ = client.handle().stats();
        client.handle().rooms().is_ok_and(|rooms| !rooms.is_empty()) && client.id() != id
    };
    handle.broadcast_where("/", filter, "chosen").unwrap();
    handle.broadcast_all(vec![0; 70_000]).unwrap();
    handle.broadcast_all_except(id, "all others").unwrap();
    handle.send(id, "you").unwrap();
    handle.disconnect(gone, CloseCode::NORMAL, "").unwrap();
    handle.enter_room(id, "/more").unwrap();
    handle.exit_room(id, "/more").unwrap();
    assert!(!handle.clients().unwrap().is_empty());
    handle.clients_in("/").unwrap();
    handle.members("/more").unwrap();
    handle.rooms().unwrap();
    drop(handle.subscribe("/").unwrap());
    assert!(handle.stats().clients > 0);
}

#[test]
fn every_method_may_be_called_from_hooks_and_threads_at_once() {
    let (sender, left) = channel();
    let gone: Arc<Mutex<Option<ClientId>>> = Arc::default();
    let known = gone.clone();
    let call = move |client: &Client| {
        if let Some(gone) = *known.lock().unwrap() {
            call_everything(client.handle(), client.id(), gone);
        }
    };
    let (on_join, on_message) = (call.clone(), call);
    let server = spawn(
        Server::builder()
            .configure(|config| {
                config.queue_messages = 1_000_000;
                config.queue_bytes = 1 << 30;
                config.queue_total = 1 << 32;
            })
            .on_upgrade(|upgrade| match upgrade.room().len() {
                0 => Err(Refusal::new(StatusCode::NOT_FOUND, "")),
                _ => Ok(()),
            })
            .on_join(move |client| on_join(client))
            .on_message(move |client, message| {
                on_message(client);
                Some(message)
            })
            .on_leave(move |client, departure| {
                // Some calls are too late here, and none may hang.
                let handle = client.handle();
                let _ = handle.broadcast("/", "gone");
                let _ = handle.clients();
                let _ = handle.broadcast_where("/", |_| true, "gone");
                let _ = client.send("to nobody");
                let _ = sender.send(departure.cause.clone());
            }),
    );
    let (first, first_id) = with_id(&server, "/");
    close(first);
    left.recv_timeout(deadline()).unwrap();
    *gone.lock().unwrap() = Some(first_id);

    let mut clients = Vec::new();
    for _ in 0..8 {
        let client = Raw::connect(&server, "/");
        let mut stream = client.stream.try_clone().unwrap();
        let reading = thread::spawn(move || {
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        clients.push((client, reading));
    }
    let id = server.handle().clients().unwrap()[0].id;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (handle, stop) = (server.handle(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    call_everything(&handle, id, first_id);
                }
            })
        })
        .collect();
    for _ in 0..25 {
        for (client, _) in &mut clients {
            client.send(Opcode::Text, b"go on");
        }
    }
    let handle = server.handle();
    eventually("all hooks to have run", || {
        handle.stats().received_messages == 8 * 25
    });
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.join().unwrap();
    }
    for (client, reading) in clients {
        client.stream.shutdown(Shutdown::Both).unwrap();
        reading.join().unwrap();
    }
    for _ in 0..8 {
        let cause = left.recv_timeout(deadline()).expect("all to have left");
        assert!(
            matches!(
                cause,
                Cause::EndOfStream | Cause::ReadFailed(_) | Cause::WriteFailed(_)
            ),
            "{cause}"
        );
    }
    let summary = server.shutdown().unwrap();
    assert_eq!((summary.aborted, summary.left), (0, 0));
}
