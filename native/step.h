/* The points at which a worker may die without harm: between two writes of the ledger whose
 * order matters, and around the system calls that change what a successor finds.
 *
 * STEP() keeps the compiler from moving writes across it (a killed process stops between
 * two instructions, so no processor barrier is needed). WORKS_ON(port) stands where a thread
 * begins to work on the session of the client at that port. In the fault-injection build
 * (LBSPLICE_FAULTS) these are also where fault.c lets the worker die. */
#ifndef LBS_STEP_H
#define LBS_STEP_H

#ifdef LBS_FAULTS
void fault_step(const char *file, int line);
void fault_session(unsigned port);
#define STEP() fault_step(__FILE__, __LINE__)
#define WORKS_ON(port) fault_session(port)
#else
#define STEP() __atomic_signal_fence(__ATOMIC_SEQ_CST)
#define WORKS_ON(port) ((void)(port))
#endif

#endif
