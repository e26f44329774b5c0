// SPDX-License-Identifier: GPL-2.0-only
//! I/O page tables of contexts.

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::{ffi::c_int, ptr::NonNull};

    use hv::{
        addr::{Dfn, DfnRange},
        host::{
            AttachError, Content, CopyError, DeviceError, HasDevices, IommuError, NoIoContext,
            Progress,
        },
    };
    use hypercall_abi::Errno;

    use crate::{domain::XenDomain, ffi};

    /// I/O page tables that devices of one domain can use.
    ///
    /// # Invariants
    ///
    /// What gdma_context_create() gave, and nobody else destroys it.
    pub(crate) struct XenIoContext(NonNull<ffi::IoContext>);

    // SAFETY: C's functions on contexts may be called on any CPU, at the same time,
    // but for the last one, which `Drop` calls.
    unsafe impl Send for XenIoContext {}
    // SAFETY: the same.
    unsafe impl Sync for XenIoContext {}

    impl XenIoContext {
        pub(crate) fn range(
            owner: &XenDomain,
            last: Dfn,
            wanted: u64,
            content: Content,
        ) -> Option<DfnRange> {
            let last = last.number();
            let (mut first, mut count) = (0, 0);
            let exists = match content {
                // SAFETY: room for the results.
                Content::Empty => unsafe {
                    ffi::gdma_context_range(last, wanted, &mut first, &mut count)
                },
                // SAFETY: a live domain, and room for the results.
                Content::Mirror => unsafe {
                    ffi::gdma_mirror_range(owner.as_ptr(), last, wanted, &mut first, &mut count)
                },
            };
            exists.then(|| DfnRange {
                first: Dfn::new(first),
                count,
            })
        }

        pub(crate) fn new(owner: &XenDomain, number: u32) -> Result<Self, NoIoContext> {
            let mut context = core::ptr::null_mut();
            // SAFETY: a live domain, which outlives its contexts: they are part of its
            // state; and room for the result.
            let result = unsafe { ffi::gdma_context_create(owner.as_ptr(), number, &mut context) };
            match NonNull::new(context) {
                Some(context) if result == 0 => Ok(Self(context)),
                _ if result == Errno::NoMem.wire() => Err(NoIoContext::OutOfMemory),
                _ => Err(NoIoContext::OutOfNumbers),
            }
        }

        /// One step of making it a copy of its owner's memory, at frames below `end`.
        pub(crate) fn mirror(&self, end: Dfn) -> Result<Progress, CopyError> {
            const PREEMPTED: c_int = Errno::Restart.wire();
            const UNSUPPORTED: c_int = Errno::OpNotSupp.wire();
            const NO_MEMORY: c_int = Errno::NoMem.wire();
            // SAFETY: the invariant; the owner, which makes the call, is alive.
            match unsafe { ffi::gdma_mirror_copy(self.0.as_ptr(), end.number()) } {
                0 => Ok(Progress::Done),
                PREEMPTED => Ok(Progress::Preempted),
                UNSUPPORTED => Err(CopyError::Unsupported),
                NO_MEMORY => Err(CopyError::OutOfMemory),
                _ => Err(CopyError::Iommu),
            }
        }

        /// One step of taking the copy out of the tables.
        pub(crate) fn end_mirror(&self) -> Result<Progress, IommuError> {
            const PREEMPTED: c_int = Errno::Restart.wire();
            // SAFETY: the invariant; the owner outlives its contexts.
            match unsafe { ffi::gdma_mirror_end(self.0.as_ptr()) } {
                0 => Ok(Progress::Done),
                PREEMPTED => Ok(Progress::Preempted),
                _ => Err(IommuError),
            }
        }

        pub(crate) fn close(&self) -> Result<(), HasDevices> {
            // SAFETY: the invariant.
            if unsafe { ffi::gdma_context_close(self.0.as_ptr()) } {
                Ok(())
            } else {
                Err(HasDevices)
            }
        }

        /// What the IOMMU drivers take for a domain. It lives as long as the value.
        #[inline]
        pub(crate) fn tables(&self) -> *mut ffi::Domain {
            // SAFETY: the invariant.
            unsafe { ffi::gdma_context_tables(self.0.as_ptr()) }
        }

        /// See [`hv::host::Contexts::most_contexts`].
        pub(crate) fn most() -> u32 {
            ffi::gdma_context_limit()
        }

        /// Moves a device of `owner`: with `None`, back to its own tables. False: it
        /// is there already.
        pub(crate) fn attach(
            owner: &XenDomain,
            sbdf: u32,
            to: Option<&Self>,
        ) -> Result<bool, AttachError> {
            const NOT_YOURS: c_int = Errno::NoDev.wire();
            const CLOSED: c_int = Errno::Srch.wire();
            const SHARED: c_int = Errno::Busy.wire();
            const NOT_MOVABLE: c_int = Errno::OpNotSupp.wire();
            let to = to.map_or(core::ptr::null_mut(), |to| to.0.as_ptr());
            // SAFETY: a live domain, and NULL or a context.
            match unsafe { ffi::gdma_context_attach(owner.as_ptr(), to, sbdf) } {
                0 => Ok(false),
                1 => Ok(true),
                NOT_YOURS => Err(AttachError::Device(DeviceError::NotYours)),
                CLOSED => Err(AttachError::Closed),
                SHARED => Err(AttachError::Shared),
                NOT_MOVABLE => Err(AttachError::NotMovable),
                _ => Err(AttachError::Iommu),
            }
        }
    }

    impl Drop for XenIoContext {
        fn drop(&mut self) {
            loop {
                // SAFETY: the invariant; nobody else has the value any more.
                let result = unsafe { ffi::gdma_context_destroy(self.0.as_ptr()) };
                if result == Errno::Restart.wire() {
                    // Few tables are left when nothing is mapped.
                    continue;
                }
                if result != 0 {
                    // Better lost than used by a device after it is freed.
                    log::error!("I/O page tables with devices are lost");
                }
                return;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::XenIoContext;

/// Xen cannot move devices on this architecture: there is no such value.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) enum XenIoContext {}

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    use hv::{
        addr::{Dfn, DfnRange},
        host::{
            AttachError, Content, CopyError, DeviceError, HasDevices, IommuError, NoIoContext,
            Progress,
        },
    };

    use super::XenIoContext;
    use crate::{domain::XenDomain, ffi};

    impl XenIoContext {
        pub(crate) fn range(
            _owner: &XenDomain,
            _last: Dfn,
            _wanted: u64,
            _content: Content,
        ) -> Option<DfnRange> {
            None
        }

        pub(crate) fn new(_owner: &XenDomain, _number: u32) -> Result<Self, NoIoContext> {
            Err(NoIoContext::OutOfNumbers)
        }

        pub(crate) fn mirror(&self, _end: Dfn) -> Result<Progress, CopyError> {
            match *self {}
        }

        pub(crate) fn end_mirror(&self) -> Result<Progress, IommuError> {
            match *self {}
        }

        pub(crate) fn close(&self) -> Result<(), HasDevices> {
            match *self {}
        }

        pub(crate) fn tables(&self) -> *mut ffi::Domain {
            match *self {}
        }

        pub(crate) fn most() -> u32 {
            0
        }

        pub(crate) fn attach(
            _owner: &XenDomain,
            _sbdf: u32,
            _to: Option<&Self>,
        ) -> Result<bool, AttachError> {
            Err(AttachError::Device(DeviceError::NoPci))
        }
    }
}
