//! The scripts that the engine runs: each is one step for all who look on.

use sha1_smol::Sha1;

use super::connection::{Connection, Fault};
use super::resp::Reply;

/// A script, and the name under which the engine keeps it.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    name: String,
}

impl Script {
    fn new(text: &'static str) -> Script {
        Script {
            text,
            name: Sha1::from(text).digest().to_string(),
        }
    }

    /// Runs it; the engine is given its text where it does not know its name.
    pub(super) fn run(
        &self,
        connection: &mut Connection,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Reply, Fault> {
        let count = keys.len().to_string();
        let keys = keys.iter().map(|key| key.as_bytes());
        let mut command: Vec<&[u8]> = vec![b"EVALSHA", self.name.as_bytes(), count.as_bytes()];
        command.extend(keys);
        command.extend_from_slice(arguments);
        match connection.call(&command)? {
            Reply::Error(_) => {
                command[0] = b"EVAL";
                command[1] = self.text.as_bytes();
                connection.call(&command)
            }
            reply => Ok(reply),
        }
    }
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) append: Script,
    pub(super) attach: Script,
    pub(super) restore: Script,
    pub(super) open: Script,
    pub(super) beat: Script,
    pub(super) leave: Script,
}

impl Scripts {
    pub(super) fn new() -> Scripts {
        Scripts {
            append: Script::new(include_str!("scripts/append.lua")),
            attach: Script::new(include_str!("scripts/attach.lua")),
            restore: Script::new(include_str!("scripts/restore.lua")),
            open: Script::new(include_str!("scripts/open.lua")),
            beat: Script::new(include_str!("scripts/beat.lua")),
            leave: Script::new(include_str!("scripts/leave.lua")),
        }
    }
}
