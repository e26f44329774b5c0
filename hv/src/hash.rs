// SPDX-License-Identifier: GPL-2.0-only
//! How the numbers that guests choose are hashed, so that they do not meet in one bucket,
//! by chance or on purpose.
//!
//! The hash that [`crate::index`] has from `hashbrown` is one multiplication by a seed. It
//! has two weaknesses here. With one seed in a hundred, numbers in a row crowd in a few
//! buckets. And its seeds come from addresses, which are the same after each boot of the
//! same hypervisor: a guest could know them, and choose frames that make one long chain. So
//! numbers are spread first, and multiplied by a secret.

use core::{
    hash::Hasher,
    sync::atomic::{AtomicU64, Ordering},
};

/// 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Odd.
static SECRET: AtomicU64 = AtomicU64::new(1);

/// Takes a number that guests cannot know. To be called once, before there is any domain:
/// what was hashed before is not found any more.
pub fn set_secret(random: u64) {
    SECRET.store(random | 1, Ordering::Relaxed);
}

/// A number that looks like no other's neighbour, and differs with the secret, which is odd.
#[inline]
pub fn mixed(number: u64, secret: u64) -> u64 {
    let spread = number.wrapping_mul(SPREAD);
    let mixed = (spread ^ spread >> 32).wrapping_mul(secret);
    mixed ^ mixed >> 32
}

/// Hashes a number.
#[inline]
pub(crate) fn hash_number<S: Hasher>(number: u64, state: &mut S) {
    state.write_u64(mixed(number, SECRET.load(Ordering::Relaxed)));
}
