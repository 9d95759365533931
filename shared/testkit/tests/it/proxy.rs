//! The fault-injecting proxy, between plain sockets and in front of Redis.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use jetline_testkit::{
    proxy::{Proxy, Toxic},
    redis::RedisServer,
};

/// The timeout of everything here.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A proxy in front of a server in the test.
struct Scene {
    proxy: Proxy,
    listener: TcpListener,
}

impl Scene {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
        Self { proxy, listener }
    }

    /// Both sides of a connection.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = self.client();
        (client, self.accept())
    }

    fn client(&self) -> TcpStream {
        with_timeout(TcpStream::connect(self.proxy.address()).unwrap())
    }

    fn accept(&self) -> TcpStream {
        with_timeout(self.listener.accept().unwrap().0)
    }

    fn wait_for_faults(&self, faults: u64) {
        let begin = Instant::now();
        while self.proxy.faults() < faults {
            assert!(begin.elapsed() < TIMEOUT, "faults: {}", self.proxy.faults());
            thread::yield_now();
        }
        assert_eq!(self.proxy.faults(), faults);
    }
}

fn with_timeout(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

fn assert_passes(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"word").unwrap();
    assert_receives(to);
}

fn assert_receives(stream: &mut TcpStream) {
    let mut word = [0; 4];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"word");
}

fn assert_has_received_nothing(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
}

fn assert_is_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

fn assert_has_ended(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn without_a_toxic_everything_passes_in_both_directions() {
    let scene = Scene::start();
    let (mut client, mut server) = scene.connect();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut received = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        server.read_to_end(&mut received).unwrap();
    });
    assert!(received == sent);
    // The other direction is still open.
    assert_passes(&mut server, &mut client);
    drop(server);
    assert_has_ended(&mut client);
    assert_eq!((scene.proxy.connections(), scene.proxy.faults()), (1, 0));
}

#[test]
fn reset_affects_open_connections_and_not_new_ones() {
    let scene = Scene::start();
    let mut ends: Vec<_> = (0..3).map(|_| scene.connect()).collect();
    scene.proxy.reset_connections();
    for (client, server) in &mut ends {
        assert_is_reset(client);
        assert_is_reset(server);
    }
    scene.wait_for_faults(3);
    let (mut client, mut server) = scene.connect();
    assert_passes(&mut client, &mut server);
    assert_eq!((scene.proxy.connections(), scene.proxy.faults()), (4, 3));
}

#[test]
fn refuse_resets_open_and_new_connections() {
    let scene = Scene::start();
    let (mut client, mut server) = scene.connect();
    scene.proxy.set(Toxic::Refuse);
    assert_is_reset(&mut client);
    assert_is_reset(&mut server);
    for _ in 0..5 {
        assert_is_reset(&mut scene.client());
    }
    scene.wait_for_faults(6);
    scene.proxy.set(Toxic::None);
    let (mut client, mut server) = scene.connect();
    assert_passes(&mut client, &mut server);
    assert_eq!(scene.proxy.faults(), 6);
}

#[test]
fn stall_holds_both_directions_until_it_ends() {
    let scene = Scene::start();
    let (mut client, mut server) = scene.connect();
    assert_passes(&mut client, &mut server);
    scene.proxy.set(Toxic::Stall);
    client.write_all(b"word").unwrap();
    server.write_all(b"word").unwrap();
    scene.wait_for_faults(2);
    assert_has_received_nothing(&mut client);
    assert_has_received_nothing(&mut server);
    scene.proxy.set(Toxic::None);
    assert_receives(&mut client);
    assert_receives(&mut server);
    assert_eq!(scene.proxy.faults(), 2);
}

#[test]
fn stall_accepts_new_connections_without_forwarding() {
    let scene = Scene::start();
    scene.proxy.set(Toxic::Stall);
    let mut client = scene.client();
    client.write_all(b"word").unwrap();
    scene.wait_for_faults(1);
    scene.listener.set_nonblocking(true).unwrap();
    let error = scene.listener.accept().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    scene.listener.set_nonblocking(false).unwrap();

    scene.proxy.set(Toxic::None);
    let mut server = scene.accept();
    assert_receives(&mut server);
    assert_passes(&mut server, &mut client);
}

#[test]
fn stall_holds_closes_too_and_can_end_in_a_reset() {
    let scene = Scene::start();
    let (client, mut server) = scene.connect();
    let (mut other_client, mut other_server) = scene.connect();
    scene.proxy.set(Toxic::Stall);
    drop(client);
    other_server.write_all(b"word").unwrap();
    scene.wait_for_faults(1);
    assert_has_received_nothing(&mut server);
    scene.proxy.reset_connections();
    assert_is_reset(&mut other_client);
    assert_is_reset(&mut server);
    scene.wait_for_faults(3);
}

#[test]
fn slow_delays_every_block_and_limits_the_bandwidth() {
    let scene = Scene::start();
    let (mut client, mut server) = scene.connect();
    let delay = Duration::from_millis(100);
    scene.proxy.set(Toxic::Slow { delay, bytes_per_second: 100_000 });
    let begin = Instant::now();
    assert_passes(&mut client, &mut server);
    assert_passes(&mut server, &mut client);
    assert!(begin.elapsed() >= 2 * delay, "{:?}", begin.elapsed());
    scene.wait_for_faults(2);

    let begin = Instant::now();
    client.write_all(&vec![7; 40_000]).unwrap();
    let mut received = vec![0; 40_000];
    server.read_exact(&mut received).unwrap();
    // There is no wait after the last write, which has 20 ms worth of bytes.
    let least = delay + Duration::from_millis(400 - 20);
    assert!(begin.elapsed() >= least, "{:?}", begin.elapsed());
    scene.proxy.set(Toxic::None);
    assert_passes(&mut client, &mut server);
}

#[test]
fn reset_by_the_server_reaches_the_client() {
    let scene = Scene::start();
    let (mut client, mut server) = scene.connect();
    assert_passes(&mut client, &mut server);
    // Closing a socket with unread data sends a reset.
    client.write_all(b"word").unwrap();
    server.peek(&mut [0]).unwrap();
    drop(server);
    assert_is_reset(&mut client);
    assert_eq!(scene.proxy.faults(), 0);
}

#[test]
fn unavailable_server_is_a_reset() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = gone.local_addr().unwrap();
    drop(gone);
    let proxy = Proxy::start(address).unwrap();
    let mut client = with_timeout(TcpStream::connect(proxy.address()).unwrap());
    assert_is_reset(&mut client);
    assert_eq!(proxy.faults(), 0);
}

#[test]
fn dropped_proxy_closes_its_connections_and_port() {
    let scene = Scene::start();
    let (mut client, mut server) = scene.connect();
    let address = scene.proxy.address();
    drop(scene.proxy);
    assert_has_ended(&mut client);
    assert_has_ended(&mut server);
    let error = TcpStream::connect(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn asynchronous_test_can_start_and_drop_it() {
    let scene = Scene::start();
    let (mut client, mut server) = scene.connect();
    assert_passes(&mut client, &mut server);
    drop(scene);
    assert_has_ended(&mut client);
}

#[test]
fn redis_is_available_through_it_until_it_is_dropped() {
    let redis = RedisServer::start().unwrap();
    let mut url = redis.url();
    let target = SocketAddr::from(([127, 0, 0, 1], url.port().unwrap()));
    let proxy = Proxy::start(target).unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_connection().unwrap();
    let ping = redis::cmd("PING");
    ping.exec(&mut connection).unwrap();

    proxy.reset_connections();
    ping.exec(&mut connection).unwrap_err();
    ping.exec(&mut client.get_connection().unwrap()).unwrap();
    proxy.set(Toxic::Refuse);
    assert!(client.get_connection().is_err());
    assert!(redis.connection().is_ok());
    assert!(proxy.faults() >= 2);
}
