//! The real server, real clients, and waiting with deadlines.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use hubcast::{Config, Running, Server};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tungstenite::{Message, WebSocket};

/// How long a test waits for what must happen; `HUBCAST_TEST_TIME_FACTOR`
/// makes it longer on a slow machine.
pub fn deadline() -> Duration {
    let factor = std::env::var("HUBCAST_TEST_TIME_FACTOR");
    let factor = factor.ok().and_then(|f| f.parse().ok()).unwrap_or(1);
    Duration::from_secs(20) * factor
}

/// Waits until the condition holds; fails with what was waited for.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + deadline();
    while !condition() {
        assert!(Instant::now() < until, "waited in vain for: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
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

/// A client of a real library, in a room; it has joined when this returns.
pub fn connect(server: &Running, room: &str) -> Client {
    let before = server.handle().stats().joins;
    let client = connect_to(server.local_addr(), room);
    eventually("the client to join", || {
        server.handle().stats().joins > before
    });
    client
}

/// Like [`connect`], to an address, without waiting for the join.
pub fn connect_to(address: SocketAddr, room: &str) -> Client {
    let stream = dial(address);
    let (client, _) = tungstenite::client(format!("ws://{address}{room}"), stream).unwrap();
    client
}

/// A TCP connection whose reads and writes have a deadline.
pub fn dial(address: SocketAddr) -> TcpStream {
    with_deadlines(TcpStream::connect(address).unwrap())
}

/// Like [`dial`], with a receive buffer that holds little.
pub fn dial_tight(address: SocketAddr) -> TcpStream {
    let (family, flags) = (AddressFamily::INET, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).unwrap();
    // It sets the window, so it has to be done before the connect.
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    with_deadlines(socket.into())
}

fn with_deadlines(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
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

/// Waits until so many clients have left for this cause.
#[track_caller]
pub fn wait_closed(server: &Running, cause: &str, clients: u64) {
    eventually(cause, || server.handle().stats().departed(cause) >= clients);
}

/// A frame as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a Close frame.
    #[track_caller]
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, 8, "not a Close: {self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

/// A client that sends bytes, for what a library would not send.
pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    /// Connects, shakes hands and has joined when this returns.
    pub fn connect(server: &Running, room: &str) -> Raw {
        Raw::join(server, dial(server.local_addr()), room)
    }

    /// Like [`connect`](Raw::connect), with a receive buffer that holds little.
    pub fn connect_tight(server: &Running, room: &str) -> Raw {
        Raw::join(server, dial_tight(server.local_addr()), room)
    }

    fn join(server: &Running, stream: TcpStream, room: &str) -> Raw {
        let before = server.handle().stats().joins;
        let raw = Raw::upgrade(stream, room);
        eventually("the client to join", || {
            server.handle().stats().joins > before
        });
        raw
    }

    /// Connects and shakes hands.
    pub fn open(address: SocketAddr, room: &str) -> Raw {
        Raw::upgrade(dial(address), room)
    }

    fn upgrade(mut stream: TcpStream, room: &str) -> Raw {
        stream.write_all(&handshake(room)).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Raw { stream }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a masked frame; `first` is its first byte: FIN, RSV and opcode.
    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.send_bytes(&masked(first, payload));
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
            if !matches!(frame.opcode, 9 | 10) {
                return frame;
            }
        }
    }

    pub fn try_frame(&mut self) -> io::Result<Frame> {
        read_frame(&mut self.stream)
    }

    /// Expects a Close with this code, and the end of the stream behind it.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) {
        let frame = self.data();
        assert_eq!(frame.close_code(), code, "{frame:?}");
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
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

/// Reads a server's frame, and nothing behind it.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    assert_eq!(head[1] & 0x80, 0, "a server's frame is not masked");
    assert_eq!(head[0] & 0x70, 0, "no reserved bit is set");
    let len = match head[1] {
        126 => {
            let mut len = [0; 2];
            stream.read_exact(&mut len)?;
            u64::from(u16::from_be_bytes(len))
        }
        127 => {
            let mut len = [0; 8];
            stream.read_exact(&mut len)?;
            u64::from_be_bytes(len)
        }
        short => u64::from(short),
    };
    assert!(len <= 64 << 20, "a frame of {len} bytes");
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload)?;
    Ok(Frame {
        fin: head[0] & 0x80 != 0,
        opcode: head[0] & 0x0f,
        payload,
    })
}

/// An opening handshake for a room.
pub fn handshake(room: &str) -> Vec<u8> {
    format!(
        "GET {room} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// Reads an HTTP head, byte by byte so as to take nothing behind it.
pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A masked frame (RFC 6455 §5.2); `first` is FIN, RSV and opcode.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// Lets this process have as many descriptors as it may: many shells give
/// a program a thousand, and both ends of a connection may be here.
pub fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// The threads and the descriptors of a process, to see that none is
/// left. Tests run at the same time, so only the program's own process
/// ([`Program`]) gives figures that mean something.
pub fn threads_and_descriptors(pid: u32) -> (usize, usize) {
    let count = |what| {
        std::fs::read_dir(format!("/proc/{pid}/{what}"))
            .unwrap()
            .count()
    };
    (count("task"), count("fd"))
}

/// The real program as a child process, killed when dropped.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    log: Receiver<String>,
    seen: String,
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
    pub fn launch(mut command: Command) -> Program {
        command.stdin(Stdio::null());
        Program::launch_with_input(command)
    }

    /// Like [`start`](Program::start), with pipes for standard input and
    /// output.
    pub fn start_piped(args: &[&str]) -> (Program, ChildStdin, ChildStdout) {
        let mut command = Program::command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Program::launch_with_input(command);
        let input = program.child.stdin.take().unwrap();
        let output = program.child.stdout.take().unwrap();
        (program, input, output)
    }

    fn launch_with_input(mut command: Command) -> Program {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut program = Program {
            child,
            address: ([127, 0, 0, 1], 0).into(),
            log,
            seen: String::new(),
        };
        let line = program.expect_log("listening on ws://");
        let at = line.find("ws://").unwrap() + 5;
        let address = line[at..].split('/').next().unwrap();
        program.address = address.parse().unwrap();
        program
    }

    /// Waits for a log line that contains this; returns it.
    #[track_caller]
    pub fn expect_log(&mut self, part: &str) -> String {
        let until = Instant::now() + deadline();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!("no log line contains {part:?}; the log:\n{}", self.seen);
            };
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(part) {
                return line;
            }
        }
    }

    /// The whole log of a program that has ended.
    #[track_caller]
    pub fn whole_log(&mut self) -> &str {
        self.wait();
        while let Ok(line) = self.log.recv_timeout(deadline()) {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        &self.seen
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, such as `INT`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the program to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
