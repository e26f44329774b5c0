// SPDX-License-Identifier: GPL-2.0-only
//! Random sequences of everything, judged by the oracle after every step.

use proptest::{collection::vec, prelude::*, test_runner::RngSeed};
use testbed::sequence::{
    Action, MapChoice,
    contexts::ContextAction,
    fuzz_one,
    grants::{CopyChoice, CopyEnd, GrantAction},
    play, play_pv,
};

fn map_choice() -> impl Strategy<Value = MapChoice> {
    // Nonsense in one element of sixteen.
    let nonsense = prop_oneof![15 => Just(u16::MAX), 1 => 0..11_u16];
    (any::<[u8; 5]>(), nonsense).prop_map(|([from, source, count, flags, dfn], nonsense)| {
        MapChoice {
            from,
            source,
            count,
            flags,
            dfn,
            nonsense,
        }
    })
}

fn mapping() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (any::<u8>(), vec(map_choice(), 1..5))
            .prop_map(|(holder, elements)| Action::Map { holder, elements }),
        4 => (any::<u8>(), vec(any::<u8>(), 1..5))
            .prop_map(|(holder, which)| Action::Unmap { holder, which }),
        1 => any::<(u8, u64, u32, u32)>().prop_map(|(holder, handle, flags, nr_frames)| {
            Action::UnmapAnything { holder, handle, flags, nr_frames }
        }),
        2 => any::<[u8; 3]>()
            .prop_map(|[holder, frame, index]| Action::Lookup { holder, frame, index }),
        3 => any::<([u8; 4], bool)>().prop_map(|([holder, granter, gref, slot], write)| {
            Action::CpuMap { holder, granter, gref, slot, write }
        }),
        2 => any::<([u8; 2], bool)>().prop_map(|([holder, which], no_address)| {
            Action::CpuUnmap { holder, which, no_address }
        }),
        1 => any::<([u8; 2], bool)>()
            .prop_map(|([holder, frame], write)| Action::Dma { holder, frame, write }),
        1 => any::<[u8; 3]>()
            .prop_map(|[holder, gfn, frames]| Action::Arguments { holder, gfn, frames }),
    ]
}

fn copy_choice() -> impl Strategy<Value = CopyChoice> {
    let end = || {
        any::<[u8; 3]>().prop_map(|[domain, name, offset]| CopyEnd {
            domain,
            name,
            offset,
        })
    };
    (end(), end(), any::<u8>()).prop_map(|(source, dest, len)| CopyChoice { source, dest, len })
}

fn table_operation() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => any::<[u8; 5]>().prop_map(|[holder, granter, gref, slot, flags]| {
            GrantAction::Map { holder, granter, gref, slot, flags }
        }),
        5 => any::<[u8; 3]>()
            .prop_map(|[holder, which, part]| GrantAction::Unmap { holder, which, part }),
        2 => any::<[u8; 3]>()
            .prop_map(|[holder, which, slot]| GrantAction::Replace { holder, which, slot }),
        1 => any::<[u8; 2]>().prop_map(|[slot, gfn]| GrantAction::OwnMap { slot, gfn }),
        8 => (any::<u8>(), vec(copy_choice(), 1..5))
            .prop_map(|(caller, elements)| GrantAction::Copy { caller, elements }),
        2 => any::<[u8; 2]>()
            .prop_map(|[caller, version]| GrantAction::SetVersion { caller, version }),
        2 => (any::<u8>(), any::<[u8; 2]>())
            .prop_map(|(caller, refs)| GrantAction::Swap { caller, refs }),
        2 => any::<[u8; 4]>().prop_map(|[caller, gfn, to, gref]| {
            GrantAction::Transfer { caller, gfn, to, gref }
        }),
        6 => any::<([u8; 5], [u8; 2])>().prop_map(|([granter, gref, kind, holder, frame], part)| {
            GrantAction::Write { granter, gref, kind, holder, frame, part }
        }),
        1 => any::<[u8; 3]>()
            .prop_map(|[domain, gfn, value]| GrantAction::Fill { domain, gfn, value }),
    ]
    .prop_map(Action::Grants)
}

fn context_operation() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => any::<[u8; 4]>().prop_map(|[holder, pages, nonsense, content]| {
            ContextAction::Create { holder, pages, nonsense, content }
        }),
        2 => any::<[u8; 2]>()
            .prop_map(|[holder, which]| ContextAction::Destroy { holder, which }),
        4 => any::<[u8; 3]>()
            .prop_map(|[holder, device, which]| ContextAction::Attach { holder, device, which }),
        3 => any::<[u8; 2]>().prop_map(|[holder, which]| ContextAction::Flush { holder, which }),
        3 => any::<[u8; 2]>().prop_map(|[granter, gref]| ContextAction::Revoke { granter, gref }),
        1 => any::<[u8; 4]>().prop_map(|[caller, target, pins, contexts]| {
            ContextAction::SetLimits { caller, target, pins, contexts }
        }),
        3 => any::<([u8; 2], bool)>()
            .prop_map(|([device, frame], write)| ContextAction::Dma { device, frame, write }),
        1 => any::<[u8; 2]>().prop_map(|[what, nth]| ContextAction::Fail { what, nth }),
    ]
    .prop_map(Action::Contexts)
}

fn window_operation() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (any::<u8>(), map_choice())
            .prop_map(|(holder, element)| ContextAction::Window { holder, element }),
        2 => any::<[u8; 2]>().prop_map(|[holder, which]| ContextAction::EndWindow { holder, which }),
    ]
    .prop_map(Action::Contexts)
}

fn interference() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => any::<[u8; 5]>().prop_map(|[granter, gref, kind, holder, gfn]| {
            Action::WriteEntry { granter, gref, kind, holder, gfn }
        }),
        2 => any::<[u8; 2]>().prop_map(|[what, nth]| Action::Fail { what, nth }),
        1 => any::<u8>().prop_map(|seed| Action::Preempt { seed }),
        1 => any::<[u8; 3]>()
            .prop_map(|[domain, gfn, what]| Action::ChangeFrame { domain, gfn, what }),
        1 => any::<([u8; 2], bool)>()
            .prop_map(|([holder, granter], refuse)| Action::Refuse { holder, granter, refuse }),
    ]
}

/// The same cases in every run. `PROPTEST_CASES` in the environment asks for so
/// many others.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig {
            cases,
            rng_seed: RngSeed::Fixed(20),
            ..default
        },
    }
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn honest_hardware(actions in vec(mapping(), 1..60), order: u8) {
        play(&actions, order);
    }
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn failing_hardware_and_hostile_granters(
        actions in vec(prop_oneof![3 => mapping(), 2 => interference()], 1..60),
        order: u8,
    ) {
        play(&actions, order);
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn contexts(
        actions in vec(
            prop_oneof![5 => context_operation(), 6 => mapping(), 2 => interference()],
            1..80,
        ),
        order: u8,
    ) {
        play(&actions, order);
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn windows(
        actions in vec(
            prop_oneof![
                5 => window_operation(),
                4 => context_operation(),
                3 => mapping(),
                2 => interference(),
            ],
            1..80,
        ),
        order: u8,
    ) {
        play(&actions, order);
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn grant_tables(
        actions in vec(
            prop_oneof![8 => table_operation(), 1 => mapping(), 2 => interference()],
            1..80,
        ),
        order: u8,
    ) {
        play(&actions, order);
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn pv_holder(
        actions in vec(
            prop_oneof![
                8 => mapping(),
                3 => table_operation(),
                2 => context_operation(),
                1 => window_operation(),
                3 => interference(),
            ],
            1..80,
        ),
        order: u8,
        strict in prop_oneof![4 => Just(true), 1 => Just(false)],
    ) {
        play_pv(&actions, order, strict);
    }
}

/// The fuzzer's body on a fixed stream, so that it runs without a fuzzer.
#[test]
fn fuzz_body_on_fixed_seeds() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..800)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                (seed >> 32) as u8
            })
            .collect();
        fuzz_one(&bytes);
    }
}
