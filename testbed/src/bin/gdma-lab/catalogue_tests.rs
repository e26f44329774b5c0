// SPDX-License-Identifier: GPL-2.0-only
//! Tests of [`super`], the catalogue.

use super::*;
use std::path::PathBuf;

const HEAD: &str = r#"
    [defaults]
    timeout_s = 10
    must_not = ["Xen BUG", "Panic on CPU"]
    [artefacts]
    xen = { path = "x/{arch}/xen", make = "make xen", called = "Xen" }
    guest = { path = "g/{guest}-{env}", make = "make guests", called = "guests" }
    [arch.x86_64]
    qemu = "qemu-system-x86_64"
    qemu_args = ["-m", "64"]
    xen_args = "console=com1"
    [config.c1]
    arch = "x86_64"
    xen = "xen"
    qemu_args = ["-device", "edu"]
    xen_args = "dom0=pvh"
    [bench]
    guest = "b"
    env = "hvm64"
    ours = "c1"
    xen_c = "c1"
    timeout_s = 5
    [demo]
    tests = []
    config = "c1"
"#;

fn parse(tests: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::parse(&format!("{HEAD}\n{tests}"))
}

fn fault(tests: &str) -> String {
    parse(tests).unwrap_err().to_string()
}

fn names(runs: &[Run]) -> Vec<String> {
    runs.iter()
        .map(|run| format!("{}/{}", run.test, run.config))
        .collect()
}

#[test]
fn a_machine_adds_its_own_patterns() {
    let catalogue = parse(
        "[[test]]\nname = 'q'\nabout = ''\nmust = ['all']\n\
         runs = [{ config = 'c1', env = 'pv64', must = ['here'] }]",
    )
    .unwrap();
    let must: Vec<&str> = catalogue.runs[0]
        .expected
        .must
        .iter()
        .map(Regex::as_str)
        .collect();
    assert_eq!(must, ["all", "here"]);
}

#[test]
fn a_run_gathers_its_parts() {
    let catalogue = parse(
        "[[test]]\nname = 'q'\nabout = ''\nxen_args = 'more'\nguest_args = 'a=1'\nmust_not = ['own']\n\
         timeout_s = 3\nruns = [{ config = 'c1', env = 'pv64' }]",
    )
    .unwrap();
    let run = &catalogue.runs[0];
    assert_eq!(run.machine.xen.path, PathBuf::from("x/x86_64/xen"));
    assert_eq!(run.machine.xen_args, "console=com1 dom0=pvh more");
    assert_eq!(run.machine.qemu_args, ["-m", "64", "-device", "edu"]);
    let guest = run.machine.guest.as_ref().unwrap();
    assert_eq!(
        (guest.elf.path.as_path(), guest.args.as_str()),
        (Path::new("g/q-pv64"), "a=1")
    );
    assert_eq!(run.timeout, Duration::from_secs(3));
    let must_not: Vec<&str> = run.expected.must_not.iter().map(Regex::as_str).collect();
    assert_eq!(must_not, ["Xen BUG", "Panic on CPU", "own"]);
    assert_eq!(run.file_stem(), "q-c1");
}

#[test]
fn may_lifts_a_default_and_only_a_default() {
    let test = |may: &str| {
        format!(
            "[[test]]\nname = 'q'\nabout = ''\njudge = 'console'\nmust = ['x']\nmay = ['{may}']\nruns = [{{ config = 'c1' }}]"
        )
    };
    let lifted = parse(&test("Panic on CPU")).unwrap();
    let must_not: Vec<&str> = lifted.runs[0]
        .expected
        .must_not
        .iter()
        .map(Regex::as_str)
        .collect();
    assert_eq!(must_not, ["Xen BUG"]);
    assert_eq!(
        fault(&test("Panik")),
        "lab.toml: q/c1 names the default pattern 'Panik', which is not there"
    );
}

#[test]
fn mistakes_are_found_at_once_and_told_in_one_line() {
    let test = "[[test]]\nname = 'q'\nabout = ''\n";
    assert!(
        fault(&format!("{test}runs = [{{ config = 'c2', env = 'pv64' }}]")).contains("config 'c2'")
    );
    assert!(fault(&format!("{test}runs = []")).contains("no runs"));
    assert!(fault(&format!("{test}runs = [{{ config = 'c1' }}]")).contains("no `env`"));
    assert!(
        fault(&format!(
            "{test}judge = 'console'\nruns = [{{ config = 'c1' }}]"
        ))
        .contains("requires no line")
    );
    let on = "{ config = 'c1', env = 'pv64' }";
    assert!(fault(&format!("{test}must = ['(']\nruns = [{on}]")).contains("bad pattern /(/"));
    assert!(fault(&format!("{test}runs = [{on}, {on}]")).contains("listed twice"));
    let typo = fault(&format!("{test}timeout = 3\nruns = [{on}]"));
    assert!(typo.contains("timeout") && !typo.contains('\n'), "{typo}");
}

#[test]
fn an_address_size_is_one_that_the_table_can_name() {
    let sized = |bits| {
        parse(&format!(
            "[config.c4]\narch = 'x86_64'\nxen = 'xen'\nivrs_virtual_bits = {bits}\n\
             [[test]]\nname = 'q'\nabout = ''\nruns = [{{ config = 'c4', env = 'pv64' }}]"
        ))
    };
    let catalogue = sized(48).unwrap();
    assert_eq!(catalogue.runs[0].machine.ivrs_virtual_bits, Some(48));
    assert_eq!(
        sized(47).unwrap_err().to_string(),
        "lab.toml: config c4: `ivrs_virtual_bits` is 47, not one of [32, 40, 48, 64]"
    );
}

#[test]
fn selection_is_by_test_or_by_run() {
    let catalogue = two_tests();
    assert_eq!(
        names(&catalogue.select(&[], None).unwrap()),
        ["gdma-query/c1", "gdma-query/c3", "other/c1"]
    );
    assert_eq!(
        names(&catalogue.select(&["gdma-query".into()], None).unwrap()),
        ["gdma-query/c1", "gdma-query/c3"]
    );
    assert_eq!(
        names(&catalogue.select(&["gdma-query/c3".into()], None).unwrap()),
        ["gdma-query/c3"]
    );
    assert!(catalogue.select(&[], Some("arm64")).unwrap().is_empty());
}

#[test]
fn an_unknown_name_is_answered_with_near_ones() {
    let catalogue = two_tests();
    let message = |name: &str| {
        catalogue
            .select(&[name.to_owned()], None)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message("gdma-qeury"),
        "no test is called 'gdma-qeury'; did you mean gdma-query?"
    );
    assert!(message("query").contains("gdma-query"));
    assert_eq!(
        message("zzz"),
        "no test is called 'zzz'; `gdma-lab test --list` names them all"
    );
    assert!(message("gdma-query/c9").contains("gdma-query/c1"));
}

fn two_tests() -> Catalogue {
    parse(
        "[config.c3]\narch = 'x86_64'\nxen = 'xen'\n\
         [[test]]\nname = 'gdma-query'\nabout = ''\n\
         runs = [{ config = 'c1', env = 'hvm64' }, { config = 'c3', env = 'hvm64' }]\n\
         [[test]]\nname = 'other'\nabout = ''\nruns = [{ config = 'c1', env = 'hvm64' }]",
    )
    .unwrap()
}

#[test]
fn the_real_catalogue_is_sound() {
    let catalogue = Catalogue::parse(include_str!("../../../lab.toml")).unwrap();
    assert!(!catalogue.demo.is_empty());
    let stock = catalogue
        .select(&["gnttab-v1-loopback/pvh-vtd-stock".into()], None)
        .unwrap();
    assert_eq!(
        stock[0].machine.xen.path,
        PathBuf::from("build/xen/x86_64/stock/xen")
    );
    assert_ne!(
        catalogue.bench.ours.xen.path,
        catalogue.bench.xen_c.xen.path
    );
}
