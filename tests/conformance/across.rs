//! All tiers give the same octets for the same request and state, but for the two stamps.

use crate::header::frozen;
use crate::packets::{extension, followed_by, request};
use crate::tier::{IoUring, Memory, Mmsg, Tier, Xdp, XdpNative};

/// All replies to each request, without the stamps, and how many of them the network driver sent.
fn replies<T: Tier>(requests: &[Vec<u8>]) -> Option<(Vec<Vec<Vec<u8>>>, u64)> {
    let mut tier = T::start(frozen)?;
    let mut replies: Vec<_> = requests.iter().map(|request| tier.exchange(request)).collect();
    for reply in replies.iter_mut().flatten() {
        reply[32..48].fill(0);
    }
    Some((replies, tier.in_driver()))
}

#[test]
fn o8_every_tier_gives_the_same_octets() {
    let mut requests: Vec<_> = (0..=255)
        .map(|first| {
            let mut request = request(0, 0, u64::from(first) * 0x0101_0101_0101_0101);
            request[..4].fill(first);
            request
        })
        .collect();
    requests.push(followed_by(4, &extension(0xF323, 28)));
    requests.push(followed_by(4, &[1; 20]));
    requests.push(followed_by(4, &[1; 2]));

    let (reference, _) = replies::<Memory>(&requests).unwrap();
    assert_eq!(
        reference.iter().flatten().count(),
        4 * 4 + 4 + 1,
        "versions 1 to 4, any leap bits, and mode 0 of version 1"
    );
    // All that have a mode and nothing after the header are the driver's, where there is one.
    let others = [
        ("mmsg", replies::<Mmsg>(&requests), 0),
        ("io_uring", replies::<IoUring>(&requests), 0),
        ("xdp generic", replies::<Xdp>(&requests), 4 * 4),
        ("xdp native", replies::<XdpNative>(&requests), 4 * 4),
    ];
    for (name, other, in_driver) in others {
        // What cannot run has said so.
        let Some((other, answered_there)) = other else { continue };
        for ((request, reference), other) in requests.iter().zip(&reference).zip(&other) {
            assert_eq!(reference, other, "{name} differs for {request:02x?}");
        }
        assert_eq!(answered_there, in_driver, "{name}");
    }
}
