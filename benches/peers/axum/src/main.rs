//! A broadcast server on axum, after its chat example: one room, one
//! `tokio::sync::broadcast` channel, a receiving and a sending task per client.
//! A client that falls more than `BACKLOG` messages behind is disconnected.
//! Each message is sent by itself, as in the example; with `--batch` before
//! `--listen`, whatever is waiting is flushed together.

use std::env;
use std::error::Error;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, Receiver, Sender};

const BACKLOG: usize = 1024;

#[derive(Clone)]
struct Room {
    messages: Sender<Message>,
    batch: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (address, batch) = match arguments[..] {
        ["--listen", address] => (address, false),
        ["--batch", "--listen", address] => (address, true),
        _ => return Err("usage: [--batch] --listen HOST:PORT".into()),
    };
    let listener = TcpListener::bind(address).await?;
    println!("listening on ws://{}/", listener.local_addr()?);
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let (messages, _) = broadcast::channel(BACKLOG);
    let room = Room { messages, batch };
    let app = Router::new().fallback(upgrade).with_state(room);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn upgrade(upgrade: WebSocketUpgrade, State(room): State<Room>) -> Response {
    upgrade.on_upgrade(|socket| serve(socket, room))
}

async fn serve(socket: WebSocket, room: Room) {
    let (outgoing, mut incoming) = socket.split();
    let mut sending = tokio::spawn(send(outgoing, room.messages.subscribe(), room.batch));
    loop {
        let received = tokio::select! {
            received = incoming.next() => received,
            _ = &mut sending => break,
        };
        match received {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                drop(room.messages.send(message))
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => break,
        }
    }
    sending.abort();
}

/// Ends when the client is gone or has fallen behind.
async fn send(
    mut outgoing: SplitSink<WebSocket, Message>,
    mut messages: Receiver<Message>,
    batch: bool,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    loop {
        outgoing.feed(messages.recv().await?).await?;
        if !batch || messages.is_empty() {
            outgoing.flush().await?;
        }
    }
}
