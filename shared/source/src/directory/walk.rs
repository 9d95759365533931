//! Lists the files of a directory. An entry that cannot be read is skipped and does not fail the listing.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry, Metadata},
    io,
    path::Path,
};

use super::{Directory, NO_PERMISSION, failed, irregular};
use crate::{Error, Listing, own_database::OwnFiles, pattern::no_format};

pub(super) const LOOP: &str = "it is a link that leads to itself";
const NOT_UTF8: &str = "its name is not UTF-8";
const DIRECTORY_LINK: &str =
    "links to directories are not followed: give the directory as a source of its own (SOURCE)";

/// The error of too many levels of links.
const ELOOP: i32 = if cfg!(target_os = "linux") { 40 } else { 62 };

pub(super) fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ELOOP)
}

/// All files that match below a directory. The directory itself must be readable.
pub(super) fn walk(directory: &Directory) -> Result<Listing, Error> {
    let mut walk = Walk { directory, own: directory.own.files(), listing: Listing::default() };
    let entries = fs::read_dir(&directory.path);
    let entries = entries.map_err(|error| failed("list", &directory.path, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", &directory.path, error))?;
        walk.entry(&entry, "");
    }
    let mut listing = walk.listing;
    listing.is_missing =
        directory.files.is_glob() && listing.objects.is_empty() && listing.skipped.count() == 0;
    Ok(listing)
}

struct Walk<'a> {
    directory: &'a Directory,
    /// The files of the own database, which are never objects.
    own: OwnFiles,
    listing: Listing,
}

impl Walk<'_> {
    fn entry(&mut self, entry: &DirEntry, prefix: &str) {
        let name = entry.file_name();
        // Invalid UTF-8 becomes replacement characters, which wildcards match like any other.
        let key = format!("{prefix}{}", name.to_string_lossy());
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                if self.directory.files.leads_into(&key) {
                    self.descend(&path, &name, &key);
                }
            }
            Ok(kind) => self.file(&path, &name, key, kind.is_symlink()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if self.directory.files.matches(&key) => {
                self.skip(&path, reason(&error));
            }
            Err(_) => {}
        }
    }

    fn descend(&mut self, path: &Path, name: &OsStr, key: &str) {
        if name.to_str().is_none() {
            return self.skip(path, NOT_UTF8);
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            // It was removed while its parent was being read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.skip(path, reason(&error)),
        };
        let prefix = format!("{key}/");
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(&entry, &prefix),
                Err(error) => return self.skip(path, reason(&error)),
            }
        }
    }

    fn file(&mut self, path: &Path, name: &OsStr, key: String, is_link: bool) {
        let files = &self.directory.files;
        let matches = files.matches(&key);
        if !(matches || is_link && files.leads_into(&key)) {
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                if is_link {
                    self.skip(path, DIRECTORY_LINK);
                }
            }
            _ if !matches => {}
            Ok(_) if name.to_str().is_none() => self.skip(path, NOT_UTF8),
            Ok(metadata) if self.own.contains(path, &metadata) => {}
            Ok(metadata) => self.found(path, key, &metadata),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.skip(path, reason(&error));
            }
            Err(_) if is_link => self.skip(path, "it is a dangling link"),
            // It was removed while the directory was being read.
            Err(_) => {}
        }
    }

    fn found(&mut self, path: &Path, key: String, metadata: &Metadata) {
        if !metadata.is_file() {
            self.skip(path, irregular(metadata));
        } else if !self.directory.files.takes(&key) {
            let name = path.to_string_lossy();
            self.listing.skipped.add_other(&name, no_format());
        } else {
            let version = self.directory.version(key, metadata);
            self.listing.objects.push(version);
        }
    }

    fn skip(&mut self, path: &Path, reason: impl std::fmt::Display) {
        let name = match path.to_str() {
            Some(path) => path.to_owned(),
            None => path.as_os_str().as_encoded_bytes().escape_ascii().to_string(),
        };
        self.listing.skipped.add(&format!("file://{name}"), reason);
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => NO_PERMISSION.to_owned(),
        _ if is_loop(error) => LOOP.to_owned(),
        _ => error.to_string(),
    }
}
