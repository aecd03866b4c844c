#include "plan.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t aligned(size_t bytes)
{
	return (bytes + 15) & ~(size_t)15;
}

static int range_fits(uint32_t first, uint32_t count, uint32_t total)
{
	return first <= total && count <= total - first;
}

/* Does every row have its own number, below the limit? */
#define NUMBERS_FIT(rows, count, limit) numbers_fit(rows, count, sizeof(*(rows)), limit)

static int numbers_fit(const void *rows, uint32_t count, size_t row_bytes, uint32_t limit)
{
	const unsigned char *at = rows;

	/* `number` is every row's first member. */
	for (uint32_t i = 0; i < count; i++, at += row_bytes) {
		uint32_t number;

		memcpy(&number, at, sizeof(number));
		if (number >= limit)
			return 0;
	}
	return 1;
}

static int rows_fit(const lbs_plan_rows *r, const lbs_sizes *s)
{
	if (!NUMBERS_FIT(r->listeners, r->listener_count, s->listeners) ||
	    !NUMBERS_FIT(r->frontends, r->frontend_count, s->frontends) ||
	    !NUMBERS_FIT(r->backends, r->backend_count, s->backends) ||
	    !NUMBERS_FIT(r->slots, r->slot_count, s->slots))
		return 0;
	for (uint32_t i = 0; i < r->backend_count; i++) {
		const lbs_backend_row *b = &r->backends[i];

		if (!range_fits(b->usable, b->usable_count, r->entry_count) ||
		    !range_fits(b->wheel, b->wheel_count, r->entry_count) ||
		    !range_fits(b->points, b->points_count, r->point_count) ||
		    b->algorithm > LBS_SOURCE || b->redispatch > LBS_REDISPATCH_LAST ||
		    (b->redispatch == LBS_REDISPATCH_INTERVAL && !b->redispatch_interval))
			return 0;
		if (b->usable_count && !b->wheel_count)
			return 0;
	}
	for (uint32_t i = 0; i < r->slot_count; i++)
		if (r->slots[i].address.length > sizeof(r->slots[i].address.bytes) ||
		    r->slots[i].address.length < sizeof(uint16_t) ||
		    r->slots[i].source.length > sizeof(r->slots[i].source.bytes) ||
		    r->slots[i].source_port_low > r->slots[i].source_port_high ||
		    r->slots[i].port_rule > LBS_PORT_OFFSET)
			return 0;
	return 1;
}

/* Does every reference lead to a row? Call when the tables are filled. */
static int references_fit(const lbs_plan_rows *r, const struct plan *p)
{
	for (uint32_t i = 0; i < r->listener_count; i++) {
		uint32_t frontend = r->listeners[i].frontend;

		if (frontend >= p->sizes.frontends || !p->frontends[frontend])
			return 0;
	}
	for (uint32_t i = 0; i < r->frontend_count; i++) {
		uint32_t backend = r->frontends[i].backend;

		if (backend != LBS_NONE && (backend >= p->sizes.backends || !p->backends[backend]))
			return 0;
	}
	for (uint32_t i = 0; i < r->slot_count; i++) {
		uint32_t backend = r->slots[i].backend;

		if (backend >= p->sizes.backends || !p->backends[backend])
			return 0;
	}
	for (uint32_t i = 0; i < r->entry_count; i++)
		if (r->entries[i] >= p->sizes.slots || !p->slots[r->entries[i]])
			return 0;
	for (uint32_t i = 0; i < r->point_count; i++)
		if (r->points[i].slot >= p->sizes.slots || !p->slots[r->points[i].slot])
			return 0;
	return 1;
}

static void *take(unsigned char **at, size_t bytes)
{
	void *here = *at;

	*at += aligned(bytes);
	return here;
}

/* Copy rows to `at` and enter each in the table at its number. */
#define COPY_ROWS(plan, at, rows, count, table)                              \
	do {                                                                 \
		size_t bytes_ = sizeof(*(rows)) * (count);                   \
		unsigned char *copy_ = take(at, bytes_);                     \
		if (bytes_)                                                  \
			memcpy(copy_, rows, bytes_);                         \
		for (uint32_t i_ = 0; i_ < (count); i_++)                    \
			(plan)->table[(rows)[i_].number] =                   \
				(const void *)(copy_ + sizeof(*(rows)) * i_); \
	} while (0)

int plan_new(const lbs_plan_rows *r, const lbs_sizes *s, uint32_t *alive, struct plan **out)
{
	unsigned char *at;
	struct plan *p;
	size_t bytes = aligned(sizeof(*p)) + aligned(sizeof(void *) * s->listeners) +
		       aligned(sizeof(void *) * s->frontends) +
		       aligned(sizeof(void *) * s->backends) + aligned(sizeof(void *) * s->slots) +
		       aligned(sizeof(*r->listeners) * r->listener_count) +
		       aligned(sizeof(*r->frontends) * r->frontend_count) +
		       aligned(sizeof(*r->backends) * r->backend_count) +
		       aligned(sizeof(*r->slots) * r->slot_count) +
		       aligned(sizeof(*r->entries) * r->entry_count) +
		       aligned(sizeof(*r->points) * r->point_count);

	if (!rows_fit(r, s))
		return -EINVAL;
	p = calloc(1, bytes);
	if (!p)
		return -ENOMEM;
	at = (unsigned char *)p + aligned(sizeof(*p));
	p->references = 1;
	p->alive = alive;
	p->generation = r->generation;
	p->maxconn = r->maxconn;
	p->maxaccept = r->maxaccept ? r->maxaccept : 64;
	p->sizes = *s;
	p->listeners = take(&at, sizeof(void *) * s->listeners);
	p->frontends = take(&at, sizeof(void *) * s->frontends);
	p->backends = take(&at, sizeof(void *) * s->backends);
	p->slots = take(&at, sizeof(void *) * s->slots);
	COPY_ROWS(p, &at, r->listeners, r->listener_count, listeners);
	COPY_ROWS(p, &at, r->frontends, r->frontend_count, frontends);
	COPY_ROWS(p, &at, r->backends, r->backend_count, backends);
	COPY_ROWS(p, &at, r->slots, r->slot_count, slots);
	p->entries = take(&at, sizeof(*r->entries) * r->entry_count);
	if (r->entry_count)
		memcpy((void *)p->entries, r->entries, sizeof(*r->entries) * r->entry_count);
	p->points = take(&at, sizeof(*r->points) * r->point_count);
	if (r->point_count)
		memcpy((void *)p->points, r->points, sizeof(*r->points) * r->point_count);
	if (!references_fit(r, p)) {
		free(p);
		return -EINVAL;
	}
	__atomic_fetch_add(alive, 1, __ATOMIC_RELAXED);
	*out = p;
	return 0;
}

struct plan *plan_hold(struct plan *p)
{
	__atomic_fetch_add(&p->references, 1, __ATOMIC_RELAXED);
	return p;
}

void plan_release(struct plan *p)
{
	if (!p || __atomic_sub_fetch(&p->references, 1, __ATOMIC_ACQ_REL))
		return;
	__atomic_fetch_sub(p->alive, 1, __ATOMIC_RELAXED);
	free(p);
}
