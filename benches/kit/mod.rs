//! What both benchmarks use: a room full of clients ([`room`], [`connection`]), the
//! load on it ([`load`], [`scenario`]), the check of every delivery ([`ledger`],
//! [`stamp`], [`self_check`]), and what is read off ([`usage`], [`histogram`],
//! [`clock`]). What a client of the protocol needs, they have from the tests' kit.

pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod histogram;
pub(crate) mod ledger;
#[allow(dead_code, reason = "only the load benchmark reads off everything")]
pub(crate) mod load;
pub(crate) mod room;
#[allow(dead_code, reason = "the soak has a scenario of its own")]
pub(crate) mod scenario;
pub(crate) mod self_check;
pub(crate) mod stamp;
#[path = "../../tests/kit/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod tests_kit;
#[allow(dead_code, reason = "only the load benchmark makes certificates")]
pub(crate) mod tls;
#[allow(dead_code, reason = "only the load benchmark reads off everything")]
pub(crate) mod usage;

pub(crate) use tests_kit::{Result, child, frame, http, process, socket, wait};
