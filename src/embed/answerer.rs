//! The hook that answers requests itself.

use std::fmt;
use std::sync::Arc;

use http::{Request, Response};

use crate::names::Peer;

type RequestHook = dyn Fn(&Request<()>, Peer) -> Option<Response<Vec<u8>>> + Send + Sync;

/// Your program's answers to requests; given to
/// [`ServerBuilder::on_request`](crate::ServerBuilder::on_request).
#[derive(Clone)]
pub(crate) struct Answerer(pub(crate) Arc<RequestHook>);

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answerer")
    }
}
