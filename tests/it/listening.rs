//! Where the program listens: several addresses, Unix sockets, and sockets
//! that a service manager passes.

use std::env::temp_dir;
use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::kit::child::Child;
use crate::kit::frame::{self, Opcode, masked};
use crate::kit::http::{check_upgrade, handshake, read_head};
use crate::support::{Program, Raw, deadline, dial, eventually};

fn socket_path(name: &str) -> PathBuf {
    temp_dir().join(format!("hubcast-it-{name}-{}.sock", std::process::id()))
}

/// A client of a room that came by a Unix socket.
fn connect_unix(path: &PathBuf, room: &str) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(deadline())).unwrap();
    stream.write_all(&handshake(room)).unwrap();
    check_upgrade(&read_head(&mut stream).unwrap()).unwrap();
    stream
}

#[test]
fn all_listeners_lead_to_the_same_rooms() {
    let path = socket_path("rooms");
    let unix = format!("unix:{}", path.display());
    let mut program = Program::start(&["--listen", "localhost:0", "-l", &unix, "--unix-mode=600"]);
    program.expect_log(&unix);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut tcp = Raw::open(program.address, "/lobby");
    let mut unix = connect_unix(&path, "/lobby");
    program.expect_log("peer=unix room=\"/lobby\" joined");
    unix.write_all(&masked(Opcode::Text, b"by file")).unwrap();
    assert_eq!(tcp.data().payload, b"by file");
    assert_eq!(frame::read(&mut unix).unwrap().payload, b"by file");
    program.signal(Signal::TERM);
    assert_eq!(frame::read(&mut unix).unwrap().close_code(), Some(1001));
    drop((unix, tcp));
    assert_eq!(program.wait().code(), Some(0));
    assert!(!path.exists(), "the socket's file is removed");
}

#[test]
fn a_socket_that_a_killed_server_left_is_replaced_and_one_in_use_is_not() {
    let path = socket_path("killed");
    let unix = format!("unix:{}", path.display());
    let args = ["--listen", "127.0.0.1:0", "--listen", &unix];
    let mut program = Program::start(&args);
    let in_use = Program::command(&args).stdin(Stdio::null()).output();
    let in_use = in_use.unwrap();
    assert_eq!(in_use.status.code(), Some(1));
    let line = String::from_utf8(in_use.stderr).unwrap();
    assert!(line.contains(&format!("cannot listen on {unix}")), "{line}");
    program.signal(Signal::KILL);
    program.wait();
    assert!(path.exists());
    let _next = Program::start(&args);
    connect_unix(&path, "/");
}

/// The program with this listener as its descriptor 3, as systemd starts it.
fn activated(listener: &TcpListener) -> Child {
    let socket = OwnedFd::from(listener.try_clone().unwrap());
    let mut command = Command::new("sh");
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_hubcast")]);
    command.stdin(socket);
    command.env("RUST_LOG", "info");
    Child::start_with_input(command, deadline()).unwrap()
}

/// Enters a room; false if the server, which is stopping, says to come again.
fn enters(listener: &TcpListener) -> io::Result<bool> {
    let mut stream = dial(listener.local_addr().unwrap());
    stream.write_all(&handshake("/"))?;
    let head = read_head(&mut stream)?;
    if head.starts_with("HTTP/1.1 503 ") {
        return Ok(false);
    }
    check_upgrade(&head).map_err(io::Error::other)?;
    stream.write_all(&masked(Opcode::Close, &1000_u16.to_be_bytes()))?;
    Ok(true)
}

#[test]
fn a_restart_under_socket_activation_refuses_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = activated(&listener);
    let address = listener.local_addr().unwrap();
    assert_eq!(server.address(), address, "the default is not added");
    let (entered, deferred) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let counter = match enters(&listener).unwrap() {
                        true => &entered,
                        false => &deferred,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let before = entered.load(Ordering::Relaxed);
            let served = || entered.load(Ordering::Relaxed) > before + 20;
            eventually("clients", served);
            assert!(server.stop(deadline()).unwrap().success());
            server = activated(&listener);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    // Only what was accepted at the moment of the end is told to come again.
    let deferred = deferred.load(Ordering::Relaxed);
    assert!(deferred <= 3 * 4, "{deferred}");
}

#[test]
fn systemd_is_told_when_it_is_ready_alive_and_stopping() {
    let path = socket_path("notify");
    let _ = fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(deadline())).unwrap();
    let mut command = Program::command(&[]);
    command.env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", "20000");
    let mut program = Program::launch(command);
    let next = || {
        let mut buffer = [0; 256];
        let len = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).trim().to_owned()
    };
    assert_eq!(next(), "READY=1");
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    program.signal(Signal::TERM);
    eventually("STOPPING=1", || next() == "STOPPING=1");
    assert_eq!(program.wait().code(), Some(0));
    fs::remove_file(&path).unwrap();
}
