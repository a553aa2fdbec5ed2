// SPDX-License-Identifier: Apache-2.0
//
// door.h - every connection by its descriptor, from the moment it was accepted: who comes in and says
// nothing, and who sends a message that does not end.
//
// libzmq shows the hub whole messages only. A connection that never sends one costs a descriptor and
// can bring bytes without end, and the hub would not know that it is there. So the monitor tells
// what was accepted, whole messages are noted here, and the rest is shut: the ones that were silent
// longest first, when they are too many or too old; on TCP also those whose bytes are no whole
// message, which the kernel counts. Those are looked for when the process has grown.
//
// Threads: the hub's.  Logging: none.

#ifndef SHOAL_HEAD_HUB_DOOR_H
#define SHOAL_HEAD_HUB_DOOR_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/clock.h"

#define SHOAL_DOORS_SILENT_MAX  16384    // connections that have said nothing, or nothing for long
#define SHOAL_DOORS_SILENT_MS   10000    // that they may do so; the handshake has its own time
#define SHOAL_DOORS_SPARE       256      // descriptors that are kept for everything else
#define SHOAL_DOORS_MESSAGE_MAX 8388608  // bytes of TCP without a whole message in them
#define SHOAL_DOORS_GROWTH      33554432 // of the process's memory, before they are looked for
#define SHOAL_DOORS_LOOK_MS     50       // between two looks at the process's memory

typedef struct shoal_doors shoal_doors_t;

// `descriptors`: how many the process may have (RLIMIT_NOFILE).
shoal_doors_t *shoal_doors_new(size_t descriptors);
void shoal_doors_destroy(shoal_doors_t **doors);

// A connection was accepted; it is silent until it is heard. Shuts it, or one that has been silent
// for longer, when there are too many. Already known with this very socket: nothing changes.
void shoal_door_open(shoal_doors_t *doors, int fd, uint64_t now_ms);

// It has sent a whole message. A descriptor that is not known is taken for an open one.
void shoal_door_heard(shoal_doors_t *doors, int fd);

// Its peer was forgotten, and it is still open: silent again from now on.
void shoal_door_quiet(shoal_doors_t *doors, int fd, uint64_t now_ms);

// It is closed.
void shoal_door_close(shoal_doors_t *doors, int fd);

// Shuts whom it has to. Returns when to call it again at the latest.
uint64_t shoal_doors_run(shoal_doors_t *doors, uint64_t now_ms);

size_t shoal_doors_open(const shoal_doors_t *doors);   // connections that are open
size_t shoal_doors_silent(const shoal_doors_t *doors); // that have said nothing
uint64_t shoal_doors_shut(const shoal_doors_t *doors); // that were shut here, all together

#endif
