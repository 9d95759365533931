//! The S3 endpoint that goes away and comes back.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use jetline_testkit::s3::S3Server;

/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// The status of an answer to a request without a signature, which is enough to see who answers.
fn ask(connection: &mut TcpStream) -> String {
    connection
        .write_all(b"GET /shop/a HTTP/1.1\r\nHost: s3\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

#[test]
fn endpoint_that_was_stopped_refuses_breaks_connections_and_comes_back_where_it_was() {
    let mut server = S3Server::start().unwrap();
    let endpoint = server.endpoint();
    let address: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    server.put("shop", "a", "content");
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(ask(&mut connection), "HTTP/1.1 403");

    server.stop();
    // What is left of the answer, and then the end.
    connection.read_to_end(&mut Vec::new()).unwrap();
    assert!(TcpStream::connect(address).is_err());

    server.start_again().unwrap();
    assert_eq!(server.endpoint(), endpoint);
    assert_eq!(
        ask(&mut TcpStream::connect(address).unwrap()),
        "HTTP/1.1 403"
    );
    assert!(server.start_again().is_err());
}
