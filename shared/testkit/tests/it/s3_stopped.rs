//! Stopping and starting the S3 endpoint.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use jetline_testkit::s3::S3Server;

/// The timeout of reads.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The status line of the response to an unsigned request, which is enough to detect the endpoint.
fn ask(connection: &mut TcpStream) -> String {
    connection.write_all(b"GET /shop/a HTTP/1.1\r\nHost: s3\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

#[test]
fn stopped_endpoint_closes_connections_and_starts_again_on_its_port() {
    let mut server = S3Server::start().unwrap();
    let endpoint = server.endpoint();
    let address: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    server.put("shop", "a", "content");
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(ask(&mut connection), "HTTP/1.1 403");

    server.stop();
    // The rest of the response, and then the end.
    connection.read_to_end(&mut Vec::new()).unwrap();
    assert!(TcpStream::connect(address).is_err());

    server.start_again().unwrap();
    assert_eq!(server.endpoint(), endpoint);
    assert_eq!(ask(&mut TcpStream::connect(address).unwrap()), "HTTP/1.1 403");
    assert!(server.start_again().is_err());
}
