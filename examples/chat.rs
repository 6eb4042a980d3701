//! A chat: nicknames, `/nick`, `/who`, and the last 20 lines for newcomers.
//!
//! Run it with `cargo run --example chat`, then in two terminals
//! `websocat 'ws://127.0.0.1:8080/?ann'` and `websocat 'ws://127.0.0.1:8080/?bob'`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hubcast::{Client, Departure, Error, Handler, Message, Refusal, Server, Upgrade};

const ROOM: &str = "/chat"; // where everybody talks

struct Chat;

impl Handler for Chat {
    fn on_upgrade(&self, upgrade: &mut Upgrade<'_>) -> Result<(), Refusal> {
        let nick = upgrade.request().uri().query().unwrap_or("somebody");
        upgrade.attach(Mutex::new(nick.to_owned()));
        upgrade.set_room(ROOM);
        Ok(())
    }

    fn on_join(&self, client: &Client) {
        say(client, format!("* {} is here", nick(client)));
    }

    fn on_message(&self, client: &Client, message: Message) -> Option<Message> {
        let text = message.as_text()?.trim_end();
        if text == "/who" {
            let members = client.handle().members(ROOM).ok()?;
            let nicks: Vec<String> = members.iter().map(nick).collect();
            let _ = client.send(format!("* here: {}", nicks.join(", ")));
        } else if let Some(new) = text.strip_prefix("/nick ") {
            say(client, format!("* {} is now {new}", nick(client)));
            *lock(client.attached::<Mutex<String>>()?) = new.to_owned();
        } else {
            say(client, format!("{}: {text}", nick(client)));
        }
        None // all has been said
    }

    fn on_leave(&self, client: &Client, _departure: &Departure) {
        say(client, format!("* {} has left", nick(client)));
    }
}

fn say(client: &Client, line: String) {
    let _ = client.handle().broadcast(ROOM, line); // fails only when the server stops
}

fn nick(client: &Client) -> String {
    let nick = client.attached::<Mutex<String>>();
    nick.map_or(String::new(), |nick| lock(nick).clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Server::builder()
        .configure(|config| (config.history, config.replay) = (20, 20))
        .handler(Chat)
        .bind(address)?;
    println!("listening on ws://{}/", server.local_addr());
    server.run()?;
    Ok(())
}
