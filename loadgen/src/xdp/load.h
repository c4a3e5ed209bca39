/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What ntpload and its programs say to each other. layout.rs has the same structures, as arrays of words.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC unless they say otherwise.
 */
#ifndef NTPRING_LOAD_H
#define NTPRING_LOAD_H

#include "bpf.h"

/* Words of the longest frame: Ethernet, IPv6, UDP, NTP. */
#define FRAME_WORDS 14

/* The whole load; written before the first request leaves, but for `until`. */
struct plan {
	u64 start;		/* when the first request is due */
	u64 until;		/* from then on no request leaves */
	u64 counts_from;	/* requests that are due earlier warm up and do not count */
	u64 timeout;
	u64 interval;		/* between two requests of a core, in 2^-16 ns; 0: as fast as it goes */
	u64 key;		/* what makes cookies of numbers */
	u64 sample;		/* one reply in so many is told of; 0: none */
	u64 slots;		/* of each core, less one: a mask */
	u64 threads;
	u64 ifindex;		/* where requests leave and replies arrive */
	u64 ipv6;		/* 0: IPv4 */
	u64 learning;		/* not 0: find out where the target's frames come from */
	u64 first_port;
	u64 ports;
	u64 network[2];		/* of source addresses, in host order; IPv4: the lower half of the second */
	u64 hosts[2];		/* the bits that differ from one source to the next */
	u64 target[2];		/* address in network order; IPv4: the lower half of the first */
	u64 target_port;	/* in network order */
	u64 ip_sum;		/* of an IPv4 header without its source */
	u64 udp_sum;		/* of datagram and pseudo header, without what differs from one to the next */
	u64 frame[FRAME_WORDS];	/* a request; what differs is zero */
};

/* What one core sends. */
struct sender {
	u64 thread;
	u64 number;		/* of the next request */
	u64 left;		/* requests */
	u64 due;		/* when the next one is, after `start`, in 2^-16 ns */
	u64 sent;		/* requests that count and left */
	u64 behind;		/* and that were given up, because their time was over */
};

/* A request that is under way. */
struct slot {
	u64 due;		/* 0: it is not, or not any more */
	u32 number;		/* the lower half of its number */
	u32 lag;		/* how long after `due` it left */
};

/* Why a datagram is no reply: Invalid of accounting.rs, as far as it can be here. */
enum invalid { INVALID_LENGTH, INVALID_MODE, INVALID_VERSION, INVALID_ORIGIN, INVALID_STAMPS, INVALIDS };
/* Kod there. */
enum kod { KOD_DENY, KOD_RATE, KOD_RSTR, KODS };

/* What one core has received. */
struct received {
	u64 answered;
	u64 unsynchronised;
	u64 late;
	u64 duplicate;
	u64 kod[KODS];
	u64 invalid[INVALIDS];
};

/* One answered request. */
struct sample {
	u64 due;
	u64 sent;
	u64 arrived;
	u64 receive;		/* NTP: T2 and T3 */
	u64 transmit;
};

#endif
