// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Answers plain NTP requests where they arrive: in the network driver.
 *
 * A plain request is 48 octets of mode 3 in an unfragmented UDP datagram, without IP options or extension
 * headers, to an address that is served, from one that `restrict` allows plain service. It is answered by
 * the rules of src/server, octet for octet; tests/xdp holds the two against each other. Everything else,
 * and every doubt, is XDP_PASS: the sockets behind answer it, or meet it with silence.
 *
 * The program never drops. It changes a packet only when it answers it, but for the mark on requests over
 * the rate limit (see `mark`).
 */
#include "responder.h"

struct {
	number(type, MAP_ARRAY);
	type(key, u32);
	type(value, struct state);
	number(max_entries, GENERATIONS);
} states SEC(".maps");

/* Which of them is read. One octet of it ever changes, so that no reader sees half of a change. */
struct {
	number(type, MAP_ARRAY);
	type(key, u32);
	type(value, u32);
	number(max_entries, 1);
} generation SEC(".maps");

struct {
	number(type, MAP_HASH);
	type(key, struct service_key);
	type(value, struct service);
	number(max_entries, 4096);
} services SEC(".maps");

/*
 * The access list, a trie per family and generation. They are described where they stand and by sizes,
 * because BTF has no more than the name of a type that only pointers to pointers lead to.
 */
#define trie(prefix) struct {				\
	number(type, MAP_LPM_TRIE);			\
	number(key_size, sizeof(prefix));		\
	number(value_size, sizeof(struct access));	\
	number(max_entries, 1 << 21);			\
	number(map_flags, BPF_F_NO_PREALLOC);		\
}

struct {
	number(type, MAP_ARRAY_OF_MAPS);
	type(key, u32);
	number(max_entries, GENERATIONS);
	map_values(values, trie(struct prefix4));
} access4 SEC(".maps");

struct {
	number(type, MAP_ARRAY_OF_MAPS);
	type(key, u32);
	number(max_entries, GENERATIONS);
	map_values(values, trie(struct prefix6));
} access6 SEC(".maps");

/* Pages begin where cache lines do; without this flag sets would not. */
struct {
	number(type, MAP_ARRAY);
	type(key, u32);
	type(value, struct set);
	number(max_entries, 1 << SETS_LOG2);
	number(map_flags, BPF_F_MMAPABLE);
} sets SEC(".maps");

struct {
	number(type, MAP_PERCPU_ARRAY);
	type(key, u32);
	type(value, struct counters);
	number(max_entries, 1);
} counted SEC(".maps");

/* Fields of `head`. */
#define HEAD_MODE be32(0x07000000)
#define HEAD_VERSION be32(0x38000000)
#define HEAD_VERSION_SHIFT 3
#define HEAD_POLL be32(0x0000FF00)
#define HEAD_PRECISION be32(0x000000FF)
#define MODE_CLIENT be32(0x03000000)
#define ALARM_MODE_SERVER be32(0xC4000000)

#define NTP_PORT 123
#define TTL 64

/* A datagram that may be a plain request: where its parts are, and what is known about it so far. */
struct datagram {
	struct ethernet *ethernet;
	struct udp *udp;
	struct ntp *ntp;
	struct counters *counters;
	u64 received;		/* monotonic */
	u64 addresses;		/* their sum, which a reply leaves as it is */
	u64 source;		/* what the rate limit knows the source by */
	struct set *set;	/* of the source's bucket; null: nobody is limited */
	const struct state *state;
	u64 generation;		/* the state's number when it was found */
	bool checksum_partial;
	bool has_checksum;
};

/*
 * The clocks. T2 is read at the program's first instruction; a driver's own receive stamp can take the
 * place of this one function.
 *
 * T2 and T3 are read from two clocks that run alike, and whose difference changes only when somebody sets
 * the time or TAI's distance from UTC. So without a third reading it shows if that happened since the daemon
 * last looked: then T3 is not a little later than T2.
 */
static inline u64 receive_stamp(struct xdp_md *context)
{
	return monotonic_ns();
}

/* From T2 to T3 takes less than a microsecond, unless an interrupt comes between. */
#define LONGEST_STAY_NS 1000000

/* An instant of CLOCK_TAI as it is served; false if the state is too old to tell. */
static inline bool to_ntp(const struct state *state, u64 tai, u64 *ntp)
{
	u64 elapsed = tai - state->base;

	if (unlikely(elapsed >> 32))
		return false;
	*ntp = state->ntp + (elapsed * state->scale >> SCALE_BITS);
	if (unlikely(tai >= state->leap_at))
		*ntp += state->leap_step;
	return true;
}

/* Zero says "unknown", so the one instant of an era that is zero moves by 2^-32 s. */
static inline u64 known(u64 stamp)
{
	return stamp ? stamp : 1;
}

/* Replaces the bits below the clock's precision. */
static inline u64 fuzzed(u64 stamp, u32 noise, u64 random)
{
	return (stamp & ~(u64)noise) | (random & noise);
}

/* Bits that nobody can tell who does not know the secret: splitmix64's finaliser, a tenth of a helper's cost. */
static inline u64 scrambled(u64 value)
{
	value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9;
	value = (value ^ value >> 27) * 0x94D049BB133111EB;
	return value ^ value >> 31;
}

/* The bits of a stamp below a nanosecond: 2^-30 s. */
#define NANOSECOND_NOISE 3

static inline u64 udp_pseudo_header(const struct datagram *datagram)
{
	return datagram->addresses + be16(PROTOCOL_UDP) + be16(UDP_LENGTH);
}

/*
 * Whether the UDP checksum is right. Senders on this machine leave the pseudo header's sum there, for a
 * device to complete that a virtual link does not have (CHECKSUM_PARTIAL).
 */
static inline bool checksum_is_right(struct datagram *datagram, bool may_be_absent)
{
	u64 pseudo = udp_pseudo_header(datagram);
	u64 sum = pseudo + sum_words(datagram->udp, UDP_LENGTH / 4);
	u16 checksum = datagram->udp->checksum;

	datagram->has_checksum = checksum != 0;
	if (!checksum)
		return may_be_absent;
	datagram->checksum_partial = checksum == fold(pseudo);
	return datagram->checksum_partial || fold(sum) == 0xFFFF;
}

static inline enum xdp_action pass(struct datagram *datagram, enum passed reason)
{
	datagram->counters->passed[reason]++;
	return XDP_PASS;
}

/*
 * Finds the generation that is in force; false if there is none, or if it is being written, twice. It is read
 * where it lies: the daemon writes to it again only after another one has been in force. Whether that has
 * happened state_has_held tells.
 */
static inline bool state_find(struct datagram *datagram)
{
	u32 first = 0;

#pragma clang loop unroll(full)
	for (int attempt = 0; attempt < 2; attempt++) {
		const u32 *index = map_lookup(&generation, &first);
		const struct state *state = index ? map_lookup(&states, index) : 0;

		if (!state)
			return false;
		datagram->state = state;
		datagram->generation = read_once(state->before);
		barrier();
		if (datagram->generation && datagram->generation == read_once(state->after))
			return true;
	}
	return false;
}

/* Whether all that was read of the state since it was found was of one generation. */
static inline bool state_has_held(const struct datagram *datagram)
{
	barrier();
	return read_once(datagram->state->before) == datagram->generation;
}

static inline u32 version_of(be32 head)
{
	return (head & HEAD_VERSION) >> HEAD_VERSION_SHIFT;
}

static inline bool is_plain(be32 head)
{
	return (head & HEAD_MODE) == MODE_CLIENT && version_of(head) >= 1 && version_of(head) <= 4;
}

/* RFC 1059 had no modes: clients and servers were told apart by the port. */
static inline bool is_of_the_first_kind(be32 head, const struct udp *udp)
{
	return !(head & HEAD_MODE) && version_of(head) == 1 && udp->source != be16(NTP_PORT);
}

static inline bool same_mac(const u8 *one, const u8 *other)
{
	return *(const u32 *)one == *(const u32 *)other &&
	       *(const u16 *)(one + 4) == *(const u16 *)(other + 4);
}

/* Whether the flags allow this request an answer without authentication. */
static inline bool allows(u16 flags, u32 version)
{
	return !(flags & (IGNORE | NOSERVE | NOTRUST)) && (!(flags & VERSION) || version == 4);
}

static inline u16 flags_of(const struct access *access, const struct udp *udp)
{
	u16 any = access->any, ntp = access->ntp;

	/* Without this the compiler makes one load of two, from a place that only privileged programs may
	 * reckon out. */
	opaque(ntp);
	return udp->source == be16(NTP_PORT) ? ntp : any;
}

/*
 * Finds the set of the source's bucket. A sum of products alone would, with one secret in twenty, crowd the
 * neighbours in a network into a few sets.
 *
 * With many sources it is in no near cache. It is asked for here, before the checksum and the access list, so that
 * it is on its way while the processor goes on with them; and only if somebody is limited.
 */
static inline void find_set(struct datagram *datagram)
{
	const u64 *secret = datagram->state->set_hash;
	u64 source = datagram->source;
	u64 hash = secret[0] + (u32)source * secret[1] + (source >> 32) * secret[2];
	u32 index = scrambled(hash) >> (64 - SETS_LOG2);

	datagram->set = datagram->state->limits_somebody ? map_lookup(&sets, &index) : 0;
	if (datagram->set) {
		read_once(datagram->set->sources[0]);
		read_once(datagram->set->full_at[0]);
	}
}

/* A way of a set, and when its bucket will be full. */
struct candidate {
	u64 full_at;
	u64 way;
};

/* Which of two will be full earlier; without a branch, because nobody could predict it. */
static inline struct candidate fuller(struct candidate one, struct candidate other)
{
	u64 difference = other.full_at - one.full_at;
	u64 is_other = (s64)difference >> 63;

	opaque(is_other);
	one.full_at += difference & is_other;
	one.way += (other.way - one.way) & is_other;
	return one;
}

/*
 * The place of a source in its set, made free if it has none: whose bucket is the fullest is given up, because
 * that costs least, and nobody who is over the limit can have himself forgotten.
 */
static inline u32 find_way(struct set *set, u64 source, bool has_minimum)
{
	struct candidate best = { set->full_at[0], 0 };
	u32 fullest;

#pragma clang loop unroll(full)
	for (u32 way = 0; way < WAYS; way++)
		if (set->sources[way] == source)
			return way;
#pragma clang loop unroll(full)
	for (u32 way = 1; way < WAYS; way++)
		best = fuller(best, (struct candidate){ set->full_at[way], way });
	fullest = best.way % WAYS;
	set->sources[fullest] = source;
	set->full_at[fullest] = 0;
	if (has_minimum)
		set->taken_at[fullest] = 0;
	return fullest;
}

/*
 * Takes an answer out of the source's bucket; false if there is none.
 *
 * Cores share the sets without a lock. Two that see the same source at once may both take its last answer, and
 * two that see sources of the same set at once may leave one of them the other's bucket. Either is one answer
 * more or less, and takes two packets within nanoseconds; nobody can make it happen to somebody else.
 */
static inline bool take(const struct datagram *datagram)
{
	const struct state *state = datagram->state;
	u64 now = datagram->received;
	u64 latest = now + state->capacity;
	struct set *set = datagram->set;
	/* Without one, times of answers are in cache lines that need not be touched. */
	bool has_minimum = state->minimum;
	u64 full_at, taken_at;
	u32 way;

	/* Then nobody is limited, by the state; the list is of another, which is noticed before the reply leaves. */
	if (!set)
		return true;
	way = find_way(set, datagram->source, has_minimum) % WAYS;
	taken_at = has_minimum ? set->taken_at[way] : 0;
	full_at = set->full_at[way];
	full_at = full_at < now ? now : full_at > latest ? latest : full_at;
	if (full_at + state->headway > latest ||
	    (taken_at && (s64)(now - taken_at) < (s64)state->minimum)) {
		set->full_at[way] = full_at;
		return false;
	}
	set->full_at[way] = full_at + state->headway;
	if (has_minimum)
		set->taken_at[way] = now;
	return true;
}

/*
 * Tells the sockets that a request is over the limit: they could not know, because they have not seen the
 * answers that were given here. The number is secret, and stands in the origin, a field that no reply keeps
 * and that only clients in interleaved mode mean anything by, who then get a basic reply (RFC 9769 section 2).
 */
static inline void mark(struct datagram *datagram)
{
	u64 secret = datagram->state->secret;
	struct ntp *ntp = datagram->ntp;
	struct udp *udp = datagram->udp;

	if (datagram->has_checksum && !datagram->checksum_partial) {
		/* RFC 1624: HC' = ~(~HC + ~m + m') */
		u64 sum = (u16)~udp->checksum + halves(~ntp->origin) + halves(secret);

		udp->checksum = udp_checksum(sum);
	}
	ntp->origin = secret;
}

/* The error bound at an instant: it grows by 15 ppm, rounded up and saturating (snapshot.rs has the same). */
static inline u32 root_dispersion_at(const struct state *state, u64 received)
{
	u64 elapsed = received - state->updated;
	u64 dispersion = state->root_dispersion;

	if (state->updated && (s64)elapsed > 0) {
		/* To units of 2^-16 s, rounded up. */
		elapsed = (elapsed >> 16) + !!(elapsed & 0xFFFF);
		dispersion += (elapsed * 15 + 999999) / 1000000;
	}
	return dispersion > 0xFFFFFFFF ? 0xFFFFFFFF : dispersion;
}

/* RFC 5905 figure 6: MAXDISP, 16 s. A root distance of that says nothing any more. */
#define DISTANCE_MAX (16 << 16)

/* Turns headers and payload into those of the reply, all but the network layer's. */
static inline enum xdp_action reply(struct datagram *datagram)
{
	const struct state *state = datagram->state;
	struct ntp *ntp = datagram->ntp;
	struct udp *udp = datagram->udp;
	struct ethernet *ethernet = datagram->ethernet;
	be64 origin = ntp->transmit;
	u64 arrival = datagram->received + state->monotonic_to_tai;
	u64 random = scrambled(datagram->received + state->secret);
	u64 received, transmitted, reference, departure, sum;
	u32 dispersion, noise;
	be32 request = ntp->head, head = state->head, reference_id = state->reference_id;
	u8 mac[6];
	be16 port;

	if (!to_ntp(state, arrival, &received))
		return pass(datagram, PASSED_STATE);
	received = known(fuzzed(received, NANOSECOND_NOISE, random));
	/* RFC 9769: stamps that differ tell a basic reply from an interleaved one. */
	if (unlikely(received == be64(origin)))
		received = known(received + 1);

	dispersion = root_dispersion_at(state, received);
	if (!state->synchronised || (u64)state->half_root_delay + dispersion >= DISTANCE_MAX) {
		head = (head & HEAD_PRECISION) | ALARM_MODE_SERVER;
		reference_id = be32(0x494E4954); /* INIT */
	}
	head |= request & (HEAD_VERSION | HEAD_POLL);
	reference = state->reference_time;
	if (reference && (s64)(received - reference) < 0)
		reference = received;
	/* All but T3. */
	sum = udp_pseudo_header(datagram) + udp->source + udp->destination + udp->length + head +
	      state->root_delay + be32(dispersion) + reference_id + halves(be64(reference)) +
	      halves(origin) + halves(be64(received));

	departure = tai_ns();
	if (unlikely(departure - arrival > LONGEST_STAY_NS) || !to_ntp(state, departure, &transmitted))
		return pass(datagram, PASSED_CLOCK);
	if (unlikely(!state_has_held(datagram)))
		return pass(datagram, PASSED_STATE);
	noise = state->transmit_noise;
	if ((s64)(transmitted - received) > (s64)noise)
		transmitted = known(fuzzed(transmitted, noise, random >> 32));
	else
		/* Sooner than such a clock can tell; yet the order is right, and the bits are random. */
		transmitted = known(received + 1 + (random >> 32 & noise));
	sum += halves(be64(transmitted));

	ntp->head = head;
	ntp->root_delay = state->root_delay;
	ntp->root_dispersion = be32(dispersion);
	ntp->reference_id = reference_id;
	ntp->reference = be64(reference);
	ntp->origin = origin;
	ntp->receive = be64(received);
	ntp->transmit = be64(transmitted);

	port = udp->source;
	udp->source = udp->destination;
	udp->destination = port;
	udp->checksum = udp_checksum(sum);

	__builtin_memcpy(mac, ethernet->destination, sizeof(mac));
	__builtin_memcpy(ethernet->destination, ethernet->source, sizeof(mac));
	__builtin_memcpy(ethernet->source, mac, sizeof(mac));

	datagram->counters->answered[(version_of(request) - 1) & 3]++;
	return XDP_TX;
}

/*
 * Decides on a request whose form is right, by its source's entry in the access list. Only if this is XDP_TX
 * it has become a reply.
 */
static inline enum xdp_action answer(struct datagram *datagram, const struct service *service,
				     const struct access *access)
{
	u16 flags = access ? flags_of(access, datagram->udp) : IGNORE;

	if (flags & (service->loopback ? MARTIAN : MARTIAN | LOCAL))
		return pass(datagram, PASSED_MARTIAN);
	if (!allows(flags, version_of(datagram->ntp->head)))
		return pass(datagram, PASSED_RESTRICTED);
	if ((flags & LIMITED) && !take(datagram)) {
		mark(datagram);
		return pass(datagram, PASSED_LIMITED);
	}
	/* The sockets answer it; that it was counted against the limit here leaves the source one bucket. */
	if (unlikely(!is_plain(datagram->ntp->head)))
		return pass(datagram, PASSED_MODE);
	return reply(datagram);
}

/* What of a frame has not been looked at yet. */
struct cursor {
	void *at;
	void *end;
};

/* The Ethernet header and at most one VLAN tag; the type of what follows, 0 for what is not for us. */
static inline be16 parse_ethernet(struct cursor *cursor, struct service_key *key, struct datagram *datagram)
{
	struct ethernet *ethernet = cursor->at;
	struct vlan *vlan;

	if ((void *)(ethernet + 1) > cursor->end || (ethernet->source[0] & 1))
		return 0;
	datagram->ethernet = ethernet;
	cursor->at = ethernet + 1;
	if (ethernet->type != be16(ETHERTYPE_VLAN))
		return ethernet->type;
	vlan = cursor->at;
	if ((void *)(vlan + 1) > cursor->end)
		return 0;
	key->vlan = be16(vlan->tag) & VLAN_ID;
	cursor->at = vlan + 1;
	/* VLAN 0 is no VLAN but a priority. */
	return key->vlan ? vlan->type : 0;
}

/* A header without options around a whole UDP datagram of the right length. */
static inline struct ipv4 *parse_ipv4(struct cursor *cursor)
{
	struct ipv4 *ip = cursor->at;

	if ((void *)(ip + 1) > cursor->end || ip->version_length != IPV4_NO_OPTIONS ||
	    ip->protocol != PROTOCOL_UDP || ip->length != be16(sizeof(*ip) + UDP_LENGTH) ||
	    (ip->fragment & ~be16(IPV4_DONT_FRAGMENT)))
		return 0;
	cursor->at = ip + 1;
	return fold(sum_words(ip, sizeof(*ip) / 4)) == 0xFFFF ? ip : 0;
}

static inline struct ipv6 *parse_ipv6(struct cursor *cursor)
{
	struct ipv6 *ip = cursor->at;

	if ((void *)(ip + 1) > cursor->end || (ip->version_class_flow & be32(0xF0000000)) != be32(0x60000000) ||
	    ip->next_header != PROTOCOL_UDP || ip->length != be16(UDP_LENGTH))
		return 0;
	/* An IPv4 address in disguise, which is on no wire (RFC 4291 section 2.5.5), would be found in the services. */
	if (!ip->destination[0] && (u32)ip->destination[1] == be32(0xFFFF))
		return 0;
	cursor->at = ip + 1;
	return ip;
}

/* The rest of the frame. Nothing may follow: a reply has its request's length. */
static inline bool parse_udp(struct cursor *cursor, struct datagram *datagram)
{
	struct udp *udp = cursor->at;
	struct ntp *ntp = (void *)(udp + 1);

	if ((void *)(ntp + 1) > cursor->end || udp->length != be16(UDP_LENGTH))
		return false;
	opaque(cursor->end);
	if ((void *)(ntp + 1) < cursor->end)
		return false;
	datagram->udp = udp;
	datagram->ntp = ntp;
	return true;
}

static inline bool same_key(const struct service_key *one, const struct service_key *other)
{
	const u64 *a = (const void *)one, *b = (const void *)other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

/* What is served at the datagram's destination, if the frame was meant for us. */
static inline const struct service *find_service(const struct service_key *key, enum family family,
						 const struct datagram *datagram)
{
	const struct favourite *favourite = &datagram->state->favourites[family];
	const struct service *service = &favourite->service;

	if (!same_key(&favourite->key, key))
		service = map_lookup(&services, key);
	return service && same_mac(datagram->ethernet->destination, service->mac) ? service : 0;
}

/* Whether the datagram is a request of a version that is served, whose checksum is right. */
static inline enum xdp_action check(struct datagram *datagram, bool checksum_may_be_absent, bool own_address)
{
	const struct udp *udp = datagram->udp;
	be32 head = datagram->ntp->head;

	if (!checksum_is_right(datagram, checksum_may_be_absent))
		return pass(datagram, PASSED_CHECKSUM);
	/* The very socket that a packet is for cannot have sent it. */
	if (!udp->source || (own_address && udp->source == udp->destination))
		return pass(datagram, PASSED_MARTIAN);
	if (!is_plain(head) && !is_of_the_first_kind(head, udp))
		return pass(datagram, PASSED_MODE);
	return XDP_TX;
}

static inline enum xdp_action respond_ipv4(struct cursor *cursor, struct service_key *key,
					   struct datagram *datagram)
{
	struct ipv4 *ip = parse_ipv4(cursor);
	const struct service *service;
	struct prefix4 source;
	u32 access;
	void *tries;
	be32 own;

	if (!ip || !parse_udp(cursor, datagram))
		return XDP_PASS;
	if (unlikely(!state_find(datagram)))
		return pass(datagram, PASSED_STATE);
	key->port = datagram->udp->destination;
	key->address[1] = (u64)ip->destination << 32 | 0xFFFF0000;
	service = find_service(key, IPV4, datagram);
	if (!service)
		return XDP_PASS;
	datagram->addresses = (u64)ip->source + ip->destination;
	/* No IPv6 address of a source begins with 0xFF. */
	datagram->source = (u64)ip->source << 32 | 0xFF;
	find_set(datagram);
	if (check(datagram, true, ip->source == ip->destination) != XDP_TX)
		return XDP_PASS;
	source.length = 32;
	source.address = ip->source;
	access = datagram->state->access;
	tries = map_lookup(&access4, &access);
	if (answer(datagram, service, tries ? map_lookup(tries, &source) : 0) != XDP_TX)
		return XDP_PASS;

	own = ip->destination;
	ip->destination = ip->source;
	ip->source = own;
	ip->traffic_class = datagram->state->traffic_class;
	ip->id = 0;
	ip->fragment = be16(IPV4_DONT_FRAGMENT);
	ip->ttl = TTL;
	ip->checksum = 0;
	ip->checksum = ~fold(sum_words(ip, sizeof(*ip) / 4));
	return XDP_TX;
}

static inline enum xdp_action respond_ipv6(struct cursor *cursor, struct service_key *key,
					   struct datagram *datagram)
{
	struct ipv6 *ip = parse_ipv6(cursor);
	const struct service *service;
	struct prefix6 source;
	u32 access;
	void *tries;
	be64 own[2];

	if (!ip || !parse_udp(cursor, datagram))
		return XDP_PASS;
	if (unlikely(!state_find(datagram)))
		return pass(datagram, PASSED_STATE);
	key->port = datagram->udp->destination;
	key->address[0] = own[0] = ip->destination[0];
	key->address[1] = own[1] = ip->destination[1];
	service = find_service(key, IPV6, datagram);
	if (!service)
		return XDP_PASS;
	datagram->addresses = sum_words(ip->source, 8);
	datagram->source = ip->source[0];
	find_set(datagram);
	if (check(datagram, false, ip->source[0] == own[0] && ip->source[1] == own[1]) != XDP_TX)
		return XDP_PASS;
	source.length = 128;
	__builtin_memcpy(source.address, ip->source, sizeof(source.address));
	access = datagram->state->access;
	tries = map_lookup(&access6, &access);
	if (answer(datagram, service, tries ? map_lookup(tries, &source) : 0) != XDP_TX)
		return XDP_PASS;

	ip->destination[0] = ip->source[0];
	ip->destination[1] = ip->source[1];
	ip->source[0] = own[0];
	ip->source[1] = own[1];
	ip->version_class_flow = be32(0x60000000 | datagram->state->traffic_class << 20);
	ip->hop_limit = TTL;
	return XDP_TX;
}

static inline enum xdp_action respond_to(struct xdp_md *context)
{
	struct datagram datagram = { .received = receive_stamp(context) };
	struct service_key key = { .ifindex = context->ingress_ifindex };
	struct cursor cursor = { (void *)(u64)context->data, (void *)(u64)context->data_end };
	u32 first = 0;

	datagram.counters = map_lookup(&counted, &first);
	if (!datagram.counters)
		return XDP_PASS;
	switch (parse_ethernet(&cursor, &key, &datagram)) {
	case be16(ETHERTYPE_IPV4):
		return respond_ipv4(&cursor, &key, &datagram);
	case be16(ETHERTYPE_IPV6):
		return respond_ipv6(&cursor, &key, &datagram);
	default:
		return XDP_PASS;
	}
}

SEC("xdp.frags")
int respond(struct xdp_md *context)
{
	return respond_to(context);
}

/* The digest of the sources that this was built from. */
const char digest[] SEC("sources") = SOURCES;
const char terms[] SEC("license") = "Dual MIT/GPL";
