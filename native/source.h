/* Where another process's descriptors come from: its vault, over the request socket, or its
 * table, with pidfd_getfd(2). The vault is the faster one (250 in a message) and needs no
 * right; the table can be had while the vault is stopped. */
#ifndef LBS_SOURCE_H
#define LBS_SOURCE_H

#include <stdint.h>

#include "vault.h"

struct source {
	int request; /* -1: not from the vault */
	int pidfd;   /* -1: not from the table */
};

/* Take one from the table. A descriptor, or -errno; -EBADF: there is none of this number. */
int source_get(int pidfd, int number);

/* Ask the vault for up to VAULT_BATCH descriptors; those that are open come, in the order
 * they were asked for, at the lowest free numbers. 0 or -errno; what came is in `fds`. */
int source_ask(const struct source *from, const int32_t *numbers, uint32_t count, struct vault_answer *answer,
	       int *fds, uint32_t *found);

/* Close what came. */
void source_close(const int *fds, uint32_t count);

#endif
