/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a BPF program needs of the kernel's interface, and no more: types, packet headers, map definitions,
 * helpers, checksums. Numbers and layouts are those of include/uapi/linux and of the RFCs.
 */
#ifndef NTPRING_BPF_H
#define NTPRING_BPF_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;
/* In network order. */
typedef u16 be16;
typedef u32 be32;
typedef u64 be64;

typedef _Bool bool;
#define true 1
#define false 0

#define SEC(name) __attribute__((section(name), used))
#define inline inline __attribute__((always_inline))
#define unlikely(condition) __builtin_expect(!!(condition), 0)
/* The compiler moves no access to memory across this. */
#define barrier() asm volatile("" ::: "memory")
/* It forgets what it knows of a variable, so that what the verifier has to see is not made into one. */
#define opaque(variable) asm volatile("" : "+r"(variable))
#define read_once(place) (*(const volatile __typeof__(place) *)&(place))

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "layouts and masks are for little-endian machines: clang -target bpfel"
#endif
#define be16(value) ((be16)__builtin_bswap16(value))
#define be32(value) ((be32)__builtin_bswap32(value))
#define be64(value) ((be64)__builtin_bswap64(value))

/* linux/bpf.h */
enum xdp_action { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT };

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

enum map_type {
	MAP_HASH = 1,
	MAP_ARRAY = 2,
	MAP_PERCPU_ARRAY = 6,
	MAP_LPM_TRIE = 11,
	MAP_ARRAY_OF_MAPS = 12,
	MAP_RINGBUF = 27,
};

#define BPF_ANY 0
#define BPF_F_NO_PREALLOC 1
#define BPF_F_MMAPABLE (1 << 10)
#define BPF_RB_NO_WAKEUP 1

/* A map is described by the type of a variable, whose numbers are lengths of arrays. */
#define number(name, value) int(*name)[value]
#define type(name, value) __typeof__(value) *name
#define map_values(name, kind) __typeof__(kind) *name[]

static void *(*const map_lookup)(const void *map, const void *key) = (void *)1;
static long (*const map_update)(const void *map, const void *key, const void *value, u64 flags) = (void *)2;
/* CLOCK_MONOTONIC in nanoseconds. */
static u64 (*const monotonic_ns)(void) = (void *)5;
/* Sends the frame over another interface, if the program returns what this does. */
static long (*const redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const ringbuf_output)(void *ring, const void *data, u64 size, u64 flags) = (void *)130;
/* CLOCK_TAI in nanoseconds. */
static u64 (*const tai_ns)(void) = (void *)208;

/*
 * Headers as they lie in a packet. Not one has padding, and none needs to be aligned: the machines that this
 * is for read words from everywhere, which `packed` would forbid the compiler to count on.
 */

/* IEEE 802.3, 802.1Q */
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86DD
#define ETHERTYPE_VLAN 0x8100

struct ethernet {
	u8 destination[6];
	u8 source[6];
	be16 type;
};

struct vlan {
	be16 tag;
	be16 type;
};

#define VLAN_ID 0x0FFF

/* RFC 791 */
struct ipv4 {
	u8 version_length;
	u8 traffic_class;
	be16 length;
	be16 id;
	be16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	be32 source;
	be32 destination;
};

#define IPV4_NO_OPTIONS 0x45
#define IPV4_DONT_FRAGMENT 0x4000

/* RFC 8200 */
struct ipv6 {
	be32 version_class_flow;
	be16 length;
	u8 next_header;
	u8 hop_limit;
	be64 source[2];
	be64 destination[2];
};

#define PROTOCOL_UDP 17

/* RFC 768 */
struct udp {
	be16 source;
	be16 destination;
	be16 length;
	u16 checksum;
};

/* Ones'-complement sums (RFC 1071), which do not depend on the order of octets. */
static inline u64 sum_words(const void *start, u32 count)
{
	const u32 *word = start;
	u64 sum = 0;

#pragma clang loop unroll(full)
	for (u32 i = 0; i < count; i++)
		sum += word[i];
	return sum;
}

static inline u64 halves(u64 value)
{
	return (u32)value + (value >> 32);
}

static inline u16 fold(u64 sum)
{
	sum = halves(halves(sum));
	sum = (sum & 0xFFFF) + (sum >> 16);
	sum = (sum & 0xFFFF) + (sum >> 16);
	return (sum & 0xFFFF) + (sum >> 16);
}

/* What is sent for a sum. UDP sends zero as its other form, because there it says that there is none. */
static inline u16 udp_checksum(u64 sum)
{
	u16 checksum = ~fold(sum);

	return checksum ? checksum : 0xFFFF;
}

/* RFC 5905 figure 8, in words where nothing smaller is of interest. */
struct ntp {
	be32 head;		/* leap, version, mode; stratum; poll; precision */
	be32 root_delay;
	be32 root_dispersion;
	be32 reference_id;
	be64 reference;
	be64 origin;
	be64 receive;
	be64 transmit;
};

#define UDP_LENGTH (sizeof(struct udp) + sizeof(struct ntp))

#endif
