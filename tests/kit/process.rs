//! What a process may hold, and what it holds.

use std::fs;
use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises this process's descriptor limit to the most it may be: many shells give a
/// process a thousand, and both ends of a connection may be in one. Child processes
/// inherit the limit.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// How many threads a process has.
pub(crate) fn threads(pid: u32) -> io::Result<usize> {
    entries(pid, "task")
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> io::Result<usize> {
    entries(pid, "fd")
}

fn entries(pid: u32, folder: &str) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/{folder}"))?.count())
}
