#include "times.h"

#include "step.h"

static uint64_t window_share(uint64_t sum)
{
	return (sum + LBS_TIMES_WINDOW - 1) / LBS_TIMES_WINDOW;
}

/* `full`: as many samples as the window has were added before. */
static void slide(uint64_t *sum, int full, uint64_t sample)
{
	uint64_t now = __atomic_load_n(sum, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(sum, &now, now - (full ? window_share(now) : 0) + sample,
					    1, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static void raise_to(uint32_t *max, uint64_t sample)
{
	uint32_t value = sample < UINT32_MAX ? (uint32_t)sample : UINT32_MAX;
	uint32_t now = __atomic_load_n(max, __ATOMIC_RELAXED);

	while (now < value && !__atomic_compare_exchange_n(max, &now, value, 1, __ATOMIC_RELAXED,
							   __ATOMIC_RELAXED))
		;
}

void times_note(lbs_times *t, uint64_t queue, uint64_t connect, uint64_t total)
{
	int full = __atomic_load_n(&t->samples, __ATOMIC_RELAXED) >= LBS_TIMES_WINDOW;

	slide(&t->queue_sum, full, queue);
	slide(&t->connect_sum, full, connect);
	slide(&t->total_sum, full, total);
	raise_to(&t->queue_max, queue);
	raise_to(&t->connect_max, connect);
	raise_to(&t->total_max, total);
	STEP();
	__atomic_fetch_add(&t->samples, 1, __ATOMIC_RELAXED);
	STEP();
}

void times_assigned(lbs_times *t, uint64_t second)
{
	/* Most sessions find it as it is to be, and the line stays where it is. */
	if (__atomic_load_n(&t->last_session_s, __ATOMIC_RELAXED) != second)
		__atomic_store_n(&t->last_session_s, second, __ATOMIC_RELAXED);
}

static void clear(uint64_t *number)
{
	__atomic_store_n(number, 0, __ATOMIC_RELAXED);
}

void times_forget(lbs_times *t, int all)
{
	__atomic_store_n(&t->queue_max, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&t->connect_max, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&t->total_max, 0, __ATOMIC_RELAXED);
	if (!all)
		return;
	clear(&t->queue_sum);
	clear(&t->connect_sum);
	clear(&t->total_sum);
	clear(&t->samples);
	clear(&t->last_session_s);
}
