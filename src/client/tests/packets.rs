//! Requests, and what counts as their reply.

use super::*;
use crate::client::exchange::Flaw;
use crate::snapshot::Authentication;

#[test]
fn c1_requests_are_zero_but_for_version_poll_and_a_random_cookie() {
    for version in 1..=4 {
        let options = SourceOptions { version, ..iburst() };
        let mut bench = Bench::new(Settings { sources: vec![source(1, options)], ..Settings::default() });
        let mut cookies = Vec::new();
        for _ in 0..20 {
            let request = bench.next_request();
            let packet = Packet::new_checked(&request.bytes[..]).unwrap();
            assert_eq!(
                (packet.leap(), packet.version(), packet.mode()),
                (LeapIndicator::None, version, Mode::Client)
            );
            assert!((6..=10).contains(&packet.poll()));
            let mut rest = request.bytes;
            rest[0] = 0;
            rest[2] = 0;
            rest[40..].fill(0);
            assert_eq!(rest, [0; HEADER_LEN], "nothing of ours is told");
            cookies.push(packet.transmit().to_bits());
            bench.answer(&request, &Answer { version: Some(version), ..Answer::default() });
        }
        cookies.sort_unstable();
        cookies.dedup();
        assert_eq!(cookies.len(), 20);
        assert!(!cookies.contains(&0));
        // None is a time: they are spread over the whole era.
        assert!(
            cookies.iter().any(|cookie| cookie >> 63 == 0) && cookies.iter().any(|cookie| cookie >> 63 == 1)
        );
    }
}

#[test]
fn c3_only_the_address_that_was_asked_may_answer() {
    let mut bench = client_of(1);
    let request = bench.next_request();
    let bytes = bench.reply(&request, &Answer::default());
    let sent = bench.now.realtime;
    for stranger in ["192.0.2.2:123", "192.0.2.1:124", "[2001:db8::1]:123"] {
        bench.deliver(&request, &bytes, stranger.parse().unwrap(), sent, None);
        assert_eq!(bench.view(0).reach, 0, "{stranger}");
    }
    assert_eq!(bench.client.refused().0[Flaw::Stranger.index()], 3);
    // An IPv4 address as an IPv6 socket has it is the same address.
    bench.deliver(&request, &bytes, "[::ffff:192.0.2.1]:123".parse().unwrap(), sent, None);
    assert_eq!(bench.view(0).reach, 1);
    let unknown = Request { association: AssociationId(4711), ..request };
    bench.deliver(&unknown, &bytes, request.to, sent, None);
}

#[test]
fn c4_a_reply_with_another_origin_is_bogus_and_the_true_one_still_counts() {
    let mut bench = client_of(1);
    let request = bench.next_request();
    let cookie = Packet::new_checked(&request.bytes[..]).unwrap().transmit();
    for origin in [NtpTimestamp::UNKNOWN, cookie.offset_by(1), NtpTimestamp::from_bits(u64::MAX)] {
        bench.answer(&request, &Answer { origin: Some(origin), ..Answer::default() });
        assert_eq!((bench.view(0).reach, bench.view(0).flash), (0, 2), "{origin:?}");
    }
    assert_eq!(bench.client.refused().0[Flaw::Bogus.index()], 3);
    bench.answer(&request, &Answer::default());
    assert_eq!((bench.view(0).reach, bench.view(0).flash), (1, 0));
}

#[test]
fn c4_before_the_first_request_and_after_a_reply_a_zero_origin_opens_nothing() {
    let settings = Settings { sources: vec![source(1, iburst())], ..Settings::default() };
    let mut bench = Bench::new(settings);
    let zero = Answer { origin: Some(NtpTimestamp::UNKNOWN), ..Answer::default() };
    let request = Request {
        association: AssociationId(1),
        to: SocketAddr::new(address(1), 123),
        key: None,
        bytes: [0; HEADER_LEN],
    };
    bench.answer(&request, &zero);
    assert_eq!((bench.view(0).reach, bench.refused()), (0, 1));
    let request = bench.next_request();
    bench.answer(&request, &Answer::default());
    bench.answer(&request, &zero);
    assert_eq!((bench.view(0).flash, bench.refused()), (1, 2));
}

#[test]
fn c5_the_same_reply_twice_is_a_duplicate_even_much_later() {
    let mut bench = client_of(1);
    let request = bench.next_request();
    let bytes = bench.reply(&request, &Answer::default());
    let sent = bench.now.realtime;
    bench.deliver(&request, &bytes, request.to, sent, None);
    let (first, packets) = (bench.view(0), bench.requests.len());
    bench.deliver(&request, &bytes, request.to, sent, None);
    assert_eq!((bench.view(0).flash, bench.view(0).filter), (1, first.filter));
    let request = bench.next_request();
    bench.deliver(&request, &bytes, request.to, sent, None);
    assert_eq!(bench.view(0).flash, 2, "to another request it is bogus");
    assert_eq!(bench.view(0).received, first.received);
    assert_eq!(bench.requests.len(), packets + 1, "no packet is sent for it");
}

#[test]
fn c4_a_late_reply_is_bogus_and_does_not_end_the_exchange_under_way() {
    let mut bench = client_of(1);
    let (first, sent) = (bench.next_request(), bench.now.realtime);
    let late = bench.reply(&first, &Answer::default());
    let second = bench.next_request();
    bench.deliver(&first, &late, first.to, sent, None);
    assert_eq!((bench.view(0).reach, bench.view(0).flash), (0, 2));
    bench.answer(&second, &Answer::default());
    assert_eq!((bench.view(0).reach, bench.view(0).flash), (1, 0));
}

#[test]
fn c17_a_reply_that_took_half_a_minute_is_no_reason_to_move_the_clock() {
    let sources = vec![source(1, SourceOptions::default())];
    let mut bench = Bench::new(Settings { sources, ..Settings::default() });
    let request = bench.next_request();
    bench.answer(&request, &Answer { offset: 9.0, delay: 30.0, ..Answer::default() });
    assert_eq!((bench.view(0).reach, bench.steps()), (1, 0));
    assert_eq!(bench.client.system().leap, LeapIndicator::Unsynchronised, "15 s is beyond maxdist");
    bench.serve(200.0, |_| Some(Answer::default()));
    assert_eq!((bench.client.system().leap, bench.steps()), (LeapIndicator::None, 0));
}

#[test]
fn c6_a_reply_without_times_says_nothing() {
    for answer in [
        Answer { receive: Some(NtpTimestamp::UNKNOWN), ..Answer::default() },
        Answer { transmit: Some(NtpTimestamp::UNKNOWN), ..Answer::default() },
    ] {
        let mut bench = client_of(1);
        let request = bench.next_request();
        bench.answer(&request, &answer);
        assert_eq!((bench.view(0).reach, bench.view(0).flash), (0, 4), "{answer:?}");
        bench.answer(&request, &Answer::default());
        assert_eq!(bench.view(0).flash, 1, "the server has answered");
    }
}

#[test]
fn c6_a_server_whose_time_runs_backwards_says_nothing() {
    let mut bench = client_of(1);
    let request = bench.next_request();
    let later = bench.now.realtime.offset_by(1 << 32);
    bench.answer(&request, &Answer { receive: Some(later), ..Answer::default() });
    assert_eq!((bench.view(0).reach, bench.view(0).flash), (0, 4));
}

#[test]
fn c7_an_unsynchronised_server_is_shown_and_not_followed() {
    for answer in [
        Answer { leap: LeapIndicator::Unsynchronised, ..Answer::default() },
        Answer { stratum: 0, reference_id: ReferenceId::INIT, ..Answer::default() },
        Answer { stratum: 16, ..Answer::default() },
        Answer { stratum: 255, ..Answer::default() },
    ] {
        let mut bench = client_of(1);
        let request = bench.next_request();
        bench.answer(&request, &answer);
        let view = bench.view(0);
        assert_eq!((view.reach, view.flash), (0, 0x20), "{answer:?}");
        assert_eq!(view.reference_id, answer.reference_id);
        assert_eq!(bench.client.system().leap, LeapIndicator::Unsynchronised);
    }
}

#[test]
fn c8_a_root_distance_of_sixteen_seconds_or_a_reference_in_the_future_is_refused() {
    for answer in [
        Answer { root_dispersion: 16.0, ..Answer::default() },
        Answer { root_delay: 30.0, root_dispersion: 1.0, ..Answer::default() },
        Answer { reference_age: -1.0, ..Answer::default() },
    ] {
        let mut bench = client_of(1);
        let request = bench.next_request();
        bench.answer(&request, &answer);
        assert_eq!((bench.view(0).reach, bench.view(0).flash), (0, 0x40), "{answer:?}");
    }
}

#[test]
fn c9_rate_slows_down_for_good_and_ends_the_burst() {
    let mut bench = client_of(1);
    let request = bench.next_request();
    bench.answer(&request, &Answer::default());
    let request = bench.next_request();
    let kiss = Answer {
        stratum: 0,
        leap: LeapIndicator::Unsynchronised,
        reference_id: code(b"RATE"),
        poll: Some(8),
        ..Answer::default()
    };
    bench.answer(&request, &kiss);
    assert!(bench.view(0).host_poll >= 8);
    let (before, at) = (bench.requests.len(), bench.now.monotonic);
    let request = bench.next_request();
    assert!((bench.now.monotonic - at).as_secs() >= 255 && bench.requests.len() == before + 1);
    // A second one never makes it faster, whatever poll it carries.
    bench.answer(&request, &Answer { poll: Some(-128), ..kiss.clone() });
    assert_eq!(bench.view(0).host_poll, 9);
    let request = bench.next_request();
    bench.answer(&request, &Answer { poll: Some(100), ..kiss });
    assert_eq!(bench.view(0).host_poll, 10);
    assert!(matches!(bench.notices()[..], [.., Notice::RateExceeded(_, 10)]));
}

#[test]
fn c9_deny_and_rstr_end_it() {
    for kiss in [b"DENY", b"RSTR"] {
        let mut bench = client_of(1);
        let request = bench.next_request();
        bench.answer(&request, &Answer { stratum: 0, reference_id: code(kiss), ..Answer::default() });
        assert!(bench.actions.contains(&Action::Close(request.association)));
        let before = bench.requests.len();
        bench.wait(100_000.0);
        assert_eq!(bench.requests.len(), before, "never asked again");
        assert_eq!(bench.view(0).reference_id, code(kiss));
    }
}

#[test]
fn c9_a_kiss_that_answers_no_request_of_ours_is_ignored() {
    let mut bench = client_of(1);
    let request = bench.next_request();
    let bogus = Answer {
        stratum: 0,
        reference_id: code(b"DENY"),
        origin: Some(NtpTimestamp::from_bits(5)),
        ..Answer::default()
    };
    bench.answer(&request, &bogus);
    bench.answer(&request, &Answer::default());
    assert_eq!(bench.view(0).reach, 1);
}

#[test]
fn c10_unknown_kisses_are_no_orders_and_no_time() {
    for kiss in [b"XFOO", b"STEP", b"NTSN", b"ACST"] {
        let mut bench = client_of(1);
        let request = bench.next_request();
        bench.answer(
            &request,
            &Answer { stratum: 0, offset: 5.0, reference_id: code(kiss), ..Answer::default() },
        );
        assert_eq!((bench.view(0).reach, bench.steps()), (0, 0));
        let request = bench.next_request();
        bench.answer(&request, &Answer::default());
        assert_eq!(bench.view(0).reach, 1, "asked again all the same");
    }
}

fn code(text: &[u8; 4]) -> ReferenceId {
    ReferenceId::from_octets(*text)
}

#[test]
fn c11_offset_and_delay_are_those_of_the_four_stamps() {
    for (offset, delay) in [(0.01, 0.02), (-0.05, 0.3), (0.0, 0.001)] {
        let mut bench = client_of(1);
        let request = bench.next_request();
        bench.answer(&request, &Answer { offset, delay, ..Answer::default() });
        let sample = bench.view(0).filter[0];
        assert!((sample.offset - offset).abs() < 1e-6 && (sample.delay - delay).abs() < 1e-6, "{sample:?}");
    }
}

#[test]
fn c11_a_delay_is_never_less_than_what_the_clock_can_tell_apart() {
    let mut bench = client_of(1);
    let request = bench.next_request();
    // The server held the packet longer than the whole round trip took.
    let (early, late) = (bench.now.realtime, bench.now.realtime.offset_by(units(0.01)));
    bench.answer(
        &request,
        &Answer { receive: Some(early), transmit: Some(late), delay: 0.001, ..Answer::default() },
    );
    assert!(bench.view(0).filter[0].delay > 0.0);
}

#[test]
fn c12_the_error_bound_has_both_precisions_and_grows_at_phi() {
    let mut bench = client_of(1);
    let request = bench.next_request();
    bench.answer(&request, &Answer { delay: 0.1, ..Answer::default() });
    let precisions = 2.0 * (-24_f64).exp2();
    let fresh = bench.view(0).filter[0].dispersion;
    assert!((fresh - precisions - 15e-6 * 0.1).abs() < 1e-9, "{fresh}");
    bench.wait(1.5);
    let grown = bench.view(0).filter[0].dispersion;
    assert!((grown - fresh - 15e-6 * 1.5).abs() < 1e-8, "{grown}");
}

#[test]
fn c13_reach_is_shifted_once_per_poll_and_a_burst_is_one() {
    let mut bench = client_of(1);
    let mut seen = vec![bench.view(0).reach];
    bench.serve(64.0 * 10.0, |_| Some(Answer::default()));
    assert!(bench.requests.len() >= 6 + 6);
    let reach = bench.view(0).reach;
    assert!(reach > 0x3F && reach.leading_ones() + reach.leading_zeros() >= 8, "{reach:o}");
    // Nobody answers: a zero comes in with every poll.
    while bench.view(0).reach != 0 {
        bench.next_request();
        seen.push(bench.view(0).reach);
        assert!(seen.len() < 20);
    }
    assert_eq!(bench.view(0).unreach, 7);
    assert!(bench.notices().contains(&&Notice::Unreachable(SocketAddr::new(address(1), 123))));
}

#[test]
fn c13_reach_stays_one_through_the_burst() {
    let mut bench = client_of(1);
    for packet in 1..=6 {
        let request = bench.next_request();
        bench.answer(&request, &Answer::default());
        assert_eq!(bench.view(0).reach, 1, "packet {packet}");
    }
    let request = bench.next_request();
    bench.answer(&request, &Answer::default());
    assert_eq!(bench.view(0).reach, 3);
}

#[test]
fn c14_iburst_is_six_packets_two_seconds_apart_once_the_first_was_answered() {
    let mut bench = client_of(1);
    bench.serve(60.0, |_| Some(Answer::default()));
    let times: Vec<f64> = bench.requests.iter().map(|(at, _)| at.as_secs_f64()).collect();
    assert_eq!(times.len(), 6);
    assert!(times.windows(2).all(|pair| (2.0..2.1).contains(&(pair[1] - pair[0]))), "{times:?}");
    bench.serve(200.0, |_| Some(Answer::default()));
    let times: Vec<f64> = bench.requests.iter().map(|(at, _)| at.as_secs_f64()).collect();
    assert!(times[5..].windows(2).all(|pair| pair[1] - pair[0] >= 64.0), "{times:?}");
}

#[test]
fn c14_iburst_waits_for_the_first_reply_and_asks_for_it_ever_less_often() {
    let mut bench = client_of(1);
    bench.wait(100.0);
    let times: Vec<f64> = bench.requests.iter().map(|(at, _)| at.as_secs_f64()).collect();
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let doubled: Vec<f64> = gaps.iter().map(|gap| gap.log2().round().exp2()).collect();
    assert_eq!(doubled, [2.0, 4.0, 8.0, 16.0, 32.0], "{gaps:?}");
    // The first reply lets the others follow.
    let answered = bench.requests.len();
    bench.serve(200.0, |_| Some(Answer::default()));
    let burst = &bench.requests[answered..];
    let spaced = burst.windows(2).filter(|pair| (pair[1].0 - pair[0].0).as_secs_f64() < 2.1).count();
    assert_eq!(spaced, 5, "{:?}", burst.iter().map(|(at, _)| at).collect::<Vec<_>>());
}

#[test]
fn c14_a_lost_first_packet_costs_two_seconds() {
    let mut bench = client_of(1);
    let asked = std::cell::Cell::new(0);
    bench.serve(13.0, |_| (asked.replace(asked.get() + 1) > 0).then(Answer::default));
    let times: Vec<f64> = bench.requests.iter().map(|(at, _)| at.as_secs_f64()).collect();
    assert!(times.len() >= 6 && times[1] - times[0] < 2.1 && times[2] - times[1] < 2.1, "{times:?}");
    assert_eq!(bench.view(0).reach, 1);
}

#[test]
fn c14_without_iburst_there_is_no_burst() {
    let sources = vec![source(1, SourceOptions::default())];
    let mut bench = Bench::new(Settings { sources, ..Settings::default() });
    bench.serve(60.0, |_| Some(Answer::default()));
    assert_eq!(bench.requests.len(), 1);
}

#[test]
fn c15_the_poll_interval_keeps_to_its_bounds_and_backs_off_when_nobody_answers() {
    let options = SourceOptions { minpoll: 3, maxpoll: 5, ..SourceOptions::default() };
    let mut bench = Bench::new(Settings { sources: vec![source(1, options)], ..Settings::default() });
    bench.serve(2000.0, |_| Some(Answer::default()));
    let gaps = |bench: &Bench| -> Vec<f64> {
        bench.requests.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64()).collect()
    };
    assert!(gaps(&bench).iter().all(|gap| (8.0..=33.0).contains(gap)), "{:?}", gaps(&bench));
    let mut bench = client_of(1);
    bench.wait(50_000.0);
    let gaps = gaps(&bench);
    assert!(gaps.windows(2).all(|pair| pair[1] > pair[0] * 0.9), "ever longer: {gaps:?}");
    assert!(gaps[0] >= 2.0 && *gaps.last().unwrap() > 1000.0);
}

#[test]
fn c15_a_server_that_asks_for_shorter_intervals_gets_none_below_minpoll() {
    let mut bench = client_of(1);
    bench.serve(3000.0, |_| Some(Answer { poll: Some(1), ..Answer::default() }));
    let gaps: Vec<_> = bench.requests[5..].windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect();
    assert!(gaps.iter().all(|gap| *gap >= 64), "{gaps:?}");
}

#[test]
fn replies_without_the_association_s_key_are_refused() {
    let sources = vec![source(1, SourceOptions { key: Some(7), ..iburst() })];
    let mut bench = Bench::new(Settings { sources, ..Settings::default() });
    let request = bench.next_request();
    assert_eq!(request.key, Some(7));
    for authentic in [None, Some(8)] {
        bench.answer(&request, &Answer { authentic, ..Answer::default() });
        let view = bench.view(0);
        assert_eq!((view.reach, view.flash, view.authentication), (0, 0x10, Authentication::Bad));
    }
    bench.answer(&request, &Answer { authentic: Some(7), ..Answer::default() });
    assert_eq!((bench.view(0).reach, bench.view(0).authentication), (1, Authentication::Good));
}

#[test]
fn replies_of_another_mode_version_or_length_are_refused() {
    let mut bench = client_of(1);
    let request = bench.next_request();
    for answer in [
        Answer { mode: Mode::Client, ..Answer::default() },
        Answer { mode: Mode::SymmetricPassive, ..Answer::default() },
        Answer { mode: Mode::Broadcast, ..Answer::default() },
        Answer { version: Some(3), ..Answer::default() },
    ] {
        bench.answer(&request, &answer);
        assert_eq!((bench.view(0).reach, bench.view(0).flash), (0, 4), "{answer:?}");
    }
    let bytes = bench.reply(&request, &Answer::default());
    let sent = bench.now.realtime;
    for length in 0..HEADER_LEN {
        bench.deliver(&request, &bytes[..length], request.to, sent, None);
    }
    assert_eq!(bench.view(0).reach, 0);
}

#[test]
fn no_bytes_whatever_end_the_client() {
    let mut bench = client_of(2);
    let request = bench.next_request();
    let mut state = 1_u64;
    for round in 0..20_000_usize {
        let mut bytes = bench.reply(&request, &Answer::default()).to_vec();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round as u64 | 1);
        bytes.resize(round % 120, state as u8);
        for (at, byte) in bytes.iter_mut().enumerate().filter(|(at, _)| !(24..32).contains(at)) {
            if (state >> (at % 48)) & 3 == 0 {
                *byte ^= (state >> 17) as u8;
            }
        }
        let stamp = NtpTimestamp::from_bits(state.rotate_left(13));
        bench.deliver(
            &request,
            &bytes,
            request.to,
            if round % 3 == 0 { stamp } else { bench.now.realtime },
            None,
        );
        if round % 50 == 0 {
            bench.wait(3.0);
        }
    }
    assert!(bench.client.associations().len() == 2);
}
