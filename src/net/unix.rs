//! Unix sockets as files: bound in place of a stale one, and removed.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

/// A socket's file. Dropping this removes it, unless another has taken its
/// place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The device and the inode that are ours.
    id: (u64, u64),
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| id(&file) == self.id);
        if is_ours {
            // What cannot be removed is stale, and replaced by the next server.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Listens at a path. A stale socket there is replaced in one step, by a file
/// that had its mode before it had its name.
pub(super) fn bind(
    path: &Path,
    mode: Option<u32>,
    backlog: i32,
) -> io::Result<(UnixListener, SocketFile)> {
    make_way(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", process::id()));
    let beside = PathBuf::from(beside);
    // A process of the same number may have been killed here before.
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    let named = name(&beside, path, mode).and_then(|id| {
        rustix::net::listen(&listener, backlog)?;
        let path = path.to_owned();
        Ok((listener, SocketFile { path, id }))
    });
    if named.is_err() {
        let _ = fs::remove_file(&beside);
    }
    named
}

fn name(beside: &Path, path: &Path, mode: Option<u32>) -> io::Result<(u64, u64)> {
    if let Some(mode) = mode {
        fs::set_permissions(beside, Permissions::from_mode(mode))?;
    }
    let id = id(&fs::symlink_metadata(beside)?);
    fs::rename(beside, path)?;
    Ok(id)
}

/// Checks that at the path is nothing, or a socket that nobody listens on.
fn make_way(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        let line = "a file that is no socket is there; choose another path or remove it";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, line));
    }
    match connect(path) {
        Err(Errno::CONNREFUSED) => Ok(()),
        // Listened on, even if its backlog is full.
        Ok(_) | Err(Errno::AGAIN) => Err(Errno::ADDRINUSE.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// Connects without waiting for a place in the backlog.
fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env::temp_dir;

    fn path(name: &str) -> PathBuf {
        temp_dir().join(format!("hubcast-{name}-{}.sock", process::id()))
    }

    #[test]
    fn a_stale_socket_is_replaced_and_ours_is_removed() {
        let path = path("stale");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file");
        let (listener, file) = bind(&path, Some(0o660), 16).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let in_use = bind(&path, None, 16).unwrap_err();
        assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn what_another_has_put_there_stays() {
        let path = path("another");
        let (_listener, file) = bind(&path, None, 16).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "notes").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
        let error = bind(&path, None, 16).unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        fs::remove_file(&path).unwrap();
    }
}
