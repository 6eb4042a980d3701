//! How connections end: the closing handshake, offences, and what the log and your
//! program learn of it.

use std::sync::mpsc::{Receiver, channel};

use hubcast::{Cause, Client, CloseCode, Config, Departure, Running, Server};

use crate::support::{Raw, deadline, tight_listener};

mod departures;
mod handshake;
mod offences;

fn code(value: u16) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// A server whose departures come out of a channel.
fn with_departures(change: impl FnOnce(&mut Config)) -> (Running, Receiver<Departure>) {
    let (sender, departures) = channel();
    let server = Server::builder()
        .configure(change)
        .on_message(|client, message| match message.as_text() {
            Some("panic") => panic!("as the test wants"),
            Some("close me") => {
                let code = CloseCode::new(4000).unwrap();
                client.disconnect(code, "as you wish").unwrap();
                None
            }
            _ => Some(message),
        })
        .on_leave(move |_: &Client, departure: &Departure| {
            let _ = sender.send(departure.clone());
        })
        .from_listener(tight_listener());
    (server.unwrap().spawn().unwrap(), departures)
}

#[track_caller]
fn next(departures: &Receiver<Departure>) -> Departure {
    departures.recv_timeout(deadline()).expect("on_leave")
}

/// Ends one connection; returns its departure in short.
fn departure_of(
    change: impl FnOnce(&mut Config),
    end: impl FnOnce(&Running, Raw),
) -> (Cause, Option<u16>, Option<u16>) {
    let (server, departures) = with_departures(|config| {
        config.close_timeout = deadline() / 20;
        change(config);
    });
    let client = Raw::connect_tight(&server, "/");
    end(&server, client);
    let departure = next(&departures);
    let code = |frame: Option<hubcast::CloseFrame>| frame?.code.map(CloseCode::value);
    (
        departure.cause,
        code(departure.sent),
        code(departure.received),
    )
}
