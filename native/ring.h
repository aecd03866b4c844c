/* Events up: one producer (a worker), one consumer (Python). A full ring drops and
 * counts; it never blocks the worker. */
#ifndef LBS_RING_H
#define LBS_RING_H

#include <stdint.h>

#include "api.h"

struct ring {
	uint64_t head; /* next place to write */
	uint64_t pad1[7];
	uint64_t tail; /* next place to read */
	uint64_t pad2[7];
	uint32_t armed; /* the consumer wants a signal */
	uint32_t mask;
	uint64_t pad3[7];
	lbs_event events[];
};

/* A place to fill, or NULL if the ring is full. Visible to the reader after ring_commit. */
lbs_event *ring_place(struct ring *ring);
void ring_commit(struct ring *ring);

/* 1 if the consumer asked for a signal and there is something to read; the asking is
 * used up, the caller must signal. */
int ring_must_signal(struct ring *ring);

/* The consumer's side. What was looked at is looked at again, by a successor too, until it
 * is told of: then its place is free. */
uint32_t ring_look(const struct ring *ring, lbs_event *into, uint32_t room);
void ring_told(struct ring *ring, uint32_t count);
int ring_arm(struct ring *ring);

#endif
