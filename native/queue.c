#include "queue.h"

#include "worker.h"

static lbs_relay *relay_at(struct worker *w, uint32_t member)
{
	return &w->sessions[member / 2].relays[member % 2];
}

void queue_add(struct worker *w, struct queue *q, uint32_t member)
{
	lbs_relay *r = relay_at(w, member);

	if (r->queue == q->name)
		return;
	queue_remove(w, member);
	r->queue = q->name;
	r->queue_next = LBS_NONE;
	r->queue_prev = q->last;
	if (q->last != LBS_NONE)
		relay_at(w, q->last)->queue_next = member;
	else
		q->first = member;
	q->last = member;
}

void queue_remove(struct worker *w, uint32_t member)
{
	lbs_relay *r = relay_at(w, member);
	struct queue *q = r->queue == QUEUE_PIPE ? &w->for_pipe : &w->for_turn;

	if (r->queue == QUEUE_NONE)
		return;
	if (r->queue_prev != LBS_NONE)
		relay_at(w, r->queue_prev)->queue_next = r->queue_next;
	else
		q->first = r->queue_next;
	if (r->queue_next != LBS_NONE)
		relay_at(w, r->queue_next)->queue_prev = r->queue_prev;
	else
		q->last = r->queue_prev;
	r->queue = QUEUE_NONE;
}

uint32_t queue_pop(struct worker *w, struct queue *q)
{
	uint32_t member = q->first;

	if (member != LBS_NONE)
		queue_remove(w, member);
	return member;
}
