// SPDX-License-Identifier: GPL-2.0-only
//! Tests of [`super`], the arithmetic of the operations' costs.

use super::*;

/// A clock of 10 ticks and a null call of 100.
const BASELINE: &str = "\
    GNTTAB op=clock what=two_readings batch=1 place=0 calls=1 elements=1 rounds=3 ticks=10 min=10 max=10\n\
    GNTTAB op=null what=xen_version batch=1 place=0 calls=128 elements=128 rounds=3 ticks=12810 min=1 max=1\n";

fn timed(op: &str, batch: u64, place: u64, calls: u64, ticks: u64) -> String {
    format!(
        "(d0) GNTTAB op={op} what=own,v1 batch={batch} place={place} calls={calls} elements=128 \
         rounds=3 ticks={ticks} min={ticks} max={ticks}\n"
    )
}

fn failed(op: &str, batch: u64, how: &str) -> String {
    format!("GNTTAB op={op} what=own,v1 batch={batch} place=0 {how}\n")
}

fn parse(lines: &[String]) -> Costs {
    Costs::parse("pv64", &format!("{BASELINE}{}", lines.concat())).unwrap()
}

fn subject(op: &str) -> Subject {
    Subject {
        env: "pv64".into(),
        op: op.into(),
        what: "own,v1".into(),
    }
}

/// One operation at one batch with this net cost an element.
fn of_net(batch: u64, net: u64) -> String {
    let calls = 128 / batch;
    timed("copy", batch, 0, calls, 10 + 100 * calls + 128 * net)
}

fn verdict_of(theirs: &[String], ours: &[String]) -> Verdict {
    let found = verdicts(&compare(&parse(theirs), &parse(ours)));
    assert_eq!(found.len(), 1);
    found[0].1.clone()
}

#[test]
fn net_is_less_the_clock_and_the_null_calls_made() {
    // 8 calls: 10 for the clock, 800 for null calls, 128 elements of 50.
    let costs = parse(&[timed("copy", 16, 0, 8, 10 + 800 + 6400)]);
    let expected = Cost {
        gross: 56.25, // (800 + 6400) / 128
        net: 50.0,
    };
    assert_eq!(
        costs.outcome(&subject("copy"), 16),
        Some(&Outcome::Cost(expected))
    );
}

#[test]
fn places_are_averaged() {
    let costs = parse(&[
        timed("copy", 128, 0, 1, 110 + 128 * 40),
        timed("copy", 128, 1, 1, 110 + 128 * 60),
    ]);
    let Some(Outcome::Cost(cost)) = costs.outcome(&subject("copy"), 128) else {
        panic!("{costs:?}");
    };
    assert_eq!(cost.net, 50.0);
    assert_eq!(costs.rows().count(), 1);
}

#[test]
fn what_fails_is_never_a_number() {
    let costs = parse(&[
        failed("copy", 1, "error=-38"),
        failed("transfer", 1, "error=-14"),
        failed("map_grant_ref", 1, "status=-1"),
        failed("unmap_grant_ref", 1, "unmeasured=1"),
    ]);
    let outcome = |op| costs.outcome(&subject(op), 1).unwrap().to_string();
    assert_eq!(outcome("copy"), "not built");
    assert_eq!(outcome("transfer"), "refused (error -14)");
    assert_eq!(outcome("map_grant_ref"), "refused (status -1)");
    assert_eq!(outcome("unmap_grant_ref"), "refused (unmeasured)");
    assert!(
        costs
            .figures("ours")
            .iter()
            .all(|figure| figure.value.is_none() && figure.answer.is_some())
    );
}

#[test]
fn one_place_that_fails_leaves_no_mean() {
    let costs = parse(&[
        timed("copy", 1, 1, 128, 100_000),
        failed("copy", 1, "status=-3"),
    ]);
    assert_eq!(
        costs.outcome(&subject("copy"), 1),
        Some(&Outcome::Refused("status -3".into()))
    );
}

#[test]
fn the_worst_batch_decides() {
    let theirs = [of_net(1, 1000), of_net(16, 1000), of_net(128, 1000)];
    let ours = |nets: [u64; 3]| {
        [
            of_net(1, nets[0]),
            of_net(16, nets[1]),
            of_net(128, nets[2]),
        ]
    };
    assert_eq!(
        verdict_of(&theirs, &ours([800, 400, 700])),
        Verdict::GoalMet(0.8)
    );
    assert_eq!(
        verdict_of(&theirs, &ours([100, 801, 100])),
        Verdict::NotSlower(0.801)
    );
    assert_eq!(
        verdict_of(&theirs, &ours([1004, 400, 1000])),
        Verdict::NotSlower(1.004)
    );
    assert_eq!(
        verdict_of(&theirs, &ours([900, 1005, 100])),
        Verdict::Slower(1.005, 16)
    );
}

#[test]
fn the_batch_sizes_of_one_operation_stand_together() {
    let mixed = [1, 16].map(|batch| {
        let calls = 128 / batch;
        let unmap = timed("unmap_grant_ref", batch, 0, calls, 100_000);
        timed("map_grant_ref", batch, 0, calls, 100_000) + &unmap
    });
    let costs = parse(&mixed);
    let order: Vec<(String, u64)> = compare(&costs, &costs)
        .into_iter()
        .map(|row| (row.subject.op, row.batch))
        .collect();
    let expected = [
        ("map_grant_ref", 1),
        ("map_grant_ref", 16),
        ("unmap_grant_ref", 1),
        ("unmap_grant_ref", 16),
    ];
    assert_eq!(order, expected.map(|(op, batch)| (op.to_owned(), batch)));
}

#[test]
fn a_strict_run_fails_for_slower_and_for_missing() {
    let theirs = [of_net(1, 1000)];
    assert!(verdict_of(&theirs, &[of_net(1, 1100)]).is_failure());
    assert!(!verdict_of(&theirs, &[of_net(1, 1000)]).is_failure());
    let missing = verdict_of(&theirs, &[failed("copy", 1, "error=-38")]);
    assert_eq!(missing, Verdict::Missing("not built".into()));
    assert!(missing.is_failure());
    let absent = verdict_of(&theirs, &[]);
    assert_eq!(absent, Verdict::Missing("refused (unmeasured)".into()));
    // Nothing to compare with is no fault of ours.
    let alone = verdict_of(&[failed("copy", 1, "error=-38")], &[of_net(1, 1)]);
    assert_eq!(alone, Verdict::Incomparable("not built".into()));
    assert!(!alone.is_failure());
}

#[test]
fn memory_is_what_the_users_share() {
    // 5 pages a frame of 512 entries, one of them the frame: 4 * 4096 / 512.
    let costs = parse(&[
        "GNTTAB-MEMORY what=table frames=2 entries=1024 pages=10\n".into(),
        "GNTTAB-MEMORY what=handles handles=512 pages=2\n".into(),
    ]);
    assert_eq!(costs.per_entry, Some(Memory::Bytes(32.0)));
    assert_eq!(costs.per_handle, Some(Memory::Bytes(16.0)));
    let refused = parse(&["GNTTAB-MEMORY what=handles status=-1\n".into()]);
    assert_eq!(
        refused.per_handle,
        Some(Memory::Refused("status -1".into()))
    );
}

#[test]
fn lines_without_sense_are_refused() {
    let fault = |line: &str| match Costs::parse("pv64", &format!("{BASELINE}{line}")) {
        Err(CostError::Line { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault("GNTTAB op=copy what=x batch=1"), "no place");
    assert_eq!(fault("GNTTAB op=copy what=x batch=1 place=0"), "no calls");
    assert_eq!(
        fault("GNTTAB op=copy what=x batch=1 place=0 calls=0 elements=1 ticks=1"),
        "nothing was done"
    );
    assert_eq!(fault("GNTTAB op"), "'op' is no name=value");
    assert_eq!(fault("GNTTAB-MEMORY what=moon pages=1"), "memory of 'moon'");
    let twice = [
        failed("copy", 1, "error=-38"),
        failed("copy", 1, "error=-38"),
    ]
    .concat();
    assert_eq!(
        Costs::parse("pv64", &twice).unwrap_err(),
        CostError::Twice("pv64 copy own,v1, batch 1".into())
    );
}

#[test]
fn without_a_baseline_nothing_is_net() {
    assert_eq!(
        Costs::parse("pv64", &of_net(1, 5)).unwrap_err(),
        CostError::NoBaseline("clock")
    );
}

#[test]
fn the_json_has_the_agreed_names() {
    let figures = parse(&[of_net(16, 50)]).figures("xen-c");
    let json = serde_json::to_value(&figures).unwrap();
    let expected = serde_json::json!({
        "benchmark": "grant-table-operations", "variant": "xen-c", "arch": "x86_64", "guest": "pv64",
        "operation": "copy", "what": "own,v1", "batch": 16,
        "metric": "net_instructions_per_element", "value": 50.0, "unit": "instructions"
    });
    assert_eq!(json[1], expected);
}
