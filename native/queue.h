/* Directions that wait: for a pipe, or for their turn. Linked through the records. */
#ifndef LBS_QUEUE_H
#define LBS_QUEUE_H

#include <stdint.h>

struct worker;

/* A list of directions (session * 2 + side), linked through the records. */
struct queue {
	uint32_t first;
	uint32_t last;
	uint32_t name; /* what lbs_relay.queue holds for members */
};

enum { QUEUE_NONE = 0, QUEUE_PIPE = 1, QUEUE_TURN = 2 };

/* Append to a queue of directions, which leaves the other one; remove from whichever. */
void queue_add(struct worker *worker, struct queue *queue, uint32_t member);
void queue_remove(struct worker *worker, uint32_t member);
uint32_t queue_pop(struct worker *worker, struct queue *queue);

#endif
