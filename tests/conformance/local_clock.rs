//! The machine's own clock as the source: `server 127.127.1.0` and its `fudge`.

use ntpring::server::ServingState;
use ntpring::snapshot::{LocalClock, SystemVariables};
use ntpring::wire::{Precision, ReferenceId};

use crate::packets::{Reply, between, plain};
use crate::tier::{Tier, local_clock, synchronised};

fn served<T: Tier>(clock: LocalClock) -> Option<Reply> {
    let system = |now| SystemVariables::local_clock(clock, Precision::from_log2(-22), now);
    Some(T::start(|now| ServingState { system: system(now), ..synchronised(now) })?.reply(&plain(1)))
}

pub(crate) fn s9_stratum_is_one_more_than_the_sources<T: Tier>() {
    for stratum in 0..=14 {
        let state = |now| ServingState { system: local_clock(stratum, now), ..synchronised(now) };
        let Some(mut tier) = T::start(state) else { return };
        let reply = tier.reply(&plain(1));
        assert_eq!((reply.leap, reply.stratum), (0, stratum + 1));
    }
    for stratum in [15, 16, 255] {
        let state = |now| ServingState { system: local_clock(stratum, now), ..synchronised(now) };
        let Some(mut tier) = T::start(state) else { return };
        let reply = tier.reply(&plain(1));
        assert_eq!((reply.leap, reply.stratum), (3, 0), "a source of stratum {stratum} is none");
    }
}

pub(crate) fn c22_what_the_local_clock_is_served_as<T: Tier>() {
    let default = LocalClock::default();
    assert_eq!((default.stratum, default.reference_id), (5, ReferenceId::LOCAL));

    let fudged = |stratum| LocalClock { stratum, ..default };
    let rows = [
        (default, 6, [127, 127, 1, 0]),
        (fudged(3), 4, [127, 127, 1, 0]),
        (fudged(10), 11, [127, 127, 1, 0]),
        (LocalClock { unit: 2, ..fudged(10) }, 11, [127, 127, 1, 2]),
        (fudged(0), 1, *b"LOCL"),
        (LocalClock { reference_id: ReferenceId::from_code("GPS").unwrap(), ..fudged(0) }, 1, *b"GPS\0"),
    ];
    for (clock, stratum, reference_id) in rows {
        let Some(reply) = served::<T>(clock) else { return };
        assert_eq!((reply.leap, reply.stratum, reply.reference_id), (0, stratum, reference_id), "{clock:?}");
        assert_eq!(reply.root_delay, 0);
        // It is right by definition, and that is young: ntpdate refuses a reference older than a day.
        assert!((0..60 << 32).contains(&between(reply.reference, reply.receive)), "{reply:?}");
        assert!(reply.root_dispersion < 1 << 16, "{reply:?}");
    }
}
