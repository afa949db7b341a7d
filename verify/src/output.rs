//! What the program writes. A reader may leave, as in `lossprep-verify | head -1`, where `print!` and `eprint!` panic; and a
//! file that cannot be written is to be refused before the work, not after.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What a shell reports of a program whose reader has left: 128 + SIGPIPE.
const LEFT: i32 = 141;

/// To standard output; ends the program quietly if its reader has left.
///
/// # Errors
/// If it cannot be written for another reason, as on a full disk.
pub fn say(text: impl Display) -> Result<(), String> {
    to(io::stdout(), text).map_err(|e| format!("standard output: {e}"))
}

/// To standard error, which nothing depends on; ends the program quietly if its reader has left.
pub fn note(text: impl Display) {
    let _ = to(io::stderr(), text);
}

fn to(mut stream: impl Write, text: impl Display) -> io::Result<()> {
    match stream.write_all(text.to_string().as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(LEFT),
        result => result,
    }
}

/// Tries whether files can be written; leaves what is there, and nothing where nothing was.
///
/// # Errors
/// If one cannot.
pub fn writable<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), String> {
    paths.into_iter().try_for_each(|path| try_one(path).map_err(|e| format!("{}: {e}", path.display())))
}

fn try_one(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(data) if data.is_file() || data.is_dir() => OpenOptions::new().append(true).open(path).map(drop),
        // To open a pipe or a device may be more than trying.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match OpenOptions::new().write(true).create_new(true).open(path) {
                Ok(_) => std::fs::remove_file(path),
                // A link to nothing, which writing makes.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Writes a file.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), String> {
    std::fs::write(path, content).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_leaves_everything_as_it_was() {
        let folder = std::env::temp_dir().join(format!("lossprep-output-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (there, absent) = (folder.join("there"), folder.join("absent"));
        std::fs::write(&there, "kept").unwrap();
        assert_eq!(writable([&there, &absent]), Ok(()));
        assert_eq!(std::fs::read(&there).unwrap(), b"kept");
        assert!(!absent.exists());
        for wrong in [folder.join("no/such"), there.join("below"), folder.clone()] {
            let error = writable([&wrong]).unwrap_err();
            assert!(error.starts_with(&wrong.display().to_string()), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
