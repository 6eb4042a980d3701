//! What all doors share.

use std::sync::{Arc, Mutex};

use super::forwarded::Proxies;
use super::origin::Origins;
use super::pace::Pace;
use super::remarks::Remarks;
use super::retries::Retries;
use crate::config::Config;
use crate::embed::Answerer;
use crate::embed::Handle;
use crate::embed::Handler;
use crate::error::Error;
use crate::hub::Places;
use crate::names::Peer;

/// All doors of a server.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(super) handle: Handle,
    pub(super) hooks: Option<Arc<dyn Handler>>,
    pub(super) answerer: Option<Answerer>,
    pub(super) origins: Origins,
    pub(crate) proxies: Proxies,
    pub(super) places: Arc<Places>,
    pub(super) remarks: Remarks,
    pub(super) pace: Pace,
    /// Held while a list is made for the operator, so that it is one at a
    /// time.
    pub(super) listing: Mutex<()>,
    pub(super) retries: Retries,
}

impl Doors {
    /// # Errors
    ///
    /// As [`check`](super::check).
    pub(crate) fn new(
        handle: Handle,
        hooks: Option<Arc<dyn Handler>>,
        places: Arc<Places>,
    ) -> Result<Doors, Error> {
        Ok(Doors {
            origins: Origins::parse(&handle.shared.config.allow_origin)?,
            proxies: Proxies::parse(&handle.shared.config.trust_proxy)?,
            places,
            remarks: Remarks::new(),
            pace: Pace::new(&handle.shared.config),
            handle,
            hooks,
            answerer: None,
            listing: Mutex::new(()),
            retries: Retries::default(),
        })
    }

    /// Has the program answer requests first.
    pub(crate) fn with_answerer(self, answerer: Option<Answerer>) -> Doors {
        Doors { answerer, ..self }
    }

    /// Speaks of a peer that speaks another protocol.
    pub(crate) fn foreign_protocol(&self, peer: Peer, protocol: &str) {
        self.remarks.foreign_protocol(peer, protocol);
    }

    pub(super) fn config(&self) -> &Config {
        &self.handle.shared.config
    }
}
