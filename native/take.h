/* Taking over another process's descriptors, at the numbers that the ledger names. */
#ifndef LBS_TAKE_H
#define LBS_TAKE_H

/* Is this number free, or held only for a descriptor that could not be taken? Such a
 * holder refuses every use with EBADF. */
int take_is_missing(int fd);

#endif
