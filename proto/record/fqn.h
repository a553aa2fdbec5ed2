// SPDX-License-Identifier: Apache-2.0
//
// fqn.h - fully qualified names, as OpenMetadata builds and encodes them.
//
// Parts are joined by '.'; a part that contains '.' is wrapped in '"'. A name that is an entity's
// own (table, column) has reserved characters encoded first: "::" as __reserved__colon__, ">" as
// __reserved__arrow__, '"' as __reserved__quote__. Facts: OpenMetadata's FullyQualifiedName.java
// and custom_basemodel_validation.py, as behaviour.
//
// Threads: any.  Logging: none.

#ifndef SHOAL_PROTO_RECORD_FQN_H
#define SHOAL_PROTO_RECORD_FQN_H

#include "proto/base/buffer.h"

// Appends '.' if `out` is not empty, then `part`, quoted if need be. Reserved characters stay.
void shoal_fqn_append(shoal_buffer_t *out, shoal_slice_t part);

// Appends `name` with reserved characters encoded.
void shoal_name_encode(shoal_buffer_t *out, shoal_slice_t name);

#endif
