//! The least of a WebSocket client, for the probe of a relay: short text
//! messages, no fragments, no TLS.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Uri;

/// The longest line of an answer's head, and the most lines.
const MAX_LINE: u64 = 8 * 1024;
const MAX_LINES: usize = 100;
/// The largest message that is read. A relay sends others' messages, too.
const MAX_MESSAGE: u64 = 16 * 1024 * 1024;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The bit of a frame that is its message's last.
const FIN: u8 = 0x80;
/// The bit of a frame that is masked.
const MASKED: u8 = 0x80;

/// A connection to a relay, or to any server of HTTP/1.1.
#[derive(Debug)]
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    mask: [u8; 4],
}

impl Client {
    /// Connects to the URL's host. No wait on it is longer than `timeout`.
    pub(super) fn connect(url: &Uri, timeout: Duration) -> io::Result<Client> {
        let host = url.host().unwrap_or_default();
        let host = host.strip_prefix('[').unwrap_or(host);
        let host = host.strip_suffix(']').unwrap_or(host);
        let mut last = io::Error::other("the host has no address");
        for address in (host, url.port_u16().unwrap_or(80)).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(timeout))?;
                    stream.set_write_timeout(Some(timeout))?;
                    let stream = BufReader::new(stream);
                    let mask = (random() as u32).to_ne_bytes();
                    return Ok(Client { stream, mask });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks for the URL with these header lines; returns the status.
    pub(super) fn ask(&mut self, url: &Uri, headers: &str) -> io::Result<u16> {
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let host = url.authority().map_or("", |authority| authority.as_str());
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut status = None;
        for _ in 0..MAX_LINES {
            let mut line = String::new();
            (&mut self.stream).take(MAX_LINE).read_line(&mut line)?;
            match status {
                _ if line.is_empty() => break,
                Some(status) if line.trim_end().is_empty() => return Ok(status),
                Some(_) => {}
                None => status = Some(status_of(&line).ok_or_else(|| malformed("no HTTP/1.1"))?),
            }
        }
        Err(malformed("no end of the answer's head"))
    }

    /// Shakes hands; returns the status, which is 101 if it has worked.
    pub(super) fn upgrade(&mut self, url: &Uri) -> io::Result<u16> {
        let key = [random().to_ne_bytes(), random().to_ne_bytes()].concat();
        let headers = format!(
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {}\r\n",
            BASE64.encode(&key)
        );
        self.ask(url, &headers)
    }

    /// The same connection, to be used by another thread: one sends, the other
    /// receives.
    pub(super) fn sender(&self) -> io::Result<Client> {
        Ok(Client {
            stream: BufReader::new(self.stream.get_ref().try_clone()?),
            mask: self.mask,
        })
    }

    pub(super) fn send(&mut self, text: &str) -> io::Result<()> {
        self.send_frame(TEXT, text.as_bytes())
    }

    /// Says that it leaves.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.send_frame(CLOSE, &1000u16.to_be_bytes())
    }

    /// Sends a frame with a payload of less than 126 bytes.
    fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![FIN | opcode, MASKED | payload.len() as u8];
        frame.extend_from_slice(&self.mask);
        let masks = self.mask.iter().cycle();
        frame.extend(payload.iter().zip(masks).map(|(byte, mask)| byte ^ mask));
        self.stream.get_mut().write_all(&frame)
    }

    /// The next message; an error at the end of the stream, which a Close is,
    /// too.
    pub(super) fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head)?;
            let len = match head[1] {
                126 => u64::from(u16::from_be_bytes(self.bytes()?)),
                127 => u64::from_be_bytes(self.bytes()?),
                len => u64::from(len),
            };
            if len > MAX_MESSAGE {
                return Err(malformed("a message that is too large"));
            }
            let mut payload = vec![0; len as usize];
            self.stream.read_exact(&mut payload)?;
            match head[0] & 0xf {
                CLOSE => return Err(closed(&payload)),
                PING if len < 126 => self.send_frame(PONG, &payload)?,
                PONG => {}
                _ => return Ok(payload),
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// A number that nobody guesses.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

fn status_of(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    rest.get(2..5)?.parse().ok()
}

fn closed(payload: &[u8]) -> io::Error {
    let text = match payload.split_first_chunk() {
        Some((code, reason)) => {
            let reason = String::from_utf8_lossy(reason);
            format!("closed with {} {reason:?}", u16::from_be_bytes(*code))
        }
        None => "closed".to_owned(),
    };
    io::Error::new(ErrorKind::ConnectionAborted, text)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
