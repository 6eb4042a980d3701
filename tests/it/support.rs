//! The real server, real clients, and waiting with deadlines.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::Duration;

use hubcast::{Config, Running, Server};
use rustix::net::sockopt;
use rustix::process::Signal;
use tungstenite::{Message, WebSocket};

use crate::kit::Failure;
use crate::kit::child::Child;
use crate::kit::frame::{self, Frame, Opcode, fragment, masked, masked_as};
use crate::kit::http::{check_upgrade, handshake, read_head};
use crate::kit::process::{descriptors, threads};
use crate::kit::socket::{self, dial_prepared, reset_on_drop};
use crate::kit::wait::wait_for;

/// How long a test waits for what must happen; `HUBCAST_TEST_TIME_FACTOR`
/// makes it longer on a slow machine.
pub fn deadline() -> Duration {
    let factor = std::env::var("HUBCAST_TEST_TIME_FACTOR");
    let factor = factor.ok().and_then(|f| f.parse().ok()).unwrap_or(1);
    Duration::from_secs(20) * factor
}

/// Between two looks at what is waited for.
const POLL: Duration = Duration::from_millis(5);

/// Waits until the condition holds; fails with what was waited for.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let met = wait_for(deadline(), POLL, || {
        Ok::<_, Infallible>(condition().then_some(()))
    });
    assert_eq!(met, Ok(Some(())), "waited in vain for: {what}");
}

/// A server on a free port, with changed settings.
pub fn server(change: impl FnOnce(&mut Config)) -> Running {
    let server = Server::builder().configure(change).bind("127.0.0.1:0");
    server.unwrap().spawn().unwrap()
}

/// A listener whose connections hold little on their way out, so that a
/// client that does not read is slow at once.
pub fn tight_listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    sockopt::set_socket_send_buffer_size(&listener, 4096).unwrap();
    listener
}

/// A server on a [`tight_listener`], with changed settings.
pub fn tight_server(change: impl FnOnce(&mut Config)) -> Running {
    let server = Server::builder().configure(change);
    let server = server.from_listener(tight_listener()).unwrap();
    server.spawn().unwrap()
}

pub type Client = WebSocket<TcpStream>;

/// A client of a real library, in a room.
pub fn connect(server: &Running, room: &str) -> Client {
    connect_to(server.local_addr(), room)
}

/// Like [`connect`], to an address.
pub fn connect_to(address: SocketAddr, room: &str) -> Client {
    let stream = dial(address);
    let (client, _) = tungstenite::client(format!("ws://{address}{room}"), stream).unwrap();
    client
}

/// A TCP connection whose reads and writes have a deadline.
pub fn dial(address: SocketAddr) -> TcpStream {
    with_deadlines(socket::dial(address, deadline()).unwrap())
}

/// Like [`dial`], with a receive buffer that holds little.
pub fn dial_tight(address: SocketAddr) -> TcpStream {
    let stream = dial_prepared(address, |socket| {
        Ok(sockopt::set_socket_recv_buffer_size(socket, 4096)?)
    });
    with_deadlines(stream.unwrap())
}

fn with_deadlines(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(deadline())).unwrap();
    stream.set_write_timeout(Some(deadline())).unwrap();
    stream
}

/// The next text message.
#[track_caller]
pub fn next_text(client: &mut Client) -> String {
    loop {
        match client.read().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("expected text, got {other:?}"),
        }
    }
}

/// Reads until the Close frame comes; returns its code and reason.
#[track_caller]
pub fn next_close(client: &mut Client) -> (u16, String) {
    loop {
        if let Message::Close(frame) = client.read().unwrap() {
            let frame = frame.expect("a Close with a code");
            return (frame.code.into(), frame.reason.to_string());
        }
    }
}

/// Waits until at least `clients` clients have left for this cause.
#[track_caller]
pub fn wait_closed(server: &Running, cause: &str, clients: u64) {
    eventually(cause, || server.handle().stats().departed(cause) >= clients);
}

/// A client that sends bytes, for what a library would not send.
pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    /// Connects and shakes hands.
    pub fn connect(server: &Running, room: &str) -> Raw {
        Raw::open(server.local_addr(), room)
    }

    /// Like [`connect`](Raw::connect), with a receive buffer that holds little.
    pub fn connect_tight(server: &Running, room: &str) -> Raw {
        Raw::upgrade(dial_tight(server.local_addr()), room)
    }

    /// Like [`connect`](Raw::connect), to an address.
    pub fn open(address: SocketAddr, room: &str) -> Raw {
        Raw::upgrade(dial(address), room)
    }

    fn upgrade(mut stream: TcpStream, room: &str) -> Raw {
        stream.write_all(&handshake(room)).unwrap();
        check_upgrade(&read_head(&mut stream).unwrap()).unwrap();
        Raw { stream }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a frame that is complete by itself, or the last of its message.
    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        self.send_bytes(&masked(opcode, payload));
    }

    /// Sends a frame that others of its message follow.
    pub fn send_fragment(&mut self, opcode: Opcode, payload: &[u8]) {
        self.send_bytes(&fragment(opcode, payload));
    }

    /// Sends a masked frame with any first byte.
    pub fn send_as(&mut self, first: u8, payload: &[u8]) {
        self.send_bytes(&masked_as(first, payload));
    }

    /// The next frame; fails at the end of the stream.
    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        self.try_frame().unwrap()
    }

    /// The next frame that is not a Ping or a Pong.
    #[track_caller]
    pub fn data(&mut self) -> Frame {
        loop {
            let frame = self.frame();
            if !matches!(frame.opcode, Opcode::Ping | Opcode::Pong) {
                return frame;
            }
        }
    }

    pub fn try_frame(&mut self) -> io::Result<Frame> {
        frame::read(&mut self.stream)
    }

    /// Expects a Close with this code, and the end of the stream behind it.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) {
        let frame = self.data();
        assert_eq!(frame.close_code(), Some(code), "{frame:?}");
        self.expect_end();
    }

    /// Expects the end of the stream: in order, without a reset.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "bytes behind the last frame");
    }
}

/// Ends a connection by a reset.
pub fn reset(stream: TcpStream) {
    reset_on_drop(&stream).unwrap();
}

/// The threads and the descriptors of a process, to see that none is
/// left. Tests run at the same time, so only the program's own process
/// ([`Program`]) gives figures that mean something.
pub fn threads_and_descriptors(pid: u32) -> (usize, usize) {
    (threads(pid).unwrap(), descriptors(pid).unwrap())
}

/// The real program as a child process, killed when dropped.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    /// How much of the log has been looked through, in bytes.
    seen: usize,
}

impl Program {
    /// Starts the program on a free port and waits until it listens.
    pub fn start(args: &[&str]) -> Program {
        Program::launch(Program::command(args))
    }

    /// The command that [`start`](Program::start) launches, to be changed.
    pub fn command(args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hubcast"));
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(args).env("RUST_LOG", "info");
        command
    }

    /// Runs a command that becomes the program and waits until it listens.
    pub fn launch(command: Command) -> Program {
        Program::of(Child::start(command, deadline()).unwrap())
    }

    /// Like [`start`](Program::start), with pipes for standard input and
    /// output.
    pub fn start_piped(args: &[&str]) -> (Program, ChildStdin, ChildStdout) {
        let piped = Child::start_piped(Program::command(args), deadline());
        let (child, input, output) = piped.unwrap();
        (Program::of(child), input, output)
    }

    fn of(child: Child) -> Program {
        let address = child.address();
        Program {
            child,
            address,
            seen: 0,
        }
    }

    /// Waits for the next log line that contains this; returns it.
    #[track_caller]
    pub fn expect_log(&mut self, part: &str) -> String {
        let found = wait_for(deadline(), POLL, || {
            let log = self.child.log()?;
            let new = &log[self.seen..];
            // The last line may not be complete yet.
            let lines = &new[..new.rfind('\n').map_or(0, |end| end + 1)];
            let mut read = 0;
            let found = lines.lines().find(|line| {
                read += line.len() + 1;
                line.contains(part)
            });
            self.seen += read;
            Ok::<_, Failure>(found.map(str::to_owned))
        });
        found.unwrap().unwrap_or_else(|| {
            let log = self.child.log().unwrap();
            panic!("no log line contains {part:?}; the log:\n{log}")
        })
    }

    /// The whole log of a program that has ended.
    #[track_caller]
    pub fn whole_log(&mut self) -> String {
        self.wait();
        self.child.log().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal).unwrap();
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait(deadline()).unwrap()
    }
}
