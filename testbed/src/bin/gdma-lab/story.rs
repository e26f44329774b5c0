// SPDX-License-Identifier: GPL-2.0-only
//! What a test guest tells of its work, line by line, and what Xen says meanwhile. Pure.
//!
//! A guest prints `STEP <n>: <text>` before each step and `FACT <name>=<value>` for what came of it.

use crate::console::{self, Speaker};

/// A line worth telling a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Step {
        number: u32,
        text: String,
    },
    Fact {
        name: String,
        value: String,
    },
    /// Xen saw the IOMMU stop a device.
    Fault(String),
}

impl Event {
    pub fn parse(line: &str) -> Option<Self> {
        let (speaker, text) = console::attribute(line);
        match speaker {
            Speaker::TestGuest => step(text).or_else(|| fact(text)),
            Speaker::Xen => fault(text),
            Speaker::Domain(_) => None,
        }
    }
}

fn step(text: &str) -> Option<Event> {
    let (number, text) = text.strip_prefix("STEP ")?.split_once(':')?;
    Some(Event::Step {
        number: number.trim().parse().ok()?,
        text: text.trim().to_owned(),
    })
}

fn fact(text: &str) -> Option<Event> {
    let (name, value) = text.strip_prefix("FACT ")?.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
    is_name.then(|| Event::Fact {
        name: name.to_owned(),
        value: value.trim().to_owned(),
    })
}

/// VT-d names the request; AMD-Vi calls it an I/O page fault.
fn fault(text: &str) -> Option<Event> {
    let is_fault = text.starts_with("[VT-D]DMAR:[DMA ") || text.contains("IO_PAGE_FAULT");
    is_fault.then(|| Event::Fault(text.to_owned()))
}

/// What was told in one boot.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub steps: usize,
    pub facts: usize,
    pub faults: usize,
}

impl Told {
    pub fn count(&mut self, event: &Event) {
        match event {
            Event::Step { .. } => self.steps += 1,
            Event::Fact { .. } => self.facts += 1,
            Event::Fault(_) => self.faults += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_facts_are_the_guests() {
        let step = Event::Step {
            number: 12,
            text: "map: one page".into(),
        };
        assert_eq!(Event::parse("STEP 12: map: one page\r"), Some(step.clone()));
        assert_eq!(
            Event::parse("(d0) [    1.0] STEP 12: map: one page"),
            Some(step)
        );
        assert_eq!(Event::parse("(d1) STEP 12: map: one page"), None);
        assert_eq!(Event::parse("(XEN) STEP 12: map: one page"), None);
        let fact = Event::Fact {
            name: "device_address".into(),
            value: "0x1000 (a=b)".into(),
        };
        assert_eq!(Event::parse("FACT device_address=0x1000 (a=b)"), Some(fact));
    }

    #[test]
    fn malformed_lines_are_told_to_nobody() {
        for line in [
            "STEP one: x",
            "STEP 1 x",
            "STEPS 1: x",
            "FACT x",
            "FACT =3",
            "FACT two words=3",
            "fact a=1",
            "",
        ] {
            assert_eq!(Event::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn faults_are_xens() {
        let text = "[VT-D]DMAR:[DMA Write] Request device [0000:00:03.0] fault addr 200000";
        assert_eq!(
            Event::parse(&format!("(XEN) [    1.0] {text}")),
            Some(Event::Fault(text.into()))
        );
        assert_eq!(Event::parse(text), None, "a guest cannot speak for Xen");
        assert_eq!(
            Event::parse("(XEN) [VT-D]DMAR: reason 05 - PTE Write access is not set"),
            None
        );
    }

    #[test]
    fn each_event_counts_once() {
        let mut told = Told::default();
        for line in [
            "STEP 1: a",
            "FACT b=1",
            "FACT c=2",
            "(XEN) [VT-D]DMAR:[DMA Read] Request device",
        ] {
            told.count(&Event::parse(line).unwrap());
        }
        assert_eq!(
            told,
            Told {
                steps: 1,
                facts: 2,
                faults: 1
            }
        );
    }
}
