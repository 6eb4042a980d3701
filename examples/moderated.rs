//! A chat with a moderator: it rewrites some messages, stops others, and
//! disconnects whoever does not listen.
//!
//! Run it with `cargo run --example moderated`, and talk to it with
//! `websocat ws://127.0.0.1:8080/`.

use std::sync::atomic::{AtomicU32, Ordering};

use hubcast::{Client, CloseCode, Error, Message, Server};

const MAX_LENGTH: usize = 200;
const MAX_WARNINGS: u32 = 3;

/// Called with every message, on its sender's own thread: what is returned
/// is what the room receives.
fn moderate(client: &Client, message: Message) -> Option<Message> {
    let Some(text) = message.as_text() else {
        return warn(client, "only text, please");
    };
    if text.len() > MAX_LENGTH {
        return warn(client, "shorter, please");
    }
    if text.contains("://") {
        return warn(client, "no links, please");
    }
    let name = client.id();
    Some(Message::from(format!(
        "{name}: {}",
        text.replace("darn", "****")
    )))
}

/// Tells the sender alone why its message is stopped; the third time is the
/// last.
fn warn(client: &Client, why: &str) -> Option<Message> {
    let warnings: &AtomicU32 = client.attached()?;
    let number = warnings.fetch_add(1, Ordering::Relaxed) + 1;
    // Both fail only when the server is stopping.
    let _ = client.send(format!("moderator: {why} ({number} of {MAX_WARNINGS})"));
    if number == MAX_WARNINGS {
        let _ = client.disconnect(CloseCode::POLICY_VIOLATION, "too many warnings");
    }
    None
}

fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Server::builder()
        .on_upgrade(|upgrade| {
            upgrade.attach(AtomicU32::new(0)); // each client's warnings
            Ok(())
        })
        .on_message(moderate)
        .bind(address)?;
    println!("listening on ws://{}/", server.local_addr());
    server.run()?;
    Ok(())
}
