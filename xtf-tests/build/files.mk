# SPDX-License-Identifier: GPL-2.0-only
#
# What every test guest is linked with: the runtime, whole.

runtime-obj := console grant-table main printf pv-console report setup string
runtime-obj += trap-entry traps

runtime-hvm64 := $(addprefix $(ROOT)/runtime/,$(runtime-obj:%=%.o) hvm64/entry.o)
runtime-pv64  := $(addprefix $(ROOT)/runtime/,$(runtime-obj:%=%.o) pv64/entry.o)
