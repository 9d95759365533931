//! What a terminal shows.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    num::NonZeroU16,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    process::Command,
    thread,
    time::Duration,
};

use jetline_testkit::s3::{Fault, S3Server};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{deployment::BUCKET, standalone::Home};

const ROWS: NonZeroU16 = NonZeroU16::new(40).unwrap();

/// What a command wrote to its terminal, and the screens in between.
struct Shown {
    bytes: Vec<u8>,
    screens: Vec<vt100::Screen>,
    is_success: bool,
}

impl Shown {
    /// Runs a command whose standard output and standard error are a terminal.
    fn run(mut command: Command, columns: u16) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize { ws_row: ROWS.get(), ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal.as_fd(), size).unwrap();
        let path = ptsname(&terminal, Vec::new()).unwrap();
        let open = || {
            let path = OsStr::from_bytes(path.as_bytes());
            fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
        };
        let mut child = command.stdout(open()).stderr(open()).spawn().unwrap();
        // Its own copies are closed, so that reading ends with the child.
        drop(command);
        let reading = thread::spawn(move || {
            let mut terminal = File::from(terminal);
            let (mut bytes, mut screens) = (Vec::new(), Vec::new());
            let mut parser = vt100::Parser::new(ROWS, NonZeroU16::new(columns).unwrap(), 1_000);
            let mut buffer = vec![0; 64 << 10];
            // The end is an error on Linux.
            while let Ok(read @ 1..) = terminal.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..read]);
                parser.process(&buffer[..read]);
                screens.push(parser.screen().clone());
            }
            (bytes, screens)
        });
        let is_success = child.wait().unwrap().success();
        let (bytes, screens) = reading.join().unwrap();
        Self { bytes, screens, is_success }
    }

    fn rows(&self) -> impl Iterator<Item = String> {
        let rows = |screen: &vt100::Screen| screen.contents().lines().map(str::to_owned).collect();
        self.screens.iter().flat_map(rows as fn(&vt100::Screen) -> Vec<String>)
    }

    fn last(&self) -> String {
        self.screens.last().unwrap().contents()
    }
}

fn lines(ids: std::ops::Range<u32>) -> String {
    let line = |id| {
        format!(
            "{{\"id\":{id},\"title\":\"Kettle {id}\",\"price\":20,\"category\":\"kitchen\",\"brand\":\"b\",\"url\":\"u\",\"description\":\"d\"}}\n"
        )
    };
    ids.map(line).collect()
}

const LONG_NAME: &str = "products-of-all-shops-in-the-north-2026-11-27.jsonl";

fn slow_load(home: &Home, s3: &S3Server, log: &str) -> Command {
    s3.create_bucket(BUCKET);
    s3.put(BUCKET, LONG_NAME, lines(1..4_000));
    s3.put(BUCKET, "b.jsonl", format!("{}nonsense\n", lines(4_000..4_100)));
    let every = Duration::from_millis(40);
    s3.fail_next_gets(100, &Fault::Trickle { block: 8 << 10, every });
    let mut command = home.command(&["--exit", "--source", &format!("s3://{BUCKET}")]);
    command.envs(s3.settings()).envs([
        ("LOG", log),
        ("TERM", "xterm-256color"),
        ("S3_PART_SIZE", "64KiB"),
        ("S3_PARALLEL_PARTS", "1"),
        ("CHUNK_BYTES", "16KiB"),
    ]);
    command
}

#[test]
fn bars_and_the_summary_fit_80_columns() {
    let (home, s3) = (Home::new(), S3Server::start().unwrap());
    let shown = Shown::run(slow_load(&home, &s3, "warn"), 80);
    let last = shown.last();
    assert!(shown.is_success, "{last}");
    let bar = shown.rows().find(|row| row.contains('█')).unwrap();
    assert!(bar.starts_with("products-of-al…"), "{bar}");
    let is_total = |row: &String| row.contains("of 2 objects, ");
    let total = shown.rows().filter(is_total).last().unwrap();
    assert!(total.contains(" kB, ") && total.contains(" records/s"), "{total}");
    let parts_of_the_picture = ["█", " records/s", ".jsonl", "in all"];
    for screen in &shown.screens {
        for (at, row) in (0..).zip(screen.rows(0, 80)) {
            let is_part = parts_of_the_picture.iter().any(|part| row.contains(part));
            // A bar is padded to the width of the terminal.
            let fits = !screen.row_wrapped(at) || row.trim_end().chars().count() < 80;
            assert!(!is_part || fits, "{}", screen.contents());
        }
    }
    // The bars are gone, and the summary is there.
    assert!(!last.contains('█') && !last.contains(" objects, "), "{last}");
    let long = last.lines().find(|row| row.contains('…')).unwrap();
    assert!(long.contains("3,999"), "{last}");
    let totals = last.lines().find(|row| row.starts_with("in all")).unwrap();
    assert_eq!(totals.split_whitespace().nth(2), Some("4,100"), "{last}");
}

#[test]
fn log_and_bars_do_not_overwrite_each_other() {
    let (home, s3) = (Home::new(), S3Server::start().unwrap());
    let mut command = slow_load(&home, &s3, "info");
    command.env("NO_COLOR", "1");
    let shown = Shown::run(command, 200);
    assert!(shown.is_success, "{}", shown.last());
    assert!(shown.rows().any(|row| row.contains('█')));
    let mut logged = 0;
    for row in shown.rows().filter(|row| row.contains("INFO")) {
        assert!(row.starts_with("20") && row.matches("INFO").count() == 1, "{row}");
        assert!(!row.contains('█') && !row.contains(" records/s"), "{row}");
        logged += 1;
    }
    assert!(logged > 4, "{}", shown.last());
    let colors = shown.bytes.windows(3).any(|bytes| bytes == b"\x1b[3");
    assert!(!colors, "{}", shown.last());
}

#[test]
fn simple_terminal_gets_plain_text() {
    let home = Home::new();
    home.put("a.jsonl", 0, b"nonsense\n");
    let mut command = home.command(&["--exit"]);
    command.env("TERM", "dumb");
    let shown = Shown::run(command, 80);
    assert!(!shown.is_success && !shown.bytes.contains(&0x1b), "{}", shown.last());
    let mut command = home.command(&["status"]);
    command.env("TERM", "xterm-256color");
    let shown = Shown::run(command, 80);
    let red = b"\x1b[31mfailed";
    assert!(shown.bytes.windows(red.len()).any(|bytes| bytes == red), "{}", shown.last());
}

#[test]
fn summary_of_many_objects_names_those_that_need_attention() {
    let home = Home::new();
    for id in 0..1_000 {
        home.put(&format!("{id:04}.jsonl"), u64::from(id), lines(id + 1..id + 2).as_bytes());
    }
    home.put("0100.jsonl", 100, b"nonsense\n");
    home.put("0200.jsonl", 200, format!("{}nonsense\n", lines(2_000..2_001)).as_bytes());
    let shown = home.command(&["--exit"]).output().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(text.lines().filter(|row| row.contains(".jsonl")).count(), 2, "{text}");
    for words in ["0100.jsonl  ", "0200.jsonl  ", "998 objects are done, without rejected lines"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let totals = text.lines().find(|row| row.starts_with("in all")).unwrap();
    assert!(totals.contains("1,001"), "{text}");
}
