//! Network namespaces of the test's own: the nodes and their clients in one,
//! the engine in the other, and a cable for each node between them. A cable
//! that is pulled drops everything, so that neither a FIN nor a reset comes.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::redis::{Keeps, Redis};

pub struct Net {
    near: String,
    far: String,
}

impl Net {
    /// Lays a cable for each of so many nodes.
    pub fn lay(cables: usize) -> Net {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("hubcast-{end}-{}-{number}", std::process::id());
        let net = Net {
            near: name("nodes"),
            far: name("engine"),
        };
        let (near, far) = (&net.near, &net.far);
        for end in [near, far] {
            ip(&format!("netns add {end}"));
            ip(&format!("-n {end} link set lo up"));
        }
        for cable in 0..cables {
            ip(&format!(
                "link add c{cable} netns {near} type veth peer name c{cable} netns {far}"
            ));
            for (end, host) in [(near, 1), (far, 2)] {
                let address = format!("{}/28", host_at(cable, host));
                ip(&format!("-n {end} address add {address} dev c{cable}"));
                ip(&format!("-n {end} link set c{cable} up"));
            }
        }
        net
    }

    pub fn redis(&self, keeps: Keeps) -> Redis {
        let options = ["--bind", "0.0.0.0", "--protected-mode", "no"];
        Redis::start_in(Some(&self.far), keeps, &options)
    }

    /// The engine by a node's own cable.
    pub fn url(&self, redis: &Redis, cable: usize) -> String {
        format!("redis://{}:{}", host_at(cable, 2), redis.port)
    }

    pub fn pull(&self, cable: usize) {
        ip(&format!("-n {} link set c{cable} down", self.far));
    }

    pub fn plug_in(&self, cable: usize) {
        ip(&format!("-n {} link set c{cable} up", self.far));
    }

    /// Plays a scene among the nodes: what it starts, threads and programs,
    /// is there too.
    pub fn among_nodes(&self, scene: impl FnOnce() + Send) {
        let played = thread::scope(|scope| {
            let scene = scope.spawn(|| {
                let near = File::open(format!("/run/netns/{}", self.near)).unwrap();
                setns(near, CloneFlags::CLONE_NEWNET).unwrap();
                scene();
            });
            scene.join()
        });
        if let Err(panic) = played {
            std::panic::resume_unwind(panic);
        }
    }
}

/// An address for documentation (RFC 5737), where nothing else is.
fn host_at(cable: usize, host: usize) -> String {
    format!("192.0.2.{}", 16 * cable + host)
}

impl Drop for Net {
    fn drop(&mut self) {
        // The cables go with their ends.
        for end in [&self.near, &self.far] {
            drop(Command::new("ip").args(["netns", "delete", end]).status());
        }
    }
}

#[track_caller]
fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    let output = output.expect("ip is there: make test-engine installs iproute2");
    assert!(
        output.status.success(),
        "ip {arguments}: {}this needs root and network namespaces",
        String::from_utf8_lossy(&output.stderr)
    );
}
