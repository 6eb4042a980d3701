//! What both benchmarks use: a server as a child process ([`child`]), a room full of
//! clients ([`room`], [`connection`]), the load on it ([`load`], [`scenario`]), the
//! check of every delivery ([`ledger`], [`wire`], [`self_check`]), and what is read
//! off ([`usage`], [`histogram`], [`clock`]).

pub(crate) mod child;
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
#[allow(dead_code, reason = "only the load benchmark reads off everything")]
pub(crate) mod usage;
pub(crate) mod wire;

/// A run that fails says why; no caller distinguishes the reasons.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Failure>;
