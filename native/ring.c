#include "ring.h"

#include <assert.h>
#include <string.h>

lbs_event *ring_place(struct ring *ring)
{
	uint64_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
	lbs_event *event;

	if (ring->head - tail > ring->mask)
		return NULL;
	event = &ring->events[ring->head & ring->mask];
	memset(event, 0, sizeof(*event));
	return event;
}

void ring_commit(struct ring *ring)
{
	__atomic_store_n(&ring->head, ring->head + 1, __ATOMIC_RELEASE);
}

int ring_must_signal(struct ring *ring)
{
	/* Pairs with ring_arm: one of the two sees what the other did. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&ring->armed, __ATOMIC_RELAXED))
		return 0;
	if (ring->head == __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE))
		return 0;
	return (int)__atomic_exchange_n(&ring->armed, 0, __ATOMIC_ACQ_REL);
}

uint32_t ring_look(const struct ring *ring, lbs_event *into, uint32_t room)
{
	uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
	uint64_t tail = ring->tail;
	uint32_t count = 0;

	while (tail != head && count < room)
		into[count++] = ring->events[tail++ & ring->mask];
	return count;
}

void ring_told(struct ring *ring, uint32_t count)
{
	assert(count <= __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) - ring->tail);
	__atomic_store_n(&ring->tail, ring->tail + count, __ATOMIC_RELEASE);
}

int ring_arm(struct ring *ring)
{
	__atomic_store_n(&ring->armed, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) == ring->tail)
		return 0;
	__atomic_store_n(&ring->armed, 0, __ATOMIC_SEQ_CST);
	return 1;
}
