//! The engine is far away: each node reaches it by a relay that keeps what it
//! passes on for a time, and passes on only so much of it.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::faults::report;
use crate::kit::frame::{self, Opcode, masked};
use crate::redis::{Keeps, Redis, seconds};
use crate::rig::{Load, Node, factor, join};

/// Starts a relay to a port of this machine, whose round trip takes so long,
/// and which passes on so many bytes a second each way. Ends with the test.
fn relay(port: u16, round_trip: Duration, rate: f64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming() {
            let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", port))) else {
                continue;
            };
            for stream in [&near, &far] {
                stream.set_nodelay(true).unwrap();
            }
            let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
            for (from, to) in [(near, far), back] {
                pass_on(from, to, round_trip / 2, rate);
            }
        }
    });
    address
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration, rate: f64) {
    // As much as would be on such a way.
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(64);
    thread::spawn(move || {
        let mut free = Instant::now();
        for (came, bytes) in receiver {
            let time = Duration::from_secs_f64(bytes.len() as f64 / rate);
            free = free.max(came) + time;
            thread::sleep((free + delay).saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if sender
                .send((Instant::now(), buffer[..read].to_vec()))
                .is_err()
            {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
    });
}

fn far_nodes<const N: usize>(redis: &Redis, rate: f64) -> [Node; N] {
    [(); N].map(|()| {
        let far = relay(redis.port, Duration::from_millis(50), rate);
        let node = Node::launch(&format!("redis://{far}"), &[]);
        node.await_ready();
        node
    })
}

#[test]
#[ignore = "make test-engine runs it"]
fn the_engine_is_far_and_slow() {
    let redis = Redis::start(Keeps::Nothing);
    let nodes: [Node; 3] = far_nodes(&redis, 1e6);
    let load = Load::start(&nodes.each_ref(), &["/a", "/b"], Duration::from_millis(1));
    thread::sleep(seconds(3));
    let pause = load.pause();
    report("50 ms away, 1 MB/s", 0, load.check(), &[pause]);
}

/// One message after the other waits for the engine; many wait together.
#[test]
#[ignore = "make test-engine runs it"]
fn batches_make_up_for_the_distance() {
    const AT_ONCE: usize = 500;
    let redis = Redis::start(Keeps::Nothing);
    let nodes: [Node; 2] = far_nodes(&redis, 1e9);
    let mut talker = join(nodes[0].address, "/a?no-echo");
    let listener = join(nodes[1].address, "/a");
    let begun = Instant::now();
    let mut mine = talker.try_clone().unwrap();
    thread::spawn(
        move || while std::io::copy(&mut mine, &mut std::io::sink()).is_ok_and(|n| n > 0) {},
    );
    let listens = thread::spawn(move || {
        let mut stream = BufReader::new(listener);
        let (mut heard, mut times) = (0, VecDeque::new());
        while let Ok(frame) = frame::read(&mut stream) {
            let text = String::from_utf8(frame.payload).unwrap();
            if frame.opcode != Opcode::Text {
                continue;
            }
            if text == "end" {
                break;
            }
            assert_eq!(text, heard.to_string());
            heard += 1;
            times.push_back(Instant::now());
        }
        let time = times.back().unwrap().duration_since(begun);
        (heard, time)
    });
    let mut sent = 0;
    while begun.elapsed() < seconds(3) {
        let frames: Vec<u8> = (sent..sent + AT_ONCE)
            .flat_map(|number| masked(Opcode::Text, number.to_string().as_bytes()))
            .collect();
        talker.write_all(&frames).unwrap();
        sent += AT_ONCE;
    }
    talker.write_all(&masked(Opcode::Text, b"end")).unwrap();
    let (heard, time) = listens.join().unwrap();
    let rate = heard as f64 / time.as_secs_f64();
    println!(
        "50 ms away: accepted {sent}, lost {}, doubled 0, orders 1, {rate:.0} messages/s",
        sent - heard
    );
    assert_eq!(heard, sent);
    assert!(
        rate > 50_000.0 / f64::from(factor()),
        "{rate:.0} messages/s"
    );
}
