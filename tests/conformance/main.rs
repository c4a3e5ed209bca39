//! The conformance suite: each rule of the protocol is one test, named after its row.
//!
//! S: what a time reply says. X: what is met with silence. E: extension fields and MACs. K: rate limits and
//! kiss-o'-death packets. C: the local clock as a source. T: time formats. O: rules of operation. A row is
//! written once and runs on every tier, which must not differ in a single answer. Rows that need forged
//! addresses or clocks run in memory alone; their module says so.

#[path = "../support/skip.rs"]
mod skip;

mod abuse;
mod across;
mod control;
mod driver;
mod extension;
mod forged;
mod header;
mod keys;
mod local_clock;
mod packets;
mod rate_limit;
mod silence;
mod stamps;
mod tier;
mod timestamps;
mod vectors;

/// One module per tier, with all rows as tests.
macro_rules! on_every_tier {
    ($($module:ident { $($row:ident,)+ })+) => {
        mod memory { $($(#[test] fn $row() { crate::$module::$row::<crate::tier::Memory>(); })+)+ }
        mod mmsg { $($(#[test] fn $row() { crate::$module::$row::<crate::tier::Mmsg>(); })+)+ }
        mod xdp { $($(#[test] fn $row() { crate::$module::$row::<crate::tier::Xdp>(); })+)+ }
        mod io_uring { $($(#[test] fn $row() { crate::$module::$row::<crate::tier::IoUring>(); })+)+ }
    };
}

on_every_tier! {
    header {
        s1_a_request_gets_one_reply,
        s2_the_version_is_echoed,
        s3_other_versions_get_silence,
        s4_version_1_knows_no_modes,
        s5_the_leap_bits_of_a_request_do_not_matter,
        s6_the_leap_bits_of_a_reply_are_the_systems,
        s7_an_invalid_stratum_is_0_on_the_wire,
        s8_an_unsynchronised_server_answers_that_it_is,
        s10_poll_comes_back,
        s11_precision_is_the_systems,
        s12_root_delay_is_the_systems,
        s13_root_dispersion_grows,
        s14_a_root_distance_of_16_seconds_is_unsynchronised,
        s15_a_primary_server_names_its_clock,
        s16_a_secondary_server_names_its_ipv4_source,
        s17_an_ipv6_source_is_hashed,
        s25_replies_come_from_the_address_that_was_asked,
        s26_replies_go_to_the_port_that_asked,
        s29_no_state_is_needed,
    }
    stamps {
        s18_reference_receive_transmit_are_in_order,
        s19_origin_is_the_requests_transmit,
        s20_receive_and_transmit_are_the_times_of_arrival_and_departure,
        s22_bits_below_precision_are_random,
        s23_the_three_stamps_differ,
        s24_receive_stamps_increase,
        a_virtual_clock_moves_every_stamp_alike,
    }
    silence {
        s28_no_reply_is_longer_than_its_request,
        x1_short_requests,
        x2_misaligned_requests,
        x3_server_and_broadcast_modes,
        x4_symmetric_modes,
        x5_private_mode,
        x6_control_messages,
        x7_garbage,
        x9_ignore_and_noserve,
        every_mode_of_every_version,
        notrust_and_version_restrictions,
        o7_every_request_is_counted_once,
    }
    extension {
        e1_extension_fields_are_ignored,
        e2_malformed_extension_fields,
        e3_twenty_or_twenty_four_octets_are_a_mac,
        e4_before_version_4_there_are_no_extension_fields,
        e6_a_wrong_mac_gets_no_time,
        e7_an_unknown_key_is_never_answered_without_a_mac,
        e8_notrust_wants_authentication,
    }
    keys {
        e5_a_known_key_signs_the_reply,
        e5_extension_fields_are_signed_too_and_not_echoed,
        e5_a_kiss_is_signed,
        e6_a_wrong_mac_gets_silence,
        e6_a_mac_of_another_length_is_wrong,
        e7_an_unknown_key_gets_silence,
        e8_notrust_trusts_a_signed_request,
        e9_a_key_that_is_not_trusted_is_unknown,
        a_key_for_some_hosts_is_unknown_from_others,
    }
    rate_limit {
        k1_a_kiss_says_rate_and_no_time,
        k2_a_kiss_has_no_stamp_of_ours,
        k3_a_kiss_asks_for_the_headway_or_more,
        k4_a_kiss_needs_limited_and_kod,
        k5_a_kiss_comes_once_in_its_headway,
        k6_a_burst_two_seconds_apart_is_answered,
        k7_a_second_request_at_once_is_denied,
        k7_the_average_holds_after_a_burst,
        k8_a_quarter_of_the_excess_is_answered,
        k9_another_port_is_no_other_bucket,
        k12_whom_nothing_limits_is_never_limited,
        k13_no_kiss_to_what_is_no_good_request,
        control_messages_are_not_limited,
    }
    local_clock {
        s9_stratum_is_one_more_than_the_sources,
        c22_what_the_local_clock_is_served_as,
    }
    vectors {
        real_clients_are_answered,
        authenticated_requests_get_silence,
        authenticated_requests_of_real_clients_get_signed_replies,
        shapes_are_judged_as_chrony_judges_them,
        control_messages_of_real_clients_are_forwarded,
    }
}
