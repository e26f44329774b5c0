# SPDX-License-Identifier: GPL-2.0-only
#
# Environments, tools and flags.  A test's Makefile includes this file first,
# as it would in an upstream XTF checkout.

ALL_CATEGORIES   := special functional xsa utility in-development
ALL_ENVIRONMENTS := hvm64 hvm32 pv64 pv32pae

# Where everything built goes.
O ?= $(abspath $(ROOT)/../build/xtf)

CC      := $(CROSS_COMPILE)gcc
LD      := $(CROSS_COMPILE)ld
OBJCOPY := $(CROSS_COMPILE)objcopy

# The header of the grant-DMA hypercall, found as <public/grant_dma.h>.
GRANT_DMA_INCLUDE ?= $(abspath $(ROOT)/../hypercall-abi/include)

compiler-headers := $(shell $(CC) -print-file-name=include)

COMMON_FLAGS := -pipe -nostdinc -isystem $(compiler-headers) -MMD -MP
COMMON_FLAGS += -I$(ROOT)/runtime/include -I$(ROOT)/lab/include
COMMON_FLAGS += -I$(GRANT_DMA_INCLUDE)

COMMON_AFLAGS := $(COMMON_FLAGS) -D__ASSEMBLY__

COMMON_CFLAGS := $(COMMON_FLAGS) -std=gnu99 -O2 -g
COMMON_CFLAGS += -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes
COMMON_CFLAGS += -ffreestanding -fno-builtin -fno-common -fno-strict-aliasing
COMMON_CFLAGS += -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables
COMMON_CFLAGS += -fcf-protection=none -mno-red-zone -mno-sse -mno-mmx
COMMON_CFLAGS += -mgeneral-regs-only -Wno-unused-parameter

# No build id: one image, byte for byte, from one source.
LDFLAGS := -nostdlib -static --build-id=none -z max-page-size=4096
LDFLAGS += --no-warn-rwx-segments -T $(ROOT)/runtime/image.lds

env-flags-hvm64   := -m64 -DCONFIG_HVM -DCONFIG_64BIT
env-flags-hvm32   := -m32 -DCONFIG_HVM -DCONFIG_32BIT
env-flags-pv64    := -m64 -DCONFIG_PV -DCONFIG_64BIT
env-flags-pv32pae := -m32 -DCONFIG_PV -DCONFIG_32BIT

env-ldflags-hvm64   := -m elf_x86_64
env-ldflags-hvm32   := -m elf_i386
env-ldflags-pv64    := -m elf_x86_64
env-ldflags-pv32pae := -m elf_i386

obj-perenv :=

include $(ROOT)/build/files.mk
