//! A small file system, for tests with a full disk.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// The sizes of writes that fill it: large ones first, then single bytes, which take a page each.
const BLOCKS: [usize; 2] = [64 << 10, 1];

/// Mounts a disk of `$1` bytes at `$2`, reports it, and waits until its input ends.
const HOLD: &str = "mount -t tmpfs -o size=$1 tmpfs \"$2\" && echo mounted && exec cat";

/// A file system in memory with a fixed size. It is removed when this is dropped, and also when the process is killed.
///
/// It is mounted in a mount namespace of its own, whose only process waits for the end of its owner, and is accessed
/// through `/proc`. So nothing is left behind, and a user without root can have one, in a user namespace. Only processes
/// of the same user have access.
pub struct SmallDisk {
    holder: Child,
    folder: PathBuf,
    place: PathBuf,
    _mount_point: TempDir,
}

impl SmallDisk {
    /// Mounts one. Needs Linux and `unshare` and `mount` of util-linux, and the right to use them.
    pub fn mount(bytes: u64) -> anyhow::Result<Self> {
        let mount_point = tempfile::Builder::new().prefix("jetline-disk-").tempdir()?;
        let place = mount_point.path().canonicalize()?;
        let mut holder = hold(bytes, &place)
            .context("cannot run unshare: a small disk needs Linux and util-linux")?;
        if let Err(error) = wait_until_mounted(&mut holder) {
            end(&mut holder);
            return Err(error);
        }
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        Ok(Self {
            folder: root.join(place.strip_prefix("/")?),
            place,
            holder,
            _mount_point: mount_point,
        })
    }

    /// Its path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its path for a command of [`SmallDisk::enter`].
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.place
    }

    /// The command in the mount namespace of the disk, in its root directory. Needed for SQLite, which resolves the link in
    /// `/proc` by its text.
    #[must_use]
    pub fn enter(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.arg(format!("--target={}", self.holder.id()));
        entered.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            entered.args(["--user", "--preserve-credentials"]);
        }
        entered.arg("--").arg(command.get_program());
        entered.args(command.get_args()).env_clear();
        let set = command.get_envs();
        entered.envs(set.filter_map(|(name, value)| Some((name, value?))));
        entered
    }

    /// Fills it. Files can still grow within their last page.
    pub fn fill(&self) -> anyhow::Result<()> {
        let path = self.filling();
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        for block in BLOCKS {
            let block = vec![0; block];
            let full = loop {
                if let Err(error) = file.write_all(&block) {
                    break error;
                }
            };
            if full.kind() != ErrorKind::StorageFull {
                return Err(full).with_context(|| format!("cannot write {}", path.display()));
            }
        }
        Ok(())
    }

    /// Frees the space that [`SmallDisk::fill`] took.
    pub fn free(&self) -> anyhow::Result<()> {
        let path = self.filling();
        // A process that is being started may still have the file open: its space would stay in use.
        let emptied = File::create(&path).and_then(|_| std::fs::remove_file(&path));
        emptied.with_context(|| format!("cannot remove {}", path.display()))
    }

    fn filling(&self) -> PathBuf {
        self.folder.join("filling")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        end(&mut self.holder);
    }
}

fn hold(bytes: u64, place: &Path) -> std::io::Result<Child> {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["sh", "-c", HOLD, "sh"])
        .arg(bytes.to_string())
        .arg(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn wait_until_mounted(holder: &mut Child) -> anyhow::Result<()> {
    let (Some(output), Some(errors)) = (holder.stdout.as_mut(), holder.stderr.as_mut()) else {
        bail!("unshare has no output");
    };
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    if line == "mounted\n" {
        return Ok(());
    }
    let mut why = String::new();
    errors.read_to_string(&mut why)?;
    bail!(
        "cannot mount a small disk, which needs root with CAP_SYS_ADMIN, or user namespaces for others: {}",
        why.trim()
    );
}

fn end(holder: &mut Child) {
    // An error means that it has already ended.
    let _ = holder.kill();
    let _ = holder.wait();
}
