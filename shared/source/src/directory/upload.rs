//! Writes a file under a temporary, hidden name, and renames it.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempPath;

use super::{Directory, blocking};
use crate::{Error, ObjectVersion, PartWriter, object_store::WRITE};

/// The permissions of a file, less the process's mask: the fetcher may run as another user.
const MODE: u32 = 0o666;

pub(super) struct FileWriter {
    directory: Directory,
    key: String,
    path: PathBuf,
    /// The directories of the file, from its own to the root.
    parents: Vec<PathBuf>,
    file: Arc<File>,
    /// Deletes the file when it is dropped.
    temporary: TempPath,
}

impl FileWriter {
    /// Creates the directories of the key below the root, and the temporary file.
    pub(super) fn create(directory: Directory, key: String) -> Result<Self, Error> {
        let path = directory.path.join(&key);
        let parents = Path::new(&key).ancestors().skip(1);
        let parents: Vec<_> = parents.map(|parent| directory.path.join(parent)).collect();
        // Without the root: if it is missing, its disk may not be mounted.
        let created = parents.iter().rev().skip(1).try_for_each(|parent| create_directory(parent));
        let own = parents.first().unwrap_or(&directory.path);
        let file = created.and_then(|()| temporary(own));
        let (file, temporary) = file.map_err(|error| failed(WRITE, &path, error))?;
        Ok(Self { directory, key, path, parents, file: Arc::new(file), temporary })
    }

    fn store(self, last: &[u8]) -> Result<ObjectVersion, Error> {
        let failed = |error| failed(WRITE, &self.path, error);
        (&*self.file).write_all(last).map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        if let Err(error) = self.temporary.persist_noclobber(&self.path) {
            return Err(match error.error.kind() {
                ErrorKind::AlreadyExists => {
                    Error::AlreadyExists { uri: format!("{}/{}", self.directory.root, self.key) }
                }
                _ => failed(error.error),
            });
        }
        // All of them: another upload may have created one just now.
        self.parents.iter().try_for_each(|parent| sync_directory(parent)).map_err(failed)?;
        let metadata = fs::metadata(&self.path).map_err(failed)?;
        Ok(self.directory.version(self.key, &metadata))
    }
}

#[async_trait]
impl PartWriter for FileWriter {
    async fn write_part(&mut self, part: Bytes) -> Result<(), Error> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        blocking(move || (&*file).write_all(&part).map_err(|error| failed(WRITE, &path, error)))
            .await
    }

    async fn finish(self: Box<Self>, last: Bytes) -> Result<ObjectVersion, Error> {
        blocking(move || self.store(&last)).await
    }

    async fn abort(self: Box<Self>) {}
}

fn temporary(directory: &Path) -> io::Result<(File, TempPath)> {
    let mut file = tempfile::Builder::new();
    file.prefix(".").suffix(".upload").permissions(Permissions::from_mode(MODE));
    Ok(file.tempfile_in(directory)?.into_parts())
}

pub(super) fn create_with_parents(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing: Vec<_> = path.ancestors().take_while(|parent| !parent.exists()).collect();
    fs::create_dir_all(&path)?;
    missing.iter().filter_map(|created| created.parent()).try_for_each(sync_directory)
}

fn create_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        // Not a link: listings do not follow links to directories.
        Err(_) if path.symlink_metadata().is_ok_and(|found| found.is_dir()) => Ok(()),
        created => created,
    }
}

/// Deletes a file, if there is one.
pub(super) fn delete(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_directory),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems cannot synchronize a directory.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synchronized => synchronized,
    }
}

pub(super) fn failed(action: &'static str, path: &Path, error: io::Error) -> Error {
    let uri = format!("file://{}", path.display());
    let kind = error.kind();
    let advice = match kind {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "check the permissions of",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "make room in"
        }
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput => "check",
        _ => return Error::Unavailable { action, uri, source: error.into() },
    };
    Error::Refused { action, uri, reason: format!("{kind}: {advice} INTAKE_STORE") }
}
