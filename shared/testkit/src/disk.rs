//! A disk of a few megabytes, for tests of what happens when it is full.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// What is written at once to fill it, and at last: a page is the least that such a disk gives away.
const BLOCKS: [usize; 2] = [64 << 10, 1];

/// Mounts a disk of `$1` bytes in `$2`, says so, and stays until its input ends.
const HOLD: &str = "mount -t tmpfs -o size=$1 tmpfs \"$2\" && echo mounted && exec cat";

/// A file system in memory that holds so many bytes and no more. It is gone when it is dropped, and also when its
/// process is killed.
///
/// It is mounted in a mount namespace of its own, whose only member waits for the end of its owner, and is reached
/// through `/proc`. So nothing is left behind, and a user who is not root can have one, in a user namespace. Only
/// processes of the same user can reach it.
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

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where it is for a command that [`SmallDisk::enter`] takes there.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The same command with the same environment in the mount namespace of the disk, in its root directory: SQLite follows
    /// the link in `/proc` by its text, which leads elsewhere.
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

    /// Takes all the room that is left. What has begun a page can still end it.
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

    /// Gives the room back that [`SmallDisk::fill`] took.
    pub fn free(&self) -> anyhow::Result<()> {
        let path = self.filling();
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
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
    // An error means that it has ended by itself.
    let _ = holder.kill();
    let _ = holder.wait();
}
