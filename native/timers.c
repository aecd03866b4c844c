#include "timers.h"

#include <assert.h>
#include <string.h>

/* A first session's timer_prev names its bucket. */
#define BUCKET 0x80000000U
/* The farthest a timer can be set; later ones are set again when they fire. */
#define HORIZON ((1ULL << 24) - (1ULL << 16) - 1)

static uint64_t tick_after(uint64_t ms)
{
	return (ms + TIMERS_TICK_MS - 1) / TIMERS_TICK_MS;
}

void timers_init(struct timers *t, lbs_session *sessions, uint64_t now_ms)
{
	memset(t, 0, sizeof(*t));
	memset(t->heads, 0xff, sizeof(t->heads));
	t->sessions = sessions;
	t->tick = now_ms / TIMERS_TICK_MS;
}

static void link_at(struct timers *t, uint32_t session, uint64_t tick)
{
	uint64_t delta = tick - t->tick;
	uint32_t level = delta < 256 ? 0 : delta < 65536 ? 1 : 2;
	uint32_t bucket = (uint32_t)(tick >> (8 * level)) & 255;
	uint32_t at = level * TIMERS_BUCKETS + bucket;
	lbs_session *s = &t->sessions[session];

	s->timer_next = t->heads[at];
	s->timer_prev = BUCKET | at;
	if (s->timer_next != LBS_NONE)
		t->sessions[s->timer_next].timer_prev = session;
	t->heads[at] = session;
	t->full[level][bucket / 64] |= 1ULL << (bucket % 64);
}

void timers_set(struct timers *t, uint32_t session, uint64_t at_ms)
{
	lbs_session *s = &t->sessions[session];
	uint64_t tick = tick_after(at_ms);

	timers_clear(t, session);
	if (tick <= t->tick)
		tick = t->tick + 1;
	if (tick - t->tick > HORIZON)
		tick = t->tick + HORIZON;
	s->timer_at = (uint32_t)tick;
	s->flags |= LBS_SESSION_IN_TIMER;
	link_at(t, session, tick);
}

void timers_clear(struct timers *t, uint32_t session)
{
	lbs_session *s = &t->sessions[session];

	if (!(s->flags & LBS_SESSION_IN_TIMER))
		return;
	s->flags &= (uint8_t)~LBS_SESSION_IN_TIMER;
	if (s->timer_next != LBS_NONE)
		t->sessions[s->timer_next].timer_prev = s->timer_prev;
	if (s->timer_prev & BUCKET) {
		uint32_t at = s->timer_prev & ~BUCKET;

		assert(t->heads[at] == session);
		t->heads[at] = s->timer_next;
		if (s->timer_next == LBS_NONE)
			t->full[at / TIMERS_BUCKETS][at % TIMERS_BUCKETS / 64] &=
				~(1ULL << (at % 64));
	} else {
		t->sessions[s->timer_prev].timer_next = s->timer_next;
	}
}

/* The distance from bucket `from` (exclusive) to the next full one, 1..256, or 0. */
static uint32_t next_full(const uint64_t *full, uint32_t from)
{
	for (uint32_t step = 1; step <= TIMERS_BUCKETS; step++) {
		uint32_t bucket = (from + step) & 255;

		if (bucket % 64 == 0 && step + 63 <= TIMERS_BUCKETS && !full[bucket / 64]) {
			step += 63;
			continue;
		}
		if (full[bucket / 64] >> (bucket % 64) & 1)
			return step;
	}
	return 0;
}

/* The next tick at which a bucket is to be run or spread, or 0 if all are empty. */
static uint64_t next_tick(const struct timers *t)
{
	uint64_t best = 0;

	for (uint32_t level = 0; level < TIMERS_LEVELS; level++) {
		uint32_t shift = 8 * level;
		uint64_t now = t->tick >> shift;
		uint32_t step = next_full(t->full[level], (uint32_t)now & 255);

		if (step) {
			uint64_t at = (now + step) << shift;

			if (!best || at < best)
				best = at;
		}
	}
	return best;
}

/* Spread a bucket of a higher level over the lower ones. */
static void spread(struct timers *t, uint32_t level)
{
	uint32_t bucket = (uint32_t)(t->tick >> (8 * level)) & 255;
	uint32_t at = level * TIMERS_BUCKETS + bucket;
	uint32_t session = t->heads[at];

	t->heads[at] = LBS_NONE;
	t->full[level][bucket / 64] &= ~(1ULL << (bucket % 64));
	while (session != LBS_NONE) {
		lbs_session *s = &t->sessions[session];
		uint32_t next = s->timer_next;
		/* timer_at is the low half of its tick; it lies ahead of us by less than 2^24. */
		uint32_t ahead = s->timer_at - (uint32_t)t->tick;

		assert(ahead <= 1U << 24);
		link_at(t, session, t->tick + ahead);
		session = next;
	}
}

uint32_t timers_due(struct timers *t, uint64_t now_ms)
{
	uint64_t now = now_ms / TIMERS_TICK_MS;

	for (;;) {
		uint32_t at = (uint32_t)t->tick & 255;
		uint64_t next;

		if (t->heads[at] != LBS_NONE) {
			uint32_t session = t->heads[at];

			timers_clear(t, session);
			return session;
		}
		next = next_tick(t);
		if (!next || next > now) {
			/* Nothing lies between: stand just before it, and never past now. */
			if (t->tick < now)
				t->tick = now;
			return LBS_NONE;
		}
		t->tick = next;
		if ((t->tick & 65535) == 0)
			spread(t, 2);
		if ((t->tick & 255) == 0)
			spread(t, 1);
	}
}

int timers_wait_ms(const struct timers *t, uint64_t now_ms)
{
	uint64_t next = t->heads[t->tick & 255] != LBS_NONE ? t->tick : next_tick(t);
	uint64_t at = next * TIMERS_TICK_MS;

	if (!next)
		return -1;
	if (at <= now_ms)
		return 0;
	return at - now_ms > 3600000 ? 3600000 : (int)(at - now_ms);
}
