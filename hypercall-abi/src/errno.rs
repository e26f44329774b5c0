// SPDX-License-Identifier: MIT
//! Error numbers on the wire: Xen's (`public/errno.h`), returned negated.

macro_rules! errno {
    ($($(#[$doc:meta])* $name:ident = $value:literal),* $(,)?) => {
        /// An error number of Xen's public ABI.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Errno {
            $($(#[$doc])* $name = $value,)*
        }

        impl Errno {
            /// The error with this positive number, if it is one that Xen's
            /// interfaces give here.
            pub const fn from_number(number: i32) -> Option<Self> {
                match number {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

errno! {
    /// Operation not permitted.
    Perm = 1,
    /// No such object.
    NoEnt = 2,
    /// No such domain.
    Srch = 3,
    /// The IOMMU failed.
    Io = 5,
    /// No access grant.
    NxIo = 6,
    /// Argument list too long.
    TooBig = 7,
    /// Try again.
    Again = 11,
    /// Out of memory.
    NoMem = 12,
    /// The entry does not allow it.
    Acces = 13,
    /// Bad guest address.
    Fault = 14,
    /// In use.
    Busy = 16,
    /// Exists already.
    Exist = 17,
    /// No such device.
    NoDev = 19,
    /// Invalid argument.
    Inval = 22,
    /// No space left.
    NoSpc = 28,
    /// Too many uses of one object.
    MLink = 31,
    /// Out of range.
    Range = 34,
    /// No such operation.
    NoSys = 38,
    /// A continued operation was changed meanwhile.
    IlSeq = 84,
    /// Interrupted by preemption: the operation must be continued.
    Restart = 85,
    /// Not supported here.
    OpNotSupp = 95,
    /// The quota would be passed.
    NoBufs = 105,
}

impl Errno {
    /// The value that goes on the wire: the negated number.
    pub const fn wire(self) -> i32 {
        -(self as i32)
    }
}
