//! The files of the database that this process writes. They are never objects: loading them would change them.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The suffixes of a SQLite database's files.
const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// The SQLite database of this process, if it has one.
#[derive(Clone, Debug, Default)]
pub struct OwnDatabase(Option<PathBuf>);

impl OwnDatabase {
    /// The database in this file, which may not exist yet.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self(file)
    }

    /// Its current files.
    pub(crate) fn files(&self) -> OwnFiles {
        let mut files = OwnFiles::default();
        for base in self.0.iter().flat_map(|file| bases(file)) {
            for suffix in SUFFIXES {
                let mut path = base.clone().into_os_string();
                path.push(suffix);
                files.ids.extend(fs::metadata(&path).ok().as_ref().map(id));
                files.paths.push(path.into());
            }
        }
        files
    }
}

/// The file's path with its directory resolved; and its target, if the file is a link.
fn bases(file: &Path) -> Vec<PathBuf> {
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let other_path = fs::canonicalize(directory).ok();
    let other_path = other_path.and_then(|directory| Some(directory.join(file.file_name()?)));
    other_path.into_iter().chain(fs::canonicalize(file)).collect()
}

/// Files by path, since one may be created while a directory is listed, and by device and inode, since a file may have
/// several names.
#[derive(Debug, Default)]
pub(crate) struct OwnFiles {
    paths: Vec<PathBuf>,
    ids: Vec<(u64, u64)>,
}

impl OwnFiles {
    /// Whether a file is one of them.
    pub(crate) fn contains(&self, path: &Path, metadata: &Metadata) -> bool {
        self.ids.contains(&id(metadata)) || self.paths.iter().any(|own| own == path)
    }
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
