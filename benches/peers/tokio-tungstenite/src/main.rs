//! A broadcast server on tokio-tungstenite, after its chat example: a locked
//! list of clients, a bounded channel and two tasks for each of them. A client
//! whose channel is full is disconnected.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

const BACKLOG: usize = 1024;

type Clients = Arc<Mutex<HashMap<u64, Sender<Message>>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(listen_address()?).await?;
    println!("listening on ws://{}/", listener.local_addr()?);
    let clients = Clients::default();
    for id in 0.. {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(serve(id, socket, clients.clone()));
    }
    Ok(())
}

async fn serve(id: u64, socket: TcpStream, clients: Clients) {
    let Ok(socket) = tokio_tungstenite::accept_async(socket).await else {
        return;
    };
    let (outgoing, mut incoming) = socket.split();
    let (outbox, backlog) = mpsc::channel(BACKLOG);
    lock(&clients).insert(id, outbox);
    let sending = tokio::spawn(send(outgoing, backlog));
    while let Some(Ok(message)) = incoming.next().await {
        match message {
            Message::Text(_) | Message::Binary(_) => broadcast(&clients, &message),
            Message::Close(_) => break,
            _ => {}
        }
    }
    lock(&clients).remove(&id);
    sending.abort();
}

/// Under the lock throughout, so that all clients see one order.
fn broadcast(clients: &Clients, message: &Message) {
    lock(clients).retain(|_, outbox| outbox.try_send(message.clone()).is_ok());
}

/// Sends what is there, and flushes when there is nothing more.
async fn send(
    mut outgoing: SplitSink<WebSocketStream<TcpStream>, Message>,
    mut backlog: Receiver<Message>,
) -> tungstenite::Result<()> {
    while let Some(message) = backlog.recv().await {
        outgoing.feed(message).await?;
        if backlog.is_empty() {
            outgoing.flush().await?;
        }
    }
    outgoing.close().await
}

fn lock(clients: &Clients) -> MutexGuard<'_, HashMap<u64, Sender<Message>>> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen_address() -> Result<String, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--listen"), Some(address)) => Ok(address),
        _ => Err("usage: --listen HOST:PORT".into()),
    }
}
