# SPDX-License-Identifier: GPL-2.0-only
#
# What every test guest is linked with: the runtime, whole.

runtime-obj := console grant-table main printf pv-console report setup string
runtime-obj += trap-entry traps

runtime-any := $(addprefix $(ROOT)/runtime/,$(runtime-obj:%=%.o))

runtime-hvm64   := $(runtime-any) $(ROOT)/runtime/hvm/entry.o
runtime-hvm32   := $(runtime-hvm64)
runtime-pv64    := $(runtime-any) $(ROOT)/runtime/pv/entry.o
runtime-pv32pae := $(runtime-pv64)
