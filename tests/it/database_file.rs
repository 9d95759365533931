//! SQLite files that cannot be used, and one on a disk that is full for a while.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use jetline_oracle::{catalogue::lines, fold, ledger::Ledger};
use jetline_testkit::{disk::SmallDisk, process::Process};

use crate::{
    deployment::{failed, finish, succeeded, terminate},
    standalone::Home,
    wait::until,
};

const MEGABYTE: u64 = 1 << 20;

/// The command without root's privilege to ignore file permissions.
fn without_privileges(command: &Command) -> Command {
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| {
        use std::os::unix::fs::MetadataExt;
        process.uid() == 0
    });
    let mut plain = if is_root {
        let mut plain = Command::new("setpriv");
        plain.arg("--bounding-set=-dac_override,-dac_read_search");
        plain.arg(command.get_program());
        plain
    } else {
        Command::new(command.get_program())
    };
    plain.env_clear().args(command.get_args());
    for (name, value) in command.get_envs() {
        plain.env(name, value.unwrap_or_default());
    }
    plain.current_dir(command.get_current_dir().unwrap());
    plain
}

/// The error of every writing program for a database that it cannot use, with and without `--exit`.
fn refusal(home: &Home, file: &str) -> String {
    let mut said = String::new();
    for flags in [&["--exit"][..], &[]] {
        let mut command = home.command(flags);
        command.env("DATABASE_URL", format!("sqlite://{file}"));
        let log = home.folder.path().join(format!("log-{}", flags.len()));
        let process = Process::start(without_privileges(&command), &log).unwrap();
        let output = failed(finish(process));
        assert!(output.contains(file), "{output}");
        assert!(!output.contains("retrying"), "{output}");
        said += &output;
        fs::remove_file(log).unwrap();
    }
    said
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn file_that_is_not_a_database_ends_the_program_with_its_name_and_the_reason() {
    let home = Home::new();
    home.put("a.jsonl", 0, &lines(1, 10, 10));
    let folder = home.folder.path();
    fs::write(folder.join("text.db"), "no database at all\n".repeat(100)).unwrap();
    fs::create_dir(folder.join("directory.db")).unwrap();
    for (file, reason) in [
        ("text.db", "not an SQLite database"),
        ("directory.db", "it is a directory"),
        ("nowhere/t.db", "its directory does not exist"),
    ] {
        let said = refusal(&home, file);
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn read_only_file_ends_the_program_with_its_name_and_the_reason() {
    let home = Home::new();
    home.put("a.jsonl", 0, &lines(1, 10, 10));
    succeeded(finish(home.start(&["--exit"])));
    let folder = home.folder.path().join("samples");
    let file = folder.join("t.db");
    fs::rename(home.folder.path().join("jetline.db"), &file).unwrap();
    // Only the file, only its directory, and both.
    for (of_file, of_folder) in [(0o444, 0o755), (0o644, 0o555), (0o444, 0o555)] {
        set_mode(&file, of_file);
        set_mode(&folder, of_folder);
        let said = refusal(&home, "samples/t.db");
        assert!(said.contains("permissions"), "{said}");
        set_mode(&folder, 0o755);
    }
}

#[tokio::test]
async fn full_disk_is_retried_and_nothing_is_lost() {
    let disk = SmallDisk::mount(64 * MEGABYTE).unwrap();
    let home = Home::new();
    let contents: Vec<Vec<u8>> = (1..=3).map(|seed| lines(seed, 3000, 1000)).collect();
    home.put("0.jsonl", 0, &contents[0]);
    let mut command = home.command(&["--watch", "200ms", "--chunk-bytes", "1KiB"]);
    command.env("SOURCE", home.folder.path().join("samples"));
    let url = format!("sqlite://{}", disk.mount_point().join("t.db").display());
    command.env("DATABASE_URL", url);
    let log = home.folder.path().join("log");
    let process = Process::start(disk.enter(&command), &log).unwrap();
    home.loaded(1).await;
    // Several times: the connections of a pool fail one after the other.
    for (number, content) in (1..).zip(&contents[1..]) {
        disk.fill().unwrap();
        let failures = || process.output().matches("(code: 13)").count();
        let before = failures();
        home.put(&format!("{number}.jsonl"), number, content);
        until("writing has failed several times", async || (failures() > before + 2).then_some(()))
            .await;
        disk.free().unwrap();
        home.loaded(usize::try_from(number).unwrap() + 1).await;
    }
    succeeded(terminate(process));
    let copy = home.folder.path().join("copy.db");
    fs::copy(disk.folder().join("t.db"), &copy).unwrap();
    let ledger = Ledger::connect(&format!("sqlite://{}", copy.display())).await.unwrap();
    ledger.assert_holds(&fold(&contents)).await;
}
