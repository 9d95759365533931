//! The files of the database that this process writes, which are never objects: reading them would change them.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What SQLite appends to the name of a database for the files beside it.
const ENDS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// The SQLite database of this process, if it has one.
#[derive(Clone, Debug, Default)]
pub struct OwnDatabase(Option<PathBuf>);

impl OwnDatabase {
    /// The database in this file, which need not be there yet.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self(file)
    }

    /// Its files as they are at this moment.
    pub(crate) fn files(&self) -> OwnFiles {
        let mut files = OwnFiles::default();
        for base in self.0.iter().flat_map(|file| bases(file)) {
            for end in ENDS {
                let mut path = base.clone().into_os_string();
                path.push(end);
                files.ids.extend(fs::metadata(&path).ok().as_ref().map(id));
                files.paths.push(path.into());
            }
        }
        files
    }
}

/// Where the file is, without links in its directory; and where it is if it is a link itself.
fn bases(file: &Path) -> Vec<PathBuf> {
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let beside = fs::canonicalize(directory).ok();
    let beside = beside.and_then(|directory| Some(directory.join(file.file_name()?)));
    beside.into_iter().chain(fs::canonicalize(file)).collect()
}

/// Files by where they are, as one may only be made while a directory is listed, and by what they are, as a file may have
/// several names.
#[derive(Debug, Default)]
pub(crate) struct OwnFiles {
    paths: Vec<PathBuf>,
    ids: Vec<(u64, u64)>,
}

impl OwnFiles {
    /// Whether a file that was found is one of them.
    pub(crate) fn hold(&self, path: &Path, metadata: &Metadata) -> bool {
        self.ids.contains(&id(metadata)) || self.paths.iter().any(|own| own == path)
    }
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
