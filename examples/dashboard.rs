//! A live dashboard of this machine: load, memory and network from /proc, each a
//! room that remembers its last minute, so that whoever opens the page sees a
//! whole plot at once. The page draws it without a library.
//!
//! Run it with `cargo run --example dashboard`, and open the address it prints.
//! One figure alone: `curl -N -H 'Accept: text/event-stream' ADDRESS/load`.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use hubcast::Server;

/// How many figures a room remembers, and a newcomer gets.
const MINUTE: usize = 60;
const PAGE: &str = include_str!("dashboard.html");

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    // The page comes from a port of its own, whose origin the server lets in.
    let pages = TcpListener::bind("127.0.0.1:0")?;
    let origin = format!("http://{}", pages.local_addr()?);
    let server = Server::builder()
        .configure(|config| {
            config.history = MINUTE;
            config.replay = MINUTE;
            config.allow_origin.push(origin.clone());
        })
        .bind(address)?;
    let rooms = server.local_addr();
    let running = server.spawn()?;
    println!("listening on ws://{rooms}/");
    println!("the dashboard: {origin}/");
    thread::spawn(move || serve_page(&pages, rooms));
    let mut before = received_bytes();
    loop {
        thread::sleep(Duration::from_secs(1));
        let received = received_bytes();
        let handle = running.handle();
        handle.broadcast("/load", load().to_string())?;
        handle.broadcast("/memory", used_memory().to_string())?;
        handle.broadcast("/network", received.saturating_sub(before).to_string())?;
        before = received;
    }
}

/// Answers every request with the page.
fn serve_page(pages: &TcpListener, rooms: SocketAddr) {
    let page = PAGE.replace("ROOMS", &rooms.to_string());
    for stream in pages.incoming().flatten() {
        // A browser that has gone does not matter.
        let _ = answer(stream, &page);
    }
}

fn answer(mut stream: TcpStream, page: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let _ = stream.read(&mut [0; 4096])?;
    let length = page.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{page}"
    )
}

fn words(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// How many threads ran or wanted to, over the last minute.
fn load() -> f64 {
    let load = words("/proc/loadavg");
    load.first().and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

/// Memory in use, in MiB.
fn used_memory() -> u64 {
    let words = words("/proc/meminfo");
    let of = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    let total = of("MemTotal:").unwrap_or(0);
    total.saturating_sub(of("MemAvailable:").unwrap_or(0)) / 1024
}

/// The bytes that all interfaces have received.
fn received_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let counts = text.lines().filter_map(|line| line.split_once(':'));
    let received = counts.filter_map(|(_, counts)| counts.split_whitespace().next());
    received.filter_map(|n| n.parse::<u64>().ok()).sum()
}
