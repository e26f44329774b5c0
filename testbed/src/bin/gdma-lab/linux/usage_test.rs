// SPDX-License-Identifier: GPL-2.0-only
//! The script that reads Xen's debug key `g` in dom0, `testbed/linux-lab/grant-usage.awk`, run on this
//! machine. All checks that grants are given back rest on it, so it has to be able to say that they are
//! not.

use std::io::Write;
use std::process::{Command, Stdio};

/// The lines of the script, or `None` if it fails.
fn usage(xen_log: &str) -> Option<Vec<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/linux-lab/grant-usage.awk");
    let mut awk = Command::new("awk")
        .args(["-f", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    awk.stdin
        .take()
        .unwrap()
        .write_all(xen_log.as_bytes())
        .unwrap();
    let output = awk.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    output
        .status
        .success()
        .then(|| lines.lines().map(str::to_owned).collect())
}

/// A domain's part of what the key prints, with these references in use.
fn part(domain: u32, maptrack: u32, refs: &[u32]) -> String {
    let mut lines = vec![
        "      -------- active --------       -------- shared --------".to_owned(),
        "[ref] localdom mfn      pin          localdom gmfn     flags".to_owned(),
        format!("grant-table for remote d{domain} (v1)"),
        format!("  4 frames (64 max), {maptrack} maptrack frames (1024 max)"),
    ];
    lines.extend(
        refs.iter().map(|gref| {
            format!("[0x{gref:03x}]      0 0x03a5f2 0x00000001          0 0x0012ab 0x19")
        }),
    );
    if refs.is_empty() {
        lines.push("no active grant table entries".to_owned());
    }
    let prefixed = |line: &String| format!("(XEN) [  123.456789] {line}\n");
    lines.iter().map(prefixed).collect()
}

fn lines(expected: &[&str]) -> Option<Vec<String>> {
    Some(expected.iter().map(|line| (*line).to_owned()).collect())
}

#[test]
fn nothing_in_use_is_zero() {
    assert_eq!(usage(&part(0, 1, &[])), lines(&["0 0 0 1"]));
}

#[test]
fn references_of_devices_are_told_from_the_reserved() {
    let log = part(0, 3, &[]) + &part(12, 1, &[0, 1, 7, 8, 0x10, 0x123, 0x1000]);
    assert_eq!(usage(&log), lines(&["0 0 0 3", "12 7 4 1"]));
}

#[test]
fn an_entry_of_dom0_counts() {
    assert_eq!(usage(&part(0, 1, &[9])), lines(&["0 1 1 1"]));
}

#[test]
fn a_zombie_without_entries_still_has_its_line() {
    let log = part(0, 1, &[]) + &part(3, 1, &[]);
    assert_eq!(usage(&log), lines(&["0 0 0 1", "3 0 0 1"]));
}

#[test]
fn without_time_stamps_it_is_the_same() {
    let log = part(0, 1, &[9]).replace("[  123.456789] ", "");
    assert_eq!(usage(&log), lines(&["0 1 1 1"]));
}

#[test]
fn a_log_without_the_tables_is_no_good_news() {
    assert_eq!(usage(""), None);
    assert_eq!(usage("(XEN) [    1.0] 'g' pressed -> nothing\n"), None);
    assert_eq!(usage(&part(5, 1, &[])), None, "domain 0 is missing");
    let cut = part(0, 1, &[]).replace("no active grant table entries", "");
    assert_eq!(usage(&cut), None, "neither entries nor word of none");
}
