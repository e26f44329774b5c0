// SPDX-License-Identifier: GPL-2.0-only
//! A scene for windows: a backend with memory in a row, and what is done with it.

use hypercall_abi::{
    command::XEN_GDMA_OP_WINDOW_DESTROY,
    context::ContextCreate,
    window::{WindowCreate, WindowDestroy},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    model::{DomainSetup, Event, hypercall::Number, iommu::REMOVED},
    oracle::Checked,
    scene::{BACKEND, scene_with},
};

/// Guest frame of memory in a row, on a boundary of large pages.
pub const ROW: u64 = 0x4000;
/// How much of it there is.
pub const ROW_FRAMES: u32 = 2048;

/// A scene whose backend has large pages and may pin them.
pub fn with_row() -> Checked {
    let backend = DomainSetup {
        max_pins: 8192,
        ..DomainSetup::pvh(BACKEND)
    };
    let checked = scene_with(backend);
    let frames = u64::from(ROW_FRAMES);
    checked.machine.populate_in_a_row(BACKEND, ROW, frames);
    checked.switch(|switches| switches.large_pages = true);
    checked.machine.state().events.clear();
    checked
}

/// One `window_create` element of the backend; the call itself must succeed.
pub fn create(checked: &mut Checked, op: WindowCreate) -> WindowCreate {
    let mut ops = [op];
    assert_eq!(checked.window_create(BACKEND, &mut ops).value, 0, "{op:?}");
    ops[0]
}

/// The same, and the element must succeed.
pub fn created(checked: &mut Checked, op: WindowCreate) -> WindowCreate {
    let op = create(checked, op);
    assert_eq!(op.status, 0, "{op:?}");
    op
}

/// The same, and the element must fail with this number, with nothing pinned.
pub fn refused(checked: &mut Checked, op: WindowCreate, status: i32) {
    let pins = checked.query(BACKEND).used_pins;
    assert_eq!(create(checked, op).status, status, "{op:?}");
    assert_eq!(checked.query(BACKEND).used_pins, pins);
}

/// Ends a window of the backend: the element's status.
pub fn destroy(checked: &mut Checked, window: &WindowCreate) -> i32 {
    let mut ops = [WindowDestroy {
        handle: window.handle,
        context: window.context,
        status: 0,
    }];
    assert_eq!(checked.window_destroy(BACKEND, &mut ops).value, 0);
    ops[0].status
}

/// A context of the backend.
pub fn new_context(checked: &mut Checked) -> u32 {
    let mut ops = [ContextCreate::default()];
    assert_eq!(checked.context_create(BACKEND, &mut ops).value, 0);
    assert_eq!(ops[0].status, 0);
    ops[0].context
}

/// Calls of the IOMMU since the last question: frames of each map, frames of each unmap,
/// flushes that were about something removed.
pub fn events(checked: &Checked, calls: impl FnOnce()) -> (Vec<u32>, Vec<u32>, usize) {
    checked.machine.state().events.clear();
    calls();
    let events = std::mem::take(&mut checked.machine.state().events);
    let maps = events.iter().filter_map(|event| match event {
        Event::Map { count, .. } => Some(*count),
        _ => None,
    });
    let unmaps = events.iter().filter_map(|event| match event {
        Event::Unmap { count, .. } => Some(*count),
        _ => None,
    });
    let flushes = events
        .iter()
        .filter(|event| matches!(event, Event::Flush { flags, .. } if flags & REMOVED.0 != 0));
    (maps.collect(), unmaps.collect(), flushes.count())
}

/// One call on a vcpu of the backend, without the oracle. Returns the element.
pub fn raw<T>(checked: &Checked, cmd: u32, op: T) -> T
where
    T: FromBytes + IntoBytes + Immutable + Copy,
{
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [op];
    vcpu.call_with(Number::GrantDma, cmd, &mut ops);
    ops[0]
}

/// Ends a window, without the oracle.
pub fn raw_destroy(checked: &Checked, window: &WindowCreate) -> i32 {
    let op = WindowDestroy {
        handle: window.handle,
        context: window.context,
        status: 1,
    };
    raw(checked, XEN_GDMA_OP_WINDOW_DESTROY, op).status
}

/// Frames that the backend has pinned, as the service counts them.
pub fn backend_pins(checked: &Checked) -> u32 {
    let backend = checked.machine.find(BACKEND).expect("a domain");
    let state = hv::host::Domain::state(&backend).expect("state");
    state.dma.pinned()
}
