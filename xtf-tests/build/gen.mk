# SPDX-License-Identifier: GPL-2.0-only
#
# Rules for one test, from NAME, CATEGORY, TEST-ENVS and obj-perenv.  Objects
# go to $(O)/obj/<env>, under the path of their source, so that tests share
# those of the runtime; the guest goes to $(O)/<test>/test-<env>-<test>.

ifeq ($(NAME),)
$(error NAME should be specified)
endif

ifeq ($(TEST-ENVS),)
$(error TEST-ENVS should not be empty)
endif

ifneq ($(filter-out $(ALL_ENVIRONMENTS),$(TEST-ENVS)),)
$(error Unrecognised environments '$(filter-out $(ALL_ENVIRONMENTS),$(TEST-ENVS))')
endif

ifeq ($(filter $(ALL_CATEGORIES),$(CATEGORY)),)
$(error Unrecognised category '$(CATEGORY)')
endif

# Objects named without a folder are the test's own.
test-obj := $(foreach o,$(obj-perenv),$(if $(filter /%,$(o)),$(o),$(CURDIR)/$(o)))

.PHONY: build
build: $(foreach env,$(TEST-ENVS),$(O)/$(NAME)/test-$(env)-$(NAME))

# $(1): environment
define ENV_rules

objects-$(1) := $$(patsubst $(ROOT)/%,$(O)/obj/$(1)/%,$$(runtime-$(1)) $$(test-obj))

$(O)/obj/$(1)/%.o: $(ROOT)/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(COMMON_CFLAGS) $$(env-flags-$(1)) -c $$< -o $$@

$(O)/obj/$(1)/%.o: $(ROOT)/%.S
	@mkdir -p $$(@D)
	$$(CC) $$(COMMON_AFLAGS) $$(env-flags-$(1)) -c $$< -o $$@

$(O)/$(NAME)/test-$(1)-$(NAME): $$(objects-$(1)) $(ROOT)/runtime/image.lds
	@mkdir -p $$(@D)
	$$(LD) $$(env-ldflags-$(1)) $$(LDFLAGS) $$(objects-$(1)) -o $$@

-include $$(objects-$(1):%.o=%.d)

endef
$(foreach env,$(TEST-ENVS),$(eval $(call ENV_rules,$(env))))

.PHONY: describe
describe:
	@echo "$(NAME) $(CATEGORY) $(TEST-ENVS)"
