// SPDX-License-Identifier: Apache-2.0
//
// checksum.h - XXH64: tells whether bytes on the disk are the ones that were written.
//
// Not for secrets. The function is the published one (xxHash, seed 0), so other tools can check a
// spool.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_HEAD_CHECKSUM_H
#define SHOAL_HEAD_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t shoal_checksum(const void *bytes, size_t len);

#endif
