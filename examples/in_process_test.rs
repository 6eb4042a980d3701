//! How to test a program that embeds hubcast: start its server on port 0, in
//! the test's own process, and talk to it with a real WebSocket client.
//!
//! Run the tests with `cargo test --example in_process_test`. The client here
//! is the tungstenite crate; put `tungstenite = "0.30"` into your
//! `[dev-dependencies]`. Any other client does as well.

use std::net::ToSocketAddrs;

use hubcast::{Error, Message, Running, Server};

/// The program under test: it answers every number with its double, and
/// tells the room about it. Only the address is given by the caller.
fn start(address: impl ToSocketAddrs + std::fmt::Debug) -> Result<Running, Error> {
    let double = |client: &hubcast::Client, message: Message| {
        let Ok(number) = message.as_text()?.trim().parse::<i64>() else {
            let _ = client.send("that is not a number");
            return None;
        };
        Some(Message::from(number.checked_mul(2)?.to_string()))
    };
    Server::builder().on_message(double).bind(address)?.spawn()
}

fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let running = start(address)?;
    println!("listening on ws://{}/", running.local_addr());
    running.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::net::TcpStream;

    use tungstenite::stream::MaybeTlsStream;
    use tungstenite::{Message, WebSocket};

    use super::start;

    type Client = WebSocket<MaybeTlsStream<TcpStream>>;

    #[test]
    fn a_number_comes_back_doubled_to_everybody() -> Result<(), Box<dyn Error>> {
        let server = start("127.0.0.1:0")?; // a free port; tests run at once
        let url = format!("ws://{}/", server.local_addr());
        let (mut ann, _) = tungstenite::connect(&url)?;
        let (mut bob, _) = tungstenite::connect(&url)?;
        ann.send(Message::from("21"))?;
        for client in [&mut ann, &mut bob] {
            assert_eq!(client.read()?, Message::from("42"));
        }
        Ok(()) // the clients are dropped first, and the server ends in order
    }

    #[test]
    fn the_sender_alone_hears_about_its_mistakes() -> Result<(), Box<dyn Error>> {
        let server = start("127.0.0.1:0")?;
        let (mut ann, _): (Client, _) =
            tungstenite::connect(format!("ws://{}/", server.local_addr()))?;
        ann.send(Message::from("twenty-one"))?;
        assert_eq!(ann.read()?, Message::from("that is not a number"));
        Ok(())
    }
}
