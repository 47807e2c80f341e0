//! A file that appears whole and durable under its name, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::store::failpoint;

/// A file under another name that its own waits for. Dropped, it leaves nothing.
pub struct SealedFile {
    path: PathBuf,
    unfinished: PathBuf,
    file: BufWriter<File>,
}

impl SealedFile {
    /// Begins the file of that name, for its owner's eyes only; it must not be there yet.
    pub fn create(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".unfinished-{}", std::process::id()));
        let unfinished = path.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        Ok(Self {
            path: path.to_owned(),
            unfinished,
            file: BufWriter::new(file),
        })
    }

    /// Makes what was written durable; it can then be read under the answered name.
    pub fn flush_to_read(&mut self) -> io::Result<PathBuf> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(self.unfinished.clone())
    }

    /// Gives it its name.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush_to_read()?;
        failpoint::reach("backup-rename")?;
        // Not a rename, which would replace what somebody made under that name meanwhile.
        match fs::hard_link(&self.unfinished, &self.path) {
            // Some file systems have no second names.
            Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => {
                fs::rename(&self.unfinished, &self.path)?;
            }
            linked => linked?,
        }
        let directory = self.path.parent().filter(|parent| *parent != Path::new(""));
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for SealedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for SealedFile {
    fn drop(&mut self) {
        // All that it would leave is an unfinished file, which its name says.
        let _ = fs::remove_file(&self.unfinished);
    }
}
