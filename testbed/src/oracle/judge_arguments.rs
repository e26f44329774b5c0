// SPDX-License-Identifier: GPL-2.0-only
//! The same for `register_args`, and calls whose array is in an argument area.

use std::ops::Range;

use hypercall_abi::{Errno, arguments::RegisterArgs};
use zerocopy::IntoBytes;

use super::{
    Checked,
    judge::{Element, NOT_WORKED_ON, Step, marked_by_status},
};

const MOST_FRAMES: u32 = 4;
/// What is in an area where no array is.
const AROUND: u8 = 0x6b;

impl Element for RegisterArgs {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let unchanged = Self {
            status: after.status,
            ..*before
        };
        assert_eq!(unchanged, *after, "more than the status changed");
        let vcpu = (step.caller, 0);
        match step.area(before) {
            Ok(frames) if after.status == 0 => {
                step.reference.areas.remove(&vcpu);
                if !frames.is_empty() {
                    step.reference.areas.insert(vcpu, frames);
                }
            }
            Ok(frames) => {
                assert!(step.may_fail && !frames.is_empty(), "{before:?} {after:?}");
                assert_eq!(after.status, Errno::NoMem.wire(), "{before:?}");
            }
            Err(fits) => assert!(
                fits.iter().any(|error| error.wire() == after.status),
                "{before:?}: status {} instead of {fits:?}",
                after.status
            ),
        }
    }
}

impl Step<'_> {
    /// The frames of the area, or the errors that fit.
    fn area(&self, op: &RegisterArgs) -> Result<Vec<u64>, Vec<Errno>> {
        if op.nr_frames > MOST_FRAMES || (op.nr_frames == 0 && op.gfn != 0) {
            return Err(vec![Errno::Inval]);
        }
        (0..u64::from(op.nr_frames))
            .map(|nth| {
                let gfn = op.gfn.checked_add(nth).ok_or(vec![Errno::Fault])?;
                self.rules().memory_to_write(self.caller, gfn)
            })
            .collect()
    }
}

impl Checked {
    /// Where an array of so many bytes goes in the area of a domain's first vcpu: to its
    /// end. `None`: there is no area, or it is too small.
    pub(super) fn place_in_area(&self, domain: u16, bytes: usize) -> Option<usize> {
        let area = self.reference.areas.get(&(domain, 0))?;
        (area.len() * 4096)
            .checked_sub(bytes)
            .map(|offset| offset / 8 * 8)
    }

    fn area_bytes(&self, domain: u16) -> Vec<u8> {
        let state = self.machine.state();
        let area = &self.reference.areas[&(domain, 0)];
        area.iter()
            .flat_map(|&mfn| *state.frames.get(mfn).expect("area").contents())
            .collect()
    }

    /// Puts an array into the area, and a pattern around it.
    pub(super) fn store_in_area<T: Element>(&self, domain: u16, offset: usize, elements: &[T]) {
        let mut bytes = self.area_bytes(domain);
        bytes.fill(AROUND);
        let array = elements.as_bytes();
        bytes[offset..offset + array.len()].copy_from_slice(array);
        let area = &self.reference.areas[&(domain, 0)];
        let mut state = self.machine.state();
        for (mfn, page) in area.iter().zip(bytes.chunks(4096)) {
            let frame = state.frames.get_mut(*mfn).expect("area");
            frame.write_range(0, page);
        }
    }

    /// Takes it out again, and looks whether anything else changed.
    pub(super) fn load_from_area<T: Element>(
        &self,
        domain: u16,
        offset: usize,
        elements: &mut [T],
    ) {
        let bytes = self.area_bytes(domain);
        let array = elements.as_mut_bytes();
        let range = Range {
            start: offset,
            end: offset + array.len(),
        };
        array.copy_from_slice(&bytes[range.clone()]);
        let mut around = bytes[..range.start].iter().chain(&bytes[range.end..]);
        assert!(around.all(|&byte| byte == AROUND), "bytes beside the array");
    }
}
