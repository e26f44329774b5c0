// SPDX-License-Identifier: GPL-2.0-only
//! What a context keeps grows in bounded steps, however much there is already.

use std::hash::{Hash, Hasher};

use hv::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GrantRef, Mfn},
    dma::{
        context::{Context, ReserveError, Source},
        quota::Quota,
    },
    hash::mixed,
    host::Domain,
};
use hypercall_abi::{
    command::{
        XEN_GDMA_OP_CONTEXT_DESTROY, XEN_GDMA_OP_LOOKUP, XEN_GDMA_OP_MAP, XEN_GDMA_OP_UNMAP,
    },
    context::ContextDestroy,
    lookup::Lookup,
    mapping::{Map, Unmap},
};
use testbed::{
    elements::{READ, inside, lookup_gaddr, map_own, unmap_handle},
    model::{DomainSetup, Machine, Preempt, hypercall::Number},
    oracle::Checked,
    row::{ROW, new_context},
    scene::{BACKEND, scene_with},
};

/// Frames, each of them mapped at two device addresses: several doublings of the index.
const FRAMES: u64 = 3_000;
/// A bucket has one page on average, two just before it is split. That one of twelve
/// thousand has more than 16 happens less than once in a million runs.
const MOST_IN_A_BUCKET: u32 = 16;

fn call<T>(checked: &Checked, cmd: u32, ops: &mut [T])
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Copy,
{
    let vcpu = checked.machine.vcpu_of(BACKEND);
    assert_eq!(vcpu.call_with(Number::GrantDma, cmd, ops).value, 0);
}

fn map_each(checked: &Checked) -> Vec<Map> {
    let mut maps: Vec<Map> = (0..FRAMES).map(|nth| map_own(ROW + nth, 1, READ)).collect();
    for maps in maps.chunks_mut(512) {
        call(checked, XEN_GDMA_OP_MAP, maps);
        assert!(maps.iter().all(|map| map.status == 0));
    }
    maps
}

fn most_moved(checked: &Checked) -> u32 {
    let backend = checked.machine.find(BACKEND).expect("a domain");
    let dma = &backend.state().expect("state").dma;
    let space = dma.space(&checked.machine, 0).expect("a context");
    space.most_moved()
}

/// Mapping `nth`, newest first, of a frame.
fn find(checked: &Checked, gfn: u64, nth: u32) -> Lookup {
    let mut ops = [lookup_gaddr(gfn * 4096, nth)];
    call(checked, XEN_GDMA_OP_LOOKUP, &mut ops);
    ops[0]
}

/// A hash as that of the index: a number is multiplied by a seed, and both halves of the
/// product are joined.
struct OneMultiplication {
    seed: u64,
    hash: u64,
}

impl Hasher for OneMultiplication {
    fn write(&mut self, _bytes: &[u8]) {
        panic!("keys are numbers");
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(number ^ self.hash) * u128::from(self.seed);
        self.hash = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// Knuth's generator: its upper half is good enough for seeds.
fn next_random(state: u64) -> u64 {
    state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1)
}

/// Most of these keys that are in one of 2048 buckets.
fn most_in_a_bucket(seed: u64, keys: impl Iterator<Item = impl Hash>) -> u32 {
    let mut buckets = [0; 2048];
    for key in keys {
        let mut hasher = OneMultiplication { seed, hash: !seed };
        key.hash(&mut hasher);
        buckets[(hasher.finish() >> 32) as usize % 2048] += 1;
    }
    buckets.into_iter().max().expect("a bucket")
}

/// With one seed in a hundred, multiples of a number that grows by one crowd in a few
/// buckets: keys must not be so, because the seeds of an index are what they are.
#[test]
fn what_is_in_a_row_is_not_in_a_bucket() {
    let mut seed: u64 = 20;
    for _ in 0..1000 {
        seed = next_random(seed);
        let (row, granter) = (|| ROW..ROW + FRAMES, DomId(2));
        let own = row().map(|nth| Source::own(Gfn::new(nth)));
        let granted = row().map(|nth| Source::grant(granter, GrantRef(nth as u32)));
        let frames = row().map(Mfn::new);
        let most = most_in_a_bucket(seed, own)
            .max(most_in_a_bucket(seed, granted))
            .max(most_in_a_bucket(seed, frames));
        assert!(most <= MOST_IN_A_BUCKET, "seed {seed:#x}: {most}");
    }
}

/// Nor with any secret; and what is in one bucket with one secret is not with another.
#[test]
fn a_guest_cannot_choose_what_is_in_a_bucket() {
    const BUCKET: u64 = 7;
    let in_bucket = |number: u64, secret| mixed(number, secret) >> 32 & 2047 == BUCKET;
    let chosen: Vec<u64> = (0..)
        .filter(|&number| in_bucket(number, 1))
        .take(500)
        .collect();
    let mut random: u64 = 20;
    for _ in 0..1000 {
        random = next_random(random);
        let secret = (random ^ random >> 32) | 1;
        let mut buckets = [0; 2048];
        for &number in &chosen {
            buckets[(mixed(number, secret) >> 32) as usize % 2048] += 1;
        }
        let most = buckets.into_iter().max().expect("a bucket");
        assert!(most <= MOST_IN_A_BUCKET, "secret {secret:#x}: {most}");
        let row = (ROW..ROW + FRAMES).filter(|&number| in_bucket(number, secret));
        assert!(
            row.count() <= MOST_IN_A_BUCKET as usize,
            "secret {secret:#x}"
        );
    }
}

#[test]
fn the_index_grows_by_one_bucket_at_a_time() {
    let checked = scene_with(DomainSetup {
        max_pins: 2 * FRAMES as u32,
        ..DomainSetup::pvh(BACKEND)
    });
    checked.machine.populate_in_a_row(BACKEND, ROW, FRAMES);
    let (older, newer) = (map_each(&checked), map_each(&checked));
    let moved = most_moved(&checked);
    assert!((1..=MOST_IN_A_BUCKET).contains(&moved), "{moved} moved");
    for (nth, (older, newer)) in (0..).zip(older.iter().zip(&newer)) {
        assert_eq!(find(&checked, ROW + nth, 0).handle, newer.handle);
        assert_eq!(find(&checked, ROW + nth, 1).handle, older.handle);
        assert_eq!(find(&checked, ROW + nth, 2).status, -2);
    }
    // Of every other frame the newer one goes, of the others the older one.
    let (gone, stay): (Vec<&Map>, Vec<&Map>) = older
        .iter()
        .zip(&newer)
        .enumerate()
        .map(|(nth, (older, newer))| match nth % 2 {
            0 => (newer, older),
            _ => (older, newer),
        })
        .unzip();
    let mut unmaps: Vec<Unmap> = gone.iter().map(|map| unmap_handle(map.handle)).collect();
    for unmaps in unmaps.chunks_mut(512) {
        call(&checked, XEN_GDMA_OP_UNMAP, unmaps);
        assert!(unmaps.iter().all(|unmap| unmap.status == 0));
    }
    for (nth, map) in (0..).zip(&stay) {
        assert_eq!(find(&checked, ROW + nth, 0).handle, map.handle);
        assert_eq!(find(&checked, ROW + nth, 1).status, -2);
    }
    let mut unmaps: Vec<Unmap> = stay.iter().map(|map| unmap_handle(map.handle)).collect();
    for unmaps in unmaps.chunks_mut(512) {
        call(&checked, XEN_GDMA_OP_UNMAP, unmaps);
    }
    for nth in 0..FRAMES {
        assert_eq!(find(&checked, ROW + nth, 0).status, -2);
    }
    assert_eq!(most_moved(&checked), moved, "unmapping moves nothing");
}

/// Slots that are dropped, at most, between two looks at whether to go on.
const SLOTS_PER_STEP: usize = 1024;

/// A context in which nothing is mapped any more has memory that its mappings needed.
#[test]
fn invariant_7_what_mappings_needed_goes_in_bounded_steps() {
    let mut checked = scene_with(DomainSetup {
        max_pins: FRAMES as u32,
        ..DomainSetup::pvh(BACKEND)
    });
    checked.machine.populate_in_a_row(BACKEND, ROW, FRAMES);
    let number = new_context(&mut checked);
    let mut maps: Vec<Map> = (0..FRAMES)
        .map(|nth| inside(number, map_own(ROW + nth, 1, READ)))
        .collect();
    for maps in maps.chunks_mut(512) {
        call(&checked, XEN_GDMA_OP_MAP, maps);
        assert!(maps.iter().all(|map| map.status == 0));
    }
    let mut unmaps: Vec<Unmap> = maps
        .iter()
        .map(|map| Unmap {
            context: number,
            ..unmap_handle(map.handle)
        })
        .collect();
    for unmaps in unmaps.chunks_mut(512) {
        call(&checked, XEN_GDMA_OP_UNMAP, unmaps);
        assert!(unmaps.iter().all(|unmap| unmap.status == 0));
    }
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let mut ops = [ContextDestroy {
        context: number,
        ..ContextDestroy::default()
    }];
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let called = vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_CONTEXT_DESTROY, &mut ops);
    assert_eq!((called.value, ops[0].status), (0, 0));
    // The slots, and the index.
    let least = maps.len().div_ceil(SLOTS_PER_STEP) + 1;
    assert!(called.steps as usize > least, "{} steps", called.steps);
}

/// Free device frames that follow each other are found if there are any, wherever the search
/// begins: beside a search that looks at every frame.
#[test]
fn runs_of_free_addresses_are_found_wherever_they_are() {
    const COUNT: u64 = 300;
    let range = DfnRange {
        first: Dfn::new(DomainSetup::CONTEXTS),
        count: COUNT,
    };
    let mut random: u64 = 4;
    let mut next = |below: u64| {
        random = next_random(random);
        (random >> 33) % below
    };
    for density in [0, 1, 3, 6, 20, 50, 100] {
        for _ in 0..20 {
            let quota = Quota::new(2 * COUNT as u32);
            let mut context = Context::<Machine>::new(0);
            context.open(range).expect("memory");
            let mut used = [false; COUNT as usize];
            for _ in 0..density {
                let at = next(COUNT);
                let dfn = range.first.checked_add(at);
                let taken = context.reserve(&quota, range, dfn, 1, Access::READ);
                assert_eq!(taken.is_err(), used[at as usize]);
                used[at as usize] = true;
            }
            for count in [1, 2, 3, 5, 31, 32, 63, 64, 65, 100, 128] {
                let behind = range.first.checked_add(next(COUNT)).expect("a number");
                context.search_behind(behind);
                let fits = used.windows(count).any(|run| !run.contains(&true));
                match context.reserve(&quota, range, None, count as u32, Access::READ) {
                    Ok(found) => {
                        let first = range.index_of(found.range.first).expect("inside") as usize;
                        let run = used.get(first..first + count).expect("inside");
                        assert!(!run.contains(&true), "{count} at {first}");
                        assert!(context.withdraw_next(&quota, &found).is_none());
                    }
                    Err(error) => {
                        assert_eq!((error, fits), (ReserveError::NoSpace, false), "{count}");
                    }
                }
            }
        }
    }
}
