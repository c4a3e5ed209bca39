//! `--metrics`: Prometheus text over HTTP, from a thread of its own, one connection at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::status::Status;

/// A scraper that is slower than this is hung up on.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest request head that is read, in bytes.
const REQUEST_HEAD_MAX: usize = 8192;

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
pub(super) fn serve(listener: TcpListener, mut status: Status) -> io::Result<()> {
    let answer_all = move || {
        for stream in listener.incoming().flatten() {
            // A scraper that goes away is its own problem, and the next one is unaffected.
            let _ = answer(stream, &mut status);
        }
    };
    thread::Builder::new().name("metrics".to_owned()).spawn(answer_all).map(drop)
}

fn answer(mut stream: TcpStream, status: &mut Status) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(&mut stream)?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (code, body) = match (head.starts_with("GET "), path) {
        (true, "/metrics" | "/") => ("200 OK", status.prometheus()),
        (true, _) => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
        (false, _) => ("405 Method Not Allowed", String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {code}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let length = stream.read(&mut chunk)?;
        if length == 0 || head.len() + length > REQUEST_HEAD_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&chunk[..length]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
