#include "balance.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

static uint32_t turn(struct worker *w, const lbs_backend_row *b)
{
	return __atomic_fetch_add(&w->cursors[b->number], 1, __ATOMIC_RELAXED);
}

/* Round robin: the next place of the wheel that is not `avoid`. */
static uint32_t pick_turn(struct worker *w, const lbs_backend_row *b, uint32_t avoid)
{
	const uint32_t *wheel = w->plan->entries + b->wheel;
	uint32_t at = turn(w, b) % b->wheel_count;

	for (uint32_t i = 0; i < b->wheel_count; i++) {
		uint32_t slot = wheel[(at + i) % b->wheel_count];

		if (slot != avoid)
			return slot;
	}
	return wheel[at];
}

/* Is `a` less loaded than `b`? Sessions per weight, this one included; none is least
 * (FEATURES A.6: the comparison HAProxy's leastconn makes). */
static int lighter(struct worker *w, uint32_t a, uint32_t b)
{
	uint64_t sessions_a = gauge_read(&w->slot_gauges[a]);
	uint64_t sessions_b = gauge_read(&w->slot_gauges[b]);
	uint32_t weight_a = w->plan->slots[a]->weight;
	uint32_t weight_b = w->plan->slots[b]->weight;
	uint64_t load_a = sessions_a ? (sessions_a + 1) * weight_b : 0;
	uint64_t load_b = sessions_b ? (sessions_b + 1) * weight_a : 0;

	return load_a < load_b;
}

/* The least loaded server; among equals the one whose turn it is. */
static uint32_t pick_least(struct worker *w, const lbs_backend_row *b, uint32_t avoid)
{
	const uint32_t *usable = w->plan->entries + b->usable;
	uint32_t at = turn(w, b) % b->usable_count;
	uint32_t best = LBS_NONE;

	for (uint32_t i = 0; i < b->usable_count; i++) {
		uint32_t slot = usable[at];

		if (++at == b->usable_count)
			at = 0;
		if (slot == avoid && b->usable_count > 1)
			continue;
		if (best == LBS_NONE || lighter(w, slot, best))
			best = slot;
	}
	return best;
}

static uint32_t pick_first(struct worker *w, const lbs_backend_row *b, uint32_t avoid)
{
	const uint32_t *usable = w->plan->entries + b->usable;

	return usable[0] == avoid && b->usable_count > 1 ? usable[1] : usable[0];
}

/* The best of `draws` random ones. */
static uint32_t pick_random(struct worker *w, const lbs_backend_row *b, uint32_t avoid)
{
	const uint32_t *wheel = w->plan->entries + b->wheel;
	uint32_t best = LBS_NONE;

	for (uint32_t i = 0; i < b->draws; i++) {
		uint32_t slot = wheel[worker_random(w) % b->wheel_count];

		if (slot == avoid && b->usable_count > 1)
			continue;
		if (best == LBS_NONE || lighter(w, slot, best))
			best = slot;
	}
	return best == LBS_NONE ? pick_turn(w, b, avoid) : best;
}

/* Bob Jenkins's full-avalanche integer hash (6 shifts) and a multiplication: what HAProxy's
 * avalanche does (lbsplice/plan/hashing.py has the same, with its tests). */
static uint32_t full_hash(uint32_t a)
{
	a = (a + 0x7ed55d16U) + (a << 12);
	a = (a ^ 0xc761c23cU) ^ (a >> 19);
	a = (a + 0x165667b1U) + (a << 5);
	a = (a + 0xd3a2646cU) ^ (a << 9);
	a = (a + 0xfd7046c5U) + (a << 3);
	a = (a ^ 0xb55a4f09U) ^ (a >> 16);
	return a * 3221225473U;
}

/* The XOR of the address's 32-bit words, in host order. */
static uint32_t address_hash(const lbs_session *s)
{
	uint32_t words[4];
	uint32_t hash = 0;
	uint32_t many = s->client_family == AF_INET6 ? 4 : 1;

	memcpy(words, s->client_ip, sizeof(words));
	for (uint32_t i = 0; i < many; i++)
		hash ^= ntohl(words[i]);
	return hash;
}

/* The point nearest to the hash on the ring of keys; `avoid` is walked over. */
static uint32_t pick_point(struct worker *w, const lbs_backend_row *b, uint32_t hash, uint32_t avoid)
{
	const lbs_point *points = w->plan->points + b->points;
	uint32_t low = 0;
	uint32_t high = b->points_count;
	uint32_t next;
	uint32_t previous;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (points[middle].key < hash)
			low = middle + 1;
		else
			high = middle;
	}
	next = low == b->points_count ? 0 : low;
	previous = (next ? next : b->points_count) - 1;
	if (hash - points[previous].key <= points[next].key - hash)
		next = previous;
	for (uint32_t i = 0; i < b->points_count && points[next].slot == avoid; i++)
		if (++next == b->points_count)
			next = 0;
	return points[next].slot;
}

static uint32_t pick_source(struct worker *w, const lbs_backend_row *b, const lbs_session *s,
			    uint32_t avoid)
{
	uint32_t hash;

	if (s->client_family != AF_INET && s->client_family != AF_INET6)
		return pick_turn(w, b, avoid);
	hash = address_hash(s);
	if (b->avalanche)
		hash = full_hash(hash);
	if (b->points_count)
		return pick_point(w, b, hash, avoid);
	return w->plan->entries[b->wheel + hash % b->wheel_count];
}

uint32_t balance_pick(struct worker *w, const lbs_backend_row *b, const lbs_session *s,
		      uint32_t avoid)
{
	if (!b->usable_count)
		return LBS_NONE;
	switch (b->algorithm) {
	case LBS_LEASTCONN:
		return pick_least(w, b, avoid);
	case LBS_FIRST:
		return pick_first(w, b, avoid);
	case LBS_RANDOM:
		return pick_random(w, b, avoid);
	case LBS_SOURCE:
		return pick_source(w, b, s, avoid);
	default:
		return pick_turn(w, b, avoid);
	}
}
