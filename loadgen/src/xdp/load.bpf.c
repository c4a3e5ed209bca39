// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Loads a server. Run by the kernel's test-run, the program makes a request out of the frame that it is given
 * each time one is due, and sends it over an interface. Run by that interface's driver it takes the replies,
 * judges them and counts; everything else it passes up.
 *
 * These are one program because the kernel keeps a list of those in use, and waits for all cores each time it
 * changes: for tens of milliseconds at the beginning and end of each test-run, were it not in use elsewhere.
 *
 * Requests are numbered. A number says which source address and port asks, and becomes the cookie in the
 * request's transmit field by a keyed permutation; so the origin of a reply leads back to its request.
 */
#include "load.h"

struct {
	number(type, MAP_ARRAY);
	type(key, u32);
	type(value, struct plan);
	number(max_entries, 1);
} plans SEC(".maps");

struct {
	number(type, MAP_PERCPU_ARRAY);
	type(key, u32);
	type(value, struct sender);
	number(max_entries, 1);
} senders SEC(".maps");

/* So many for each thread; the loader says how many that are. */
struct {
	number(type, MAP_ARRAY);
	type(key, u32);
	type(value, struct slot);
	number(max_entries, 1);
} slots SEC(".maps");

struct {
	number(type, MAP_PERCPU_ARRAY);
	type(key, u32);
	type(value, struct received);
	number(max_entries, 1);
} receivers SEC(".maps");

/* The hardware address that the target's frames come from. */
struct {
	number(type, MAP_ARRAY);
	type(key, u32);
	type(value, u64);
	number(max_entries, 1);
} peer SEC(".maps");

struct {
	number(type, MAP_RINGBUF);
	number(max_entries, 1 << 22);
} samples SEC(".maps");

/* A thread's requests are numbered by the lower bits, the threads by those above. */
#define NUMBER_BITS 40
#define NUMBER_MASK ((1ull << NUMBER_BITS) - 1)

/* splitmix64's finaliser, and the way back: a permutation whose results look random. */
static inline u64 scramble(u64 value)
{
	value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9;
	value = (value ^ value >> 27) * 0x94D049BB133111EB;
	return value ^ value >> 31;
}

static inline u64 unscramble(u64 value)
{
	value = (value ^ value >> 31 ^ value >> 62) * 0x319642B2D24D8EC3;
	value = (value ^ value >> 27 ^ value >> 54) * 0x96DE1B173F119089;
	return value ^ value >> 30 ^ value >> 60;
}

/* Who asks a request. */
struct source {
	u64 address[2];		/* in network order, IPv4 in the lower half of the first */
	be16 port;
};

/*
 * Sources take turns. Products with fractions near the golden ratio spread neighbours far apart, and with odd
 * ones no two numbers of a prefix have the same address.
 */
static inline void find_source(const struct plan *plan, u64 thread, u64 number, bool ipv6, struct source *source)
{
	u64 member = number * plan->threads + thread;
	u64 spread = (u32)member * 0x9E3779B1u;

	source->port = be16(plan->first_port + (spread * plan->ports >> 32));
	if (ipv6) {
		source->address[0] = be64(plan->network[0] | (member * 0xF39CC0605CEDC835 & plan->hosts[0]));
		source->address[1] = be64(plan->network[1] | (member * 0x9E3779B97F4A7C15 & plan->hosts[1]));
	} else {
		/* Another product than the port's, so that a port is not always of the same addresses. */
		source->address[0] =
			be32((u32)plan->network[1] | ((u32)member * 0x85EBCA6Bu & (u32)plan->hosts[1]));
		source->address[1] = 0;
	}
}

static inline struct slot *find_slot(const struct plan *plan, u64 thread, u64 number)
{
	u32 index = thread * (plan->slots + 1) + (number & plan->slots);

	return map_lookup(&slots, &index);
}

/* The request's frame, every octet of it: frames come back as whoever had them last has left them. */
static inline bool write_ipv4(struct xdp_md *context, const struct plan *plan, const struct source *source, u64 cookie)
{
	struct ethernet *ethernet = (void *)(u64)context->data;
	struct ipv4 *ip = (void *)(ethernet + 1);
	struct udp *udp = (void *)(ip + 1);
	struct ntp *ntp = (void *)(udp + 1);
	u64 *word = (void *)ethernet;
	be32 address = source->address[0];
	const u32 count = (sizeof(*ethernet) + sizeof(*ip) + UDP_LENGTH) / 8;

	if ((void *)(ntp + 1) > (void *)(u64)context->data_end)
		return false;
#pragma clang loop unroll(full)
	for (u32 i = 0; i < count; i++)
		word[i] = plan->frame[i];
	/* What is left over is of the transmit field. */
	ip->source = address;
	ip->checksum = ~fold(plan->ip_sum + address);
	udp->source = source->port;
	ntp->transmit = cookie;
	udp->checksum = udp_checksum(plan->udp_sum + address + source->port + halves(cookie));
	return true;
}

static inline bool write_ipv6(struct xdp_md *context, const struct plan *plan, const struct source *source, u64 cookie)
{
	struct ethernet *ethernet = (void *)(u64)context->data;
	struct ipv6 *ip = (void *)(ethernet + 1);
	struct udp *udp = (void *)(ip + 1);
	struct ntp *ntp = (void *)(udp + 1);
	u64 *word = (void *)ethernet;
	u64 addresses = halves(source->address[0]) + halves(source->address[1]);
	const u32 count = (sizeof(*ethernet) + sizeof(*ip) + UDP_LENGTH) / 8;

	if ((void *)(ntp + 1) > (void *)(u64)context->data_end)
		return false;
#pragma clang loop unroll(full)
	for (u32 i = 0; i < count; i++)
		word[i] = plan->frame[i];
	ip->source[0] = source->address[0];
	ip->source[1] = source->address[1];
	udp->source = source->port;
	ntp->transmit = cookie;
	udp->checksum = udp_checksum(plan->udp_sum + addresses + source->port + halves(cookie));
	return true;
}

static inline enum xdp_action send(struct xdp_md *context, const struct plan *plan, u64 now)
{
	u32 first = 0;
	struct sender *sender = map_lookup(&senders, &first);
	struct source source;
	struct slot *slot;
	u64 due, number, lag, cookie;
	bool counts;

	if (!sender || !sender->left || now >= plan->until)
		return XDP_DROP;
	due = plan->interval ? plan->start + (sender->due >> 16) : now;
	if (now < due || now < plan->start)
		return XDP_DROP;
	number = sender->number++;
	sender->left--;
	sender->due += plan->interval;
	counts = due >= plan->counts_from;
	lag = now - due;
	if (lag > plan->timeout) {
		sender->behind += counts;
		return XDP_DROP;
	}
	find_source(plan, sender->thread, number, plan->ipv6, &source);
	slot = find_slot(plan, sender->thread, number);
	if (!slot)
		return XDP_ABORTED;
	number |= sender->thread << NUMBER_BITS;
	cookie = scramble(number ^ plan->key);
	if (!(plan->ipv6 ? write_ipv6(context, plan, &source, cookie) : write_ipv4(context, plan, &source, cookie)))
		return XDP_ABORTED;
	slot->number = number;
	slot->lag = lag;
	barrier();
	slot->due = due;
	sender->sent += counts;
	return redirect(plan->ifindex, 0);
}

/* The codes that tell a client to ask less, or not at all (RFC 5905 section 7.4). */
static inline enum kod kiss(const struct ntp *ntp)
{
	if (ntp->head & be32(0x00FF0000))
		return KODS;
	switch (ntp->reference_id) {
	case be32(0x44454E59):
		return KOD_DENY;
	case be32(0x52415445):
		return KOD_RATE;
	case be32(0x52535452):
		return KOD_RSTR;
	default:
		return KODS;
	}
}

/* Whether a client may use the time: no alarm, and a stratum from 1 to 15 (RFC 5905 figures 9 and 11). */
static inline bool is_synchronised(const struct ntp *ntp)
{
	u32 stratum = be32(ntp->head) >> 16 & 0xFF;

	return (ntp->head & be32(0xC0000000)) != be32(0xC0000000) && stratum >= 1 && stratum <= 15;
}

static inline void tell(const struct plan *plan, const struct slot *slot, u64 due, u64 now, const struct ntp *ntp)
{
	struct sample sample = {
		.due = due,
		.sent = due + slot->lag,
		.arrived = now,
		.receive = be64(ntp->receive),
		.transmit = be64(ntp->transmit),
	};

	ringbuf_output(&samples, &sample, sizeof(sample), BPF_RB_NO_WAKEUP);
}

/* A datagram of the right length from the target to one of the sources' ports. */
static inline enum xdp_action settle(const struct plan *plan, struct received *received, const struct ntp *ntp,
				     u64 now, be64 address0, be64 address1, be16 port, bool ipv6)
{
	u64 number = unscramble(ntp->origin) ^ plan->key;
	u64 thread = number >> NUMBER_BITS;
	struct source source;
	struct slot *slot;
	enum kod kod;
	u64 due;

	if (thread >= plan->threads)
		goto stranger;
	slot = find_slot(plan, thread, number);
	if (!slot || slot->number != (u32)number)
		goto stranger;
	find_source(plan, thread, number & NUMBER_MASK, ipv6, &source);
	if (source.address[0] != address0 || source.address[1] != address1 || source.port != port)
		goto stranger;
	if ((ntp->head & be32(0x38000000)) != be32(0x20000000)) {
		received->invalid[INVALID_VERSION]++;
		return XDP_DROP;
	}
	kod = kiss(ntp);
	if (kod == KODS && (!ntp->receive || !ntp->transmit || (s64)(be64(ntp->transmit) - be64(ntp->receive)) < 0)) {
		received->invalid[INVALID_STAMPS]++;
		return XDP_DROP;
	}
	due = __sync_lock_test_and_set(&slot->due, 0);
	if (!due) {
		received->duplicate++;
	} else if (due < plan->counts_from) {
		/* Of the warm-up. */
	} else if (kod != KODS) {
		received->kod[kod & 3]++;
	} else if (now - due > plan->timeout) {
		received->late++;
	} else {
		received->answered++;
		received->unsynchronised += !is_synchronised(ntp);
		if (plan->sample && (u32)number % (u32)plan->sample == 0)
			tell(plan, slot, due, now, ntp);
	}
	return XDP_DROP;
stranger:
	received->invalid[INVALID_ORIGIN]++;
	return XDP_PASS;
}

/* What follows a right IP header whose source is the target's address. */
static inline enum xdp_action receive_udp(struct udp *udp, void *end, u64 now, const struct plan *plan,
					  const struct ethernet *ethernet, u64 pseudo, be64 address0, be64 address1,
					  bool ipv6)
{
	struct ntp *ntp = (void *)(udp + 1);
	u32 first = 0;
	struct received *received = map_lookup(&receivers, &first);
	u16 checksum;

	if ((void *)ntp > end || !received || udp->source != plan->target_port)
		return XDP_PASS;
	if (plan->learning) {
		u64 mac = 0;

		__builtin_memcpy(&mac, ethernet->source, sizeof(ethernet->source));
		map_update(&peer, &first, &mac, BPF_ANY);
	}
	if (be16(udp->destination) - plan->first_port >= plan->ports)
		return XDP_PASS;
	if ((void *)(ntp + 1) > end || udp->length != be16(UDP_LENGTH)) {
		received->invalid[INVALID_LENGTH]++;
		return XDP_PASS;
	}
	/* Wrong checksums are the kernel's to count; so are those that senders on this machine leave open. */
	checksum = udp->checksum;
	pseudo += be16(PROTOCOL_UDP) + be16(UDP_LENGTH);
	if ((checksum || ipv6) && checksum != fold(pseudo) && fold(pseudo + sum_words(udp, UDP_LENGTH / 4)) != 0xFFFF)
		return XDP_PASS;
	if ((ntp->head & be32(0x07000000)) != be32(0x04000000)) {
		received->invalid[INVALID_MODE]++;
		return XDP_PASS;
	}
	return settle(plan, received, ntp, now, address0, address1, udp->destination, ipv6);
}

static inline enum xdp_action receive(struct xdp_md *context, const struct plan *plan, u64 now)
{
	void *end = (void *)(u64)context->data_end;
	struct ethernet *ethernet = (void *)(u64)context->data;
	struct ipv4 *ip4 = (void *)(ethernet + 1);
	struct ipv6 *ip6 = (void *)(ethernet + 1);

	if ((void *)(ip4 + 1) > end)
		return XDP_PASS;
	if (ethernet->type == be16(ETHERTYPE_IPV4)) {
		if (ip4->version_length != IPV4_NO_OPTIONS || ip4->protocol != PROTOCOL_UDP ||
		    (ip4->fragment & ~be16(IPV4_DONT_FRAGMENT)) || ip4->source != (u32)plan->target[0] ||
		    plan->target[1])
			return XDP_PASS;
		return receive_udp((void *)(ip4 + 1), end, now, plan, ethernet,
				   (u64)ip4->source + ip4->destination, ip4->destination, 0, false);
	}
	if (ethernet->type == be16(ETHERTYPE_IPV6) && (void *)(ip6 + 1) <= end) {
		if (ip6->next_header != PROTOCOL_UDP || ip6->source[0] != plan->target[0] ||
		    ip6->source[1] != plan->target[1])
			return XDP_PASS;
		return receive_udp((void *)(ip6 + 1), end, now, plan, ethernet, sum_words(ip6->source, 8),
				   ip6->destination[0], ip6->destination[1], true);
	}
	return XDP_PASS;
}

SEC("xdp.frags")
int load(struct xdp_md *context)
{
	u64 now = monotonic_ns();
	u32 first = 0;
	const struct plan *plan = map_lookup(&plans, &first);

	if (!plan)
		return XDP_PASS;
	/* Test-run's frames are of the loopback interface. */
	return context->ingress_ifindex == plan->ifindex ? receive(context, plan, now) : send(context, plan, now);
}

/* The digest of the sources that this was built from. */
const char digest[] SEC("sources") = SOURCES;
const char terms[] SEC("license") = "Dual MIT/GPL";
