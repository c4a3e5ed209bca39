//! x
use std::net::SocketAddr;
use crate::frames::{Checksum, Frame};
use crate::program::{SERVER, Tested, serving};

#[test]
fn smoke() {
    let Some(mut tested) = Tested::new() else { return };
    tested.publish(&serving(&[]));
    for (client, server) in ["198.51.100.7:40000", "[2001:db8:9::7]:40000"].iter().zip(SERVER) {
        let (client, server): (SocketAddr, SocketAddr) = (client.parse().unwrap(), server.parse().unwrap());
        let mut request = [0; 48];
        request[0] = 0x23;
        request[40..].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        for checksum in [Checksum::Right, Checksum::Partial] {
            let frame = Frame { checksum, ..Frame::new(client, server, &request) };
            let reply = tested.reply(&frame);
            println!("{reply:02x?}");
            println!("{:?}", tested.program.counters().read().unwrap());
            assert!(reply.is_some());
        }
    }
}
