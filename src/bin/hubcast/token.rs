//! Tokens from files and variables.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hubcast::Secret;

/// The most bytes that are read of such a file.
const MAX_FILE: u64 = 1024 * 1024;
/// Every user of the machine may read the file.
const READABLE_BY_ALL: u32 = 0o004;

/// The token without the byte-order mark and the line end that editors and
/// `echo` leave around it.
pub(crate) fn bare(text: &str) -> Secret {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text).into()
}

/// The first line of a file. Logs a warning if every user may read the file.
pub(crate) fn of_file(option: &str, path: &Path) -> Result<Secret, String> {
    let name = path.display();
    let text = read(path, option).map_err(|error| format!("{option} {name}: {error}"))?;
    let line = text.split_inclusive('\n').next().unwrap_or_default();
    if line.trim_start_matches('\u{feff}').trim().is_empty() {
        let what = if option == "token-file" {
            "token"
        } else {
            "password"
        };
        return Err(format!(
            "{option} {name}: its first line must hold the {what}, and is empty"
        ));
    }
    Ok(bare(line))
}

/// Reads the file of an option. Logs a warning if every user may read it.
pub(crate) fn read(path: &Path, option: &str) -> io::Result<String> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode();
    if metadata.is_file() && mode & READABLE_BY_ALL != 0 {
        log::warn!(
            "every user of this machine can read the {option} {:?} (mode {:03o}); \
             chmod o= takes that away",
            path.display().to_string(),
            mode & 0o777,
        );
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn what_editors_leave_around_a_token_is_no_part_of_it() {
        for text in ["s3cret", "s3cret\n", "s3cret\r\n", "\u{feff}s3cret\n"] {
            assert!(bare(text).is("s3cret"), "{text:?}");
        }
        // A blank may be meant; the server refuses it by name.
        assert!(bare("s3cret \n").is("s3cret "));
    }

    #[test]
    fn the_first_line_of_a_file_is_the_token() {
        let path = std::env::temp_dir().join(format!("hubcast-token-{}", std::process::id()));
        let of = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            of_file("token-file", &path)
        };
        assert!(
            of(b"\xef\xbb\xbfs3cret\r\n# of the chat\n")
                .unwrap()
                .is("s3cret")
        );
        for empty in [&b""[..], b"\n", b"  \ns3cret", b"\xef\xbb\xbf\n"] {
            let error = of(empty).unwrap_err();
            assert!(error.contains("first line must hold the token"), "{error}");
        }
        let utf_16 = of(b"\xff\xfes\x003\x00").unwrap_err();
        assert!(utf_16.contains("UTF-8"), "{utf_16}");
        fs::remove_file(&path).unwrap();
        let missing = of_file("token-file", &path).map(drop).unwrap_err();
        assert!(missing.contains(path.to_str().unwrap()), "{missing}");
    }
}
