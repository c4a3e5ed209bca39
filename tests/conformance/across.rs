//! All tiers give the same octets for the same request and state, but for the two stamps.

use crate::header::frozen;
use crate::packets::{extension, followed_by, request};
use crate::tier::{IoUring, Memory, Mmsg, Tier};

fn replies<T: Tier>(requests: &[Vec<u8>]) -> Option<Vec<Vec<Vec<u8>>>> {
    let mut tier = T::start(frozen)?;
    let mut replies: Vec<_> = requests.iter().map(|request| tier.exchange(request)).collect();
    for reply in replies.iter_mut().flatten() {
        reply[32..48].fill(0);
    }
    Some(replies)
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

    let reference = replies::<Memory>(&requests).unwrap();
    assert_eq!(
        reference.iter().flatten().count(),
        4 * 4 + 4 + 1,
        "versions 1 to 4, any leap bits, and mode 0 of version 1"
    );
    for (name, other) in [("mmsg", replies::<Mmsg>(&requests)), ("io_uring", replies::<IoUring>(&requests))] {
        // What cannot run has said so.
        let Some(other) = other else { continue };
        for ((request, reference), other) in requests.iter().zip(&reference).zip(&other) {
            assert_eq!(reference, other, "{name} differs for {request:02x?}");
        }
    }
}
