//! The program.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

use jetline_api::auth::Users;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetline-api"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn sigterm_shuts_the_service_down() {
    let mut service = program()
        .env("DATABASE_URL", "postgres://127.0.0.1:1/unavailable")
        .args(["--listen", "127.0.0.1:0"])
        .spawn()
        .unwrap();
    let mut log = BufReader::new(service.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("api listening") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
    }
    let address = line.trim().rsplit_once("address=").unwrap().1;
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = [0; 15];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");

    let kill = Command::new("kill").arg(service.id().to_string()).status();
    assert!(kill.unwrap().success());
    // Its log has to be read on, or its pipe would break.
    log.read_to_string(&mut line).unwrap();
    assert!(service.wait().unwrap().success(), "{line}");
}

#[test]
fn service_without_a_database_names_the_variable() {
    let output = program().output().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("DATABASE_URL is not set"), "{error}");
}

#[test]
fn help_does_not_show_what_is_set() {
    let url = "postgres://ann:hunter2@db/x";
    let output = program()
        .env("DATABASE_URL", url)
        .env("DATABASE_READ_URL", url)
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("--database-read-url"), "{help}");
    assert!(!help.contains("hunter2"), "{help}");
}

#[test]
fn hashed_password_is_a_line_of_the_users_file() {
    let mut hashing =
        program().args(["hash-password", "ann"]).stdin(Stdio::piped()).spawn().unwrap();
    hashing.stdin.take().unwrap().write_all(b"hunter2\n").unwrap();
    let output = hashing.wait_with_output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(line.starts_with("ann:$argon2id$"), "{line}");
    assert!(Users::parse(&line).is_ok(), "{line}");
}

#[tokio::test]
async fn key_is_created_listed_and_revoked_by_command() {
    let base = crate::fixtures::TestApi::sqlite().await;
    let keys = |arguments: &[&str]| {
        let mut command = program();
        command.env("DATABASE_URL", base.url()).arg("keys").args(arguments);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (created, key) = keys(&["create", "shop", "--role", "write", "--of", "orders,customers"]);
    assert!(created && key.starts_with("jetline_") && key.trim().len() == 51, "{key}");
    let (_, listed) = keys(&["list"]);
    assert!(listed.starts_with("shop  write  customers,orders  20"), "{listed}");
    let (created, error) = keys(&["create", "other", "--of", "a b"]);
    assert!(!created && error.contains("\"a b\" cannot be the name of a dataset"), "{error}");
    assert_eq!(keys(&["revoke", "shop"]), (true, "shop is revoked.\n".to_owned()));
    assert!(!keys(&["revoke", "shop"]).0);
}
