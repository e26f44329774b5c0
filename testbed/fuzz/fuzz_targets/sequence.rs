// SPDX-License-Identifier: GPL-2.0-only
//! libFuzzer's way into `testbed::sequence::fuzz_one`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testbed::sequence::fuzz_one(bytes));
