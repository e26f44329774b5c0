# SPDX-License-Identifier: GPL-2.0-only
#
# Compile abi-layout.c against two sets of headers and compare the results, for
# guests of both widths.

include $(ROOT)/build/common.mk

xen-flags := -ffreestanding -std=gnu99 -Wall -Werror -DXEN_HEADERS
xen-flags += -I$(XEN_ROOT)/xen/include

.PHONY: check
check: check-64 check-32

check-64: env-flags := $(env-flags-hvm64)
check-32: env-flags := $(env-flags-hvm32)

.PHONY: check-64 check-32
check-64 check-32: check-%:
	@mkdir -p $(O)/obj
	$(CC) $(COMMON_CFLAGS) $(env-flags) -c build/abi-layout.c -o $(O)/obj/abi-runtime-$*.o
	$(CC) $(xen-flags) -m$* -c build/abi-layout.c -o $(O)/obj/abi-xen-$*.o
	$(OBJCOPY) -O binary -j .abi $(O)/obj/abi-runtime-$*.o $(O)/obj/abi-runtime-$*.bin
	$(OBJCOPY) -O binary -j .abi $(O)/obj/abi-xen-$*.o $(O)/obj/abi-xen-$*.bin
	cmp $(O)/obj/abi-runtime-$*.bin $(O)/obj/abi-xen-$*.bin
