//! `--metrics`: Prometheus text over HTTP, each connection on a thread of its own for a short while.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::status::Status;

/// A scraper that takes longer than this, all in all, is hung up on.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest request head that is read, in bytes.
const REQUEST_HEAD_MAX: usize = 8192;

/// Connections at a time; more are hung up on, so that idle ones cannot make a scraper wait.
const CONNECTIONS: usize = 16;

/// Opens the listener.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot serve metrics on {address}: {error}: use another --metrics ADDR:PORT"),
        )
    })
}

/// Answers scrapers until the process ends.
pub(super) fn serve(listener: TcpListener, status: Status) -> io::Result<()> {
    let open = Arc::new(());
    let accept_all = move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors: asking again at once would only burn a core.
                thread::sleep(PATIENCE / 10);
                continue;
            };
            let (mut status, ticket) = (status.clone(), Arc::clone(&open));
            if Arc::strong_count(&ticket) > CONNECTIONS + 1 {
                continue;
            }
            // A scraper that goes away, or a thread that cannot be had, is the scraper's problem, and the
            // next one is unaffected.
            let _ = thread::Builder::new().name("scrape".to_owned()).spawn(move || {
                let _ = answer(stream, &mut status);
                drop(ticket);
            });
        }
    };
    thread::Builder::new().name("metrics".to_owned()).spawn(accept_all).map(drop)
}

fn answer(mut stream: TcpStream, status: &mut Status) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(&mut stream, deadline)?;
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let (code, body) = match (head.starts_with("GET "), path) {
        (true, "/metrics" | "/") => ("200 OK", status.prometheus()),
        (true, _) => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
        (false, _) => ("405 Method Not Allowed", String::new()),
    };
    // In one piece, which fits the socket's buffer: a scraper that reads slowly keeps nobody.
    let reply = format!(
        "HTTP/1.1 {code}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes())
}

fn read_head(stream: &mut TcpStream, deadline: Instant) -> io::Result<String> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
        let length = stream.read(&mut chunk)?;
        if length == 0 || head.len() + length > REQUEST_HEAD_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&chunk[..length]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::following::Following;
    use super::*;
    use crate::server::ServingState;
    use crate::snapshot::Publisher;

    /// What a scraper gets.
    fn scrape(address: SocketAddr, target: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(5 * PATIENCE)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\n\r\n").unwrap();
        let mut reply = String::new();
        // A connection that is hung up on may be reset.
        let _ = stream.read_to_string(&mut reply);
        reply
    }

    #[test]
    fn idle_and_dripping_connections_keep_no_scraper_waiting() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let published = Publisher::new(ServingState::default()).subscribe();
        let following = Publisher::new(Following::default()).subscribe();
        let status = Status {
            tier: "none",
            cores: Vec::new(),
            counters: Vec::new(),
            published,
            following,
            control: std::sync::Arc::default(),
            xdp: None,
        };
        serve(listener, status).unwrap();

        let mut dripping = TcpStream::connect(address).unwrap();
        let idle: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        let start = Instant::now();
        while start.elapsed() < PATIENCE + PATIENCE / 2 {
            let _ = dripping.write(b"G");
            thread::sleep(PATIENCE / 10);
        }
        assert!(scrape(address, "/metrics?x=1").starts_with("HTTP/1.1 200"));
        assert!(start.elapsed() < 2 * PATIENCE, "the scraper waited: {:?}", start.elapsed());
        let closed = dripping.set_read_timeout(Some(PATIENCE)).and_then(|()| dripping.read(&mut [0]));
        assert!(!matches!(&closed, Err(error) if error.kind() == io::ErrorKind::WouldBlock), "{closed:?}");
        drop(idle);
    }
}
