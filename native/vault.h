/* The vault: a process that shares its worker's descriptor table and outlives it, so that
 * no socket and no pipe is closed when the worker dies. These are the words it is spoken
 * to with, over one unix socket (SEQPACKET or STREAM). */
#ifndef LBS_VAULT_H
#define LBS_VAULT_H

#include <stdint.h>

/* Descriptors handed over in one message (the kernel allows 253). */
#define VAULT_BATCH 250

enum { VAULT_GIVE = 'G', VAULT_QUIT = 'Q' };

/* Always sent whole, so that both kinds of socket keep messages apart. */
struct vault_ask {
	uint32_t what;
	uint32_t count;
	uint64_t token; /* comes back with the answer */
	int32_t numbers[VAULT_BATCH];
};

/* With those descriptors that are open, in the order they were asked for. */
#define VAULT_CAN_NOT UINT32_MAX
struct vault_answer {
	uint64_t token;
	uint32_t count; /* as asked, or VAULT_CAN_NOT */
	uint8_t open[VAULT_BATCH]; /* is that number one? */
	uint8_t reserved[2];
};

#endif
