/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the daemon and the program say to each other. layout.rs has the same structures; a test compares
 * their sizes with those of the maps.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC or CLOCK_TAI, or NTP timestamps in units of 2^-32 s.
 */
#ifndef NTPRING_RESPONDER_H
#define NTPRING_RESPONDER_H

#include "bpf.h"

/* An address and port that are served, as reached over a link. */
struct service_key {
	u32 ifindex;
	u16 vlan;		/* 0: without a tag */
	be16 port;
	be64 address[2];	/* IPv4: ::ffff:a.b.c.d */
};

struct service {
	u8 mac[6];		/* of the link */
	u8 loopback;		/* own addresses are no forgeries here */
	u8 unused;
};

/* Families of addresses. */
enum family { IPV4, IPV6, FAMILIES };

/* Of how many generations there is room for the state: the one that is read, and the next. */
#define GENERATIONS 2

/*
 * All that a reply depends on but for request and time. The daemon writes the generation that is not read,
 * then switches to it.
 */
struct state {
	u64 before;		/* the same number as `after`, unless it is being written */

	/* How CLOCK_TAI becomes the time that is served: ntp(t) = ntp + (t - base) * scale, from a leap
	 * second on plus leap_step. */
	s64 monotonic_to_tai;	/* their difference, which only setting the clock changes */
	u64 base;		/* TAI; the state holds for 2^32 ns from here */
	u64 ntp;		/* what is served at `base` */
	u64 leap_at;		/* TAI of the next leap second, or the largest number */
	u64 leap_step;		/* one second to add (or, modulo 2^64, to take away) from then on */
	u32 scale;		/* NTP units per nanosecond, times 2^SCALE_BITS */
	u32 transmit_noise;	/* the bits below the clock's precision */

	/* The header of RFC 5905 figure 8. */
	be32 head;		/* leap, no version, mode 4; stratum; no poll; precision */
	be32 root_delay;
	be32 reference_id;
	u32 root_dispersion;	/* as of `updated`, in units of 2^-16 s */
	u32 half_root_delay;	/* in units of 2^-16 s */
	u32 synchronised;	/* 0: whatever the root distance, the clock is not */
	u64 updated;		/* NTP; 0: unknown, and root_dispersion does not grow */
	u64 reference_time;	/* NTP; 0: unknown */

	/* The token bucket of sources that are `limited`. */
	u64 headway;		/* nanoseconds in which an answer is earned */
	u64 capacity;		/* the headways of a full bucket */
	u64 minimum;		/* nanoseconds between two answers */
	u64 set_hash[3];	/* secret: nobody outside may know which sources share a set of buckets */
	u64 secret;		/* what the sockets know a request over the limit by, and what noise is made of */

	/* The first address of each family that is served, which on most machines is the only one: it is found
	 * without the map. All zeroes: there is none. */
	struct favourite {
		struct service_key key;
		struct service service;
	} favourites[FAMILIES];

	u32 access;		/* which pair of tries is in force */
	u16 limits_somebody;	/* 0: nobody in them is `limited` */
	u16 traffic_class;	/* of replies: DSCP and ECN */

	u64 after;
};

#define SCALE_BITS 29

/* Keys of the access tries, and their values. */
struct prefix4 {
	u32 length;
	be32 address;
};

struct prefix6 {
	u32 length;
	be32 address[4];
};

struct access {
	u16 any;		/* flags of requests from any port */
	u16 ntp;		/* and from port 123 */
};

/* AccessFlags of the server, as far as they decide on plain requests. */
#define IGNORE (1 << 0)
#define NOSERVE (1 << 1)
#define NOTRUST (1 << 3)
#define VERSION (1 << 4)
#define LIMITED (1 << 5)
/* Sources that are forged wherever they come from, and those that are unless they come over loopback. */
#define MARTIAN (1 << 15)
#define LOCAL (1 << 14)

/*
 * Token buckets, in sets of eight that a hash of the source chooses, as the sockets have them
 * (server/rate_limit/table.rs). A source that was never seen has zeroes.
 */
#define SETS_LOG2 13
#define WAYS 8

struct set {
	u64 sources[WAYS];
	u64 full_at[WAYS];	/* monotonic: when the bucket will be full, or was */
	u64 taken_at[WAYS];	/* monotonic: the last answer */
};

/*
 * Requests of 48 octets to a served address that were passed to the sockets, by reason.
 */
enum passed {
	PASSED_CHECKSUM,	/* the UDP checksum is wrong, or missing on IPv6 */
	PASSED_CLOCK,		/* the clock was set, or the program interrupted for long */
	PASSED_LIMITED,		/* over the limit: the sockets decide on kiss or silence */
	PASSED_MARTIAN,		/* a source that nobody can have */
	PASSED_MODE,		/* no mode 3 of version 1 to 4 */
	PASSED_RESTRICTED,	/* restrict wants more than a plain request, or silence */
	PASSED_STATE,		/* no state, or an old one: the daemon is in trouble */
	PASSED_REASONS,
};

struct counters {
	u64 answered[4];	/* by version, 1 to 4 */
	u64 passed[PASSED_REASONS];
};

#endif
