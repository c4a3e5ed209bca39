// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What the responder is measured against: a program that passes everything, for the other end of a veth; an
 * echo, which does as little as makes a generator count a reply; and each part of the responder by itself.
 *
 * The parts are the responder's own functions. A part that changes the frame begins by writing a fresh one,
 * and so does the program without parts that its time is compared to.
 */
#include "../../../src/xdp/responder.bpf.c"

/* A whole request, as parts find it: its words, and last its last eight octets, which are in two of them. */
struct request {
	u64 words[16];
};

#define TAIL 15
#define IPV4_LENGTH (sizeof(struct ethernet) + sizeof(struct ipv4) + UDP_LENGTH)
#define VLAN_LENGTH (sizeof(struct vlan) + IPV4_LENGTH)
#define IPV6_LENGTH (sizeof(struct ethernet) + sizeof(struct ipv6) + UDP_LENGTH)

struct {
	number(type, MAP_ARRAY);
	type(key, u32);
	type(value, struct request);
	number(max_entries, 1);
} requests SEC(".maps");

SEC("xdp.frags")
int pass_all(struct xdp_md *context)
{
	return XDP_PASS;
}

/* Any stamp that is not unknown. */
#define SOME_TIME be64(1ull << 63)

/*
 * UDP over IPv4 to port 123 goes back where it came from, in server mode, with its transmit field as origin.
 * The IP header's sum does not depend on the order of addresses, and over IPv4 a datagram may do without a sum
 * of its own.
 */
static inline enum xdp_action echo_frame(struct xdp_md *context)
{
	struct ethernet *ethernet = (void *)(u64)context->data;
	struct ipv4 *ip = (void *)(ethernet + 1);
	struct udp *udp = (void *)(ip + 1);
	struct ntp *ntp = (void *)(udp + 1);
	be32 address;
	be16 port;
	u8 mac[6];

	if ((void *)(ntp + 1) > (void *)(u64)context->data_end || ethernet->type != be16(ETHERTYPE_IPV4) ||
	    ip->protocol != PROTOCOL_UDP || udp->destination != be16(NTP_PORT))
		return XDP_PASS;
	__builtin_memcpy(mac, ethernet->source, sizeof(mac));
	__builtin_memcpy(ethernet->source, ethernet->destination, sizeof(mac));
	__builtin_memcpy(ethernet->destination, mac, sizeof(mac));
	address = ip->source;
	ip->source = ip->destination;
	ip->destination = address;
	port = udp->source;
	udp->source = udp->destination;
	udp->destination = port;
	udp->checksum = 0;
	ntp->head = be32(0x24010000);
	ntp->origin = ntp->transmit;
	ntp->receive = SOME_TIME;
	ntp->transmit = SOME_TIME;
	return XDP_TX;
}

SEC("xdp.frags")
int echo(struct xdp_md *context)
{
	return echo_frame(context);
}

/* Makes the frame a request again. */
static inline bool renew(struct xdp_md *context)
{
	u64 *word = (void *)(u64)context->data;
	void *end = (void *)(u64)context->data_end;
	u32 first = 0;
	const struct request *request = map_lookup(&requests, &first);

	if (!request || (void *)word + IPV4_LENGTH > end)
		return false;
#pragma clang loop unroll(full)
	for (u32 i = 0; i < IPV4_LENGTH / 8; i++)
		word[i] = request->words[i];
	if ((void *)word + IPV6_LENGTH <= end) {
		word[11] = request->words[11];
		word[12] = request->words[12];
		*(u64 *)((void *)word + IPV6_LENGTH - 8) = request->words[TAIL];
	} else if ((void *)word + VLAN_LENGTH <= end) {
		*(u64 *)((void *)word + VLAN_LENGTH - 8) = request->words[TAIL];
	} else {
		*(u64 *)((void *)word + IPV4_LENGTH - 8) = request->words[TAIL];
	}
	return true;
}

SEC("xdp.frags")
int part_nothing(struct xdp_md *context)
{
	return XDP_DROP;
}

SEC("xdp.frags")
int part_renew(struct xdp_md *context)
{
	return renew(context) ? XDP_DROP : XDP_PASS;
}

SEC("xdp.frags")
int part_echo(struct xdp_md *context)
{
	return renew(context) ? echo_frame(context) : XDP_PASS;
}

SEC("xdp.frags")
int part_all(struct xdp_md *context)
{
	return renew(context) ? respond_to(context) : XDP_PASS;
}

/* The clocks: T2's and T3's. */
SEC("xdp.frags")
int part_clocks(struct xdp_md *context)
{
	u64 first = monotonic_ns(), second = tai_ns();

	return first == second ? XDP_PASS : XDP_DROP;
}

/* What is counted, and where. */
SEC("xdp.frags")
int part_counters(struct xdp_md *context)
{
	u32 first = 0;
	struct counters *counters = map_lookup(&counted, &first);

	if (!counters)
		return XDP_PASS;
	counters->answered[3]++;
	return XDP_DROP;
}

/* The state that is in force, read as a reply reads it. */
SEC("xdp.frags")
int part_state(struct xdp_md *context)
{
	struct datagram datagram = {};

	return state_find(&datagram) && state_has_held(&datagram) ? XDP_DROP : XDP_PASS;
}

/* Headers down to the payload, and what is served there. */
SEC("xdp.frags")
int part_parse(struct xdp_md *context)
{
	struct datagram datagram = {};
	struct service_key key = { .ifindex = context->ingress_ifindex };
	struct cursor cursor = { (void *)(u64)context->data, (void *)(u64)context->data_end };
	enum family family = IPV4;

	switch (parse_ethernet(&cursor, &key, &datagram)) {
	case be16(ETHERTYPE_IPV4): {
		struct ipv4 *ip = parse_ipv4(&cursor);

		if (!ip)
			return XDP_PASS;
		key.address[1] = (u64)ip->destination << 32 | 0xFFFF0000;
		break;
	}
	case be16(ETHERTYPE_IPV6): {
		struct ipv6 *ip = parse_ipv6(&cursor);

		if (!ip)
			return XDP_PASS;
		key.address[0] = ip->destination[0];
		key.address[1] = ip->destination[1];
		family = IPV6;
		break;
	}
	default:
		return XDP_PASS;
	}
	if (!parse_udp(&cursor, &datagram) || !state_find(&datagram))
		return XDP_PASS;
	key.port = datagram.udp->destination;
	return find_service(&key, family, &datagram) ? XDP_DROP : XDP_PASS;
}

/* The request's UDP checksum, over all that it covers, and the reply's. */
SEC("xdp.frags")
int part_checksums(struct xdp_md *context)
{
	struct ethernet *ethernet = (void *)(u64)context->data;
	struct ipv4 *ip = (void *)(ethernet + 1);
	struct udp *udp = (void *)(ip + 1);
	u64 sum;

	if ((void *)(udp + 1) + sizeof(struct ntp) > (void *)(u64)context->data_end)
		return XDP_PASS;
	sum = fold((u64)ip->source + ip->destination + sum_words(udp, UDP_LENGTH / 4));
	/* Another read of the same octets, which the compiler must not spare. */
	barrier();
	sum += udp_checksum((u64)ip->source + ip->destination + sum_words(udp, UDP_LENGTH / 4));
	return sum == 1 ? XDP_PASS : XDP_DROP;
}

/* The access list in force, asked about the request's source. */
SEC("xdp.frags")
int part_access(struct xdp_md *context)
{
	struct ethernet *ethernet = (void *)(u64)context->data;
	struct ipv4 *ip = (void *)(ethernet + 1);
	struct prefix4 source = { .length = 32 };
	struct datagram datagram = {};
	u32 access;
	void *tries;

	if ((void *)(ip + 1) > (void *)(u64)context->data_end || !state_find(&datagram))
		return XDP_PASS;
	source.address = ip->source;
	access = datagram.state->access;
	tries = map_lookup(&access4, &access);
	return tries && map_lookup(tries, &source) ? XDP_DROP : XDP_PASS;
}

/* An answer out of the bucket of a source that is known. */
SEC("xdp.frags")
int part_limit(struct xdp_md *context)
{
	struct datagram datagram = { .received = monotonic_ns(), .source = 0x0100007F000000FF };

	if (!state_find(&datagram))
		return XDP_PASS;
	find_set(&datagram);
	return take(&datagram) ? XDP_DROP : XDP_PASS;
}

/* An answer out of a bucket that is made for it, in the place of another source's. */
SEC("xdp.frags")
int part_limit_new(struct xdp_md *context)
{
	struct datagram datagram = { .received = monotonic_ns() };

	datagram.source = scrambled(datagram.received);
	if (!state_find(&datagram))
		return XDP_PASS;
	find_set(&datagram);
	return take(&datagram) ? XDP_DROP : XDP_PASS;
}
