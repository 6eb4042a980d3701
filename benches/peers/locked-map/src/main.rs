//! The simplest synchronous broadcast server: a thread per connection and one
//! locked map of tungstenite sockets, which the thread that received a message
//! writes to one after another. A client that takes no bytes for `PATIENCE`
//! holds up everybody for that long and is then dropped.

use std::collections::HashMap;
use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tungstenite::WebSocket;
use tungstenite::protocol::{Role, WebSocketConfig};

const PATIENCE: Duration = Duration::from_secs(10);
const STACK: usize = 256 * 1024;

type Clients = Arc<Mutex<HashMap<u64, WebSocket<TcpStream>>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(listen_address()?)?;
    println!("listening on ws://{}/", listener.local_addr()?);
    let clients = Clients::default();
    for (id, socket) in (0..).zip(listener.incoming()) {
        let (socket, clients) = (socket?, clients.clone());
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || drop(serve(id, socket, &clients)))?;
    }
    Ok(())
}

fn serve(id: u64, socket: TcpStream, clients: &Clients) -> Result<(), Box<dyn Error>> {
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let write_half = socket.try_clone()?;
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let mut incoming = tungstenite::accept_with_config(socket, Some(config))?;
    let outgoing = WebSocket::from_raw_socket(write_half, Role::Server, Some(config));
    lock(clients).insert(id, outgoing);
    while let Ok(message) = incoming.read() {
        if message.is_text() || message.is_binary() {
            lock(clients).retain(|_, client| client.send(message.clone()).is_ok());
        }
    }
    lock(clients).remove(&id);
    Ok(())
}

fn lock(clients: &Clients) -> MutexGuard<'_, HashMap<u64, WebSocket<TcpStream>>> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen_address() -> Result<String, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--listen"), Some(address)) => Ok(address),
        _ => Err("usage: --listen HOST:PORT".into()),
    }
}
