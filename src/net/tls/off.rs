//! TLS in a build without the feature `tls`: the same types and functions, but
//! no values of the types.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
#[cfg(feature = "redis")]
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::error::Error;
use crate::net::outlet::Sent;
use crate::net::received::{Plain, Received};
use crate::net::stop::Stop;

#[derive(Debug)]
pub(crate) enum Certificates {}

#[derive(Debug)]
pub(crate) enum NoTls {}

#[derive(Debug)]
pub(crate) enum Session {}

impl Certificates {
    /// There is no setting to ask for any.
    pub(crate) fn of(_: &Config) -> Result<Option<Certificates>, Error> {
        Ok(None)
    }
}

pub(in crate::net) fn shake_hands(
    certificates: &Certificates,
    _: BorrowedFd<'_>,
    _: &Stop,
    _: Instant,
) -> Result<Option<Session>, NoTls> {
    match *certificates {}
}

impl NoTls {
    pub(crate) fn reason(&self) -> &'static str {
        match *self {}
    }
}

impl std::fmt::Display for NoTls {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl Session {
    pub(in crate::net) fn peer_certificates(&self) -> Vec<Vec<u8>> {
        match *self {}
    }

    pub(in crate::net) fn receive<'b>(
        &self,
        _: BorrowedFd<'_>,
        _: &'b mut [MaybeUninit<u8>],
    ) -> io::Result<Received<Plain<'b>>> {
        match *self {}
    }

    pub(in crate::net) fn receive_into(
        &self,
        _: BorrowedFd<'_>,
        _: &mut [u8],
    ) -> io::Result<Received<usize>> {
        match *self {}
    }

    pub(in crate::net) fn is_readable(&self) -> bool {
        match *self {}
    }

    pub(in crate::net) fn try_send(
        &self,
        _: BorrowedFd<'_>,
        _: &[IoSlice<'_>],
    ) -> io::Result<Sent> {
        match *self {}
    }

    pub(in crate::net) fn send_within(
        &self,
        _: BorrowedFd<'_>,
        _: &[IoSlice<'_>],
        _: Duration,
    ) -> io::Result<usize> {
        match *self {}
    }

    pub(in crate::net) fn flush_within(&self, _: BorrowedFd<'_>, _: Duration) -> io::Result<()> {
        match *self {}
    }

    pub(in crate::net) fn say_goodbye(&self, _: BorrowedFd<'_>, _: Duration) {
        match *self {}
    }
}

#[cfg(feature = "redis")]
#[derive(Clone, Debug)]
pub(crate) enum Trust {}

#[cfg(feature = "redis")]
#[derive(Debug)]
pub(crate) enum Upstream {}

#[cfg(feature = "redis")]
impl Trust {
    pub(crate) fn new(_: Option<&Path>, _: Option<(&Path, &Path)>) -> Result<Trust, Error> {
        Err(Error::config(
            "engine: rediss:// needs a program that was built with the feature tls",
        ))
    }
}

#[cfg(feature = "redis")]
impl Upstream {
    pub(crate) fn shake_hands(
        trust: &Trust,
        _: &str,
        _: BorrowedFd<'_>,
        _: &Stop,
        _: Instant,
    ) -> io::Result<Upstream> {
        match *trust {}
    }

    pub(crate) fn try_send(&mut self, _: BorrowedFd<'_>, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn owes(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_readable(&self) -> bool {
        match *self {}
    }

    pub(crate) fn receive_into(
        &mut self,
        _: BorrowedFd<'_>,
        _: &mut [u8],
    ) -> io::Result<Received<usize>> {
        match *self {}
    }
}
