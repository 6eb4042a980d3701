//! A sensor loop whose readings reach every browser that watches.
//!
//! Run it with `cargo run --example ticker`, and open http://127.0.0.1:8080/
//! in as many browsers as you like, or `websocat ws://127.0.0.1:8080/`.

use std::error::Error;
use std::thread;
use std::time::Duration;

use hubcast::Server;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let server = Server::builder()
        .on_message(|_client, _message| None) // who watches has no say
        .bind(address.as_deref().unwrap_or("127.0.0.1:8080"))?
        .spawn()?; // the server runs on threads of its own from here on
    println!("listening on ws://{}/", server.local_addr());

    let handle = server.handle();
    let mut sensor = Sensor::default();
    loop {
        let reading = sensor.read();
        handle.broadcast("/", format!(r#"{{"celsius":{reading:.2}}}"#))?;
        thread::sleep(Duration::from_millis(500));
    }
}

/// Stands in for a real sensor: a warm day, and some noise.
#[derive(Default)]
struct Sensor {
    readings: u32,
}

impl Sensor {
    fn read(&mut self) -> f64 {
        self.readings += 1;
        let time = f64::from(self.readings);
        20.0 + 5.0 * (time / 60.0).sin() + 0.1 * (time * 7.0).sin()
    }
}
