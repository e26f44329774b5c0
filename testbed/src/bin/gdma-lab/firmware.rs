// SPDX-License-Identifier: GPL-2.0-only
//! Correcting what the emulated firmware tells of the machine, before Xen reads it.
//!
//! QEMU starts with its processor stopped and a debugger's connection open. A breakpoint lets the
//! firmware run to Xen's first instruction. There the tables are complete and nobody has read them. They
//! are changed in the machine's memory, and the machine runs on without a debugger.
//!
//! The connection is a pair of sockets, one of which QEMU inherits: it has no name that others could use.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use object::Object;

use crate::acpi::{self, TableError};
use crate::gdb::{Debugger, GdbError};
use crate::process::StopWish;

/// How often one who waits for QEMU looks whether to go on.
const POLL: Duration = Duration::from_millis(50);

/// What is wrong in the tables of a machine, and where Xen begins on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The address of Xen's first instruction, before paging.
    entry: u64,
    /// How many bits devices' addresses have, as the IVRS table should say.
    ivrs_virtual_bits: u8,
}

/// Until when, and as long as nobody wishes otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'a> {
    /// `None`: for ever.
    pub deadline: Option<Instant>,
    pub stop: &'a StopWish,
}

impl Patience<'_> {
    fn is_over(&self) -> bool {
        self.stop.is_made()
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Correction {
    /// For a machine that boots this Xen.
    pub fn before(xen: &Path, ivrs_virtual_bits: u8) -> Result<Self> {
        let cannot = || format!("cannot find where {} begins: run `make xen`", xen.display());
        let bytes = std::fs::read(xen).with_context(cannot)?;
        let elf = object::File::parse(&*bytes).with_context(cannot)?;
        Ok(Self {
            entry: elf.entry(),
            ivrs_virtual_bits,
        })
    }

    /// Correct the tables of a QEMU that waits at power-on; Xen runs afterwards.
    ///
    /// `false` if that came to nothing because QEMU ended or patience did, which the caller sees too.
    pub fn make(&self, link: UnixStream, patience: Patience<'_>) -> Result<bool, TableError> {
        match self.try_to_make(link, patience) {
            Ok(()) => Ok(true),
            Err(TableError::Debugger(GdbError::Gone)) => Ok(false),
            Err(TableError::Debugger(GdbError::Silent(_))) if patience.is_over() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn try_to_make(&self, link: UnixStream, patience: Patience<'_>) -> Result<(), TableError> {
        let link = Waiting::new(link, patience).map_err(GdbError::from)?;
        let mut debugger = Debugger::new(link);
        debugger.use_physical_addresses()?;
        debugger.set_breakpoint(self.entry)?;
        debugger.run_to_breakpoint()?;
        acpi::set_ivrs_virtual_size(&mut debugger, self.ivrs_virtual_bits)?;
        debugger.remove_breakpoint(self.entry)?;
        Ok(debugger.detach()?)
    }
}

/// QEMU's end of a debugger's connection, which it inherits.
#[derive(Debug)]
pub struct QemusEnd(UnixStream);

/// A connection to the debugger in a QEMU that is yet to be started: our end and its.
pub fn debugger_link() -> io::Result<(UnixStream, QemusEnd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, QemusEnd(theirs)))
}

impl QemusEnd {
    /// QEMU's arguments: stay at power-on, and obey a debugger on what was inherited.
    pub fn qemu_args(&self) -> [String; 5] {
        let inherited = format!("socket,id=debugger,fd={}", self.0.as_raw_fd());
        ["-S", "-gdb", "chardev:debugger", "-chardev", &inherited].map(str::to_owned)
    }

    /// Let the processes that are started during this inherit it, and none later.
    pub fn inherited<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        fcntl(&self.0, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let started = start();
        fcntl(&self.0, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(started)
    }
}

/// A connection on which nothing waits for longer than patience has it.
#[derive(Debug)]
struct Waiting<'a> {
    link: UnixStream,
    patience: Patience<'a>,
}

impl<'a> Waiting<'a> {
    fn new(link: UnixStream, patience: Patience<'a>) -> io::Result<Self> {
        link.set_read_timeout(Some(POLL))?;
        link.set_write_timeout(Some(POLL))?;
        Ok(Self { link, patience })
    }

    fn wait<T>(&mut self, mut act: impl FnMut(&mut UnixStream) -> io::Result<T>) -> io::Result<T> {
        loop {
            match act(&mut self.link) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.patience.is_over() => {
                }
                done => return done,
            }
        }
    }
}

impl Read for Waiting<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.wait(|link| link.read(into))
    }
}

impl Write for Waiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(|link| link.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.link.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const CORRECTION: Correction = Correction {
        entry: 0x20_0000,
        ivrs_virtual_bits: 48,
    };

    fn within(limit: Duration, stop: &StopWish) -> Patience<'_> {
        Patience {
            deadline: Some(Instant::now() + limit),
            stop,
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_debugger_that_says_nothing_is_not_waited_for_longer_than_that() {
        let (ours, _theirs) = debugger_link().unwrap();
        let stop = StopWish::default();
        let made = CORRECTION.make(ours, within(Duration::from_millis(120), &stop));
        assert!(!made.unwrap());
    }

    #[test]
    fn a_wish_to_stop_is_heard() {
        let (ours, _theirs) = debugger_link().unwrap();
        let stop = StopWish::default();
        stop.make();
        assert!(!CORRECTION.make(ours, within(LONG, &stop)).unwrap());
    }

    #[test]
    fn an_end_of_qemu_is_seen() {
        let (ours, theirs) = debugger_link().unwrap();
        drop(theirs);
        let stop = StopWish::default();
        assert!(!CORRECTION.make(ours, within(LONG, &stop)).unwrap());
    }

    #[test]
    fn a_refusal_is_an_error() {
        let (ours, QemusEnd(mut theirs)) = debugger_link().unwrap();
        theirs.write_all(b"+$#00").unwrap();
        let stop = StopWish::default();
        let error = CORRECTION.make(ours, within(LONG, &stop)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "QEMU's debugger answers '' to 'Qqemu.PhyMemMode'"
        );
    }

    #[test]
    fn only_what_is_started_meanwhile_inherits() {
        let (_ours, theirs) = debugger_link().unwrap();
        let fd = format!("/proc/self/fd/{}", theirs.0.as_raw_fd());
        let is_open = || {
            let mut look = Command::new("test");
            look.args(["-e", &fd]).status().unwrap().success()
        };
        assert!(!is_open());
        assert!(theirs.inherited(is_open).unwrap());
        assert!(!is_open());
    }

    #[test]
    fn qemu_is_told_what_it_inherits() {
        let (_ours, theirs) = debugger_link().unwrap();
        let args = theirs.qemu_args();
        let fd = theirs.0.as_raw_fd();
        assert_eq!(args[0], "-S");
        assert_eq!(args[4], format!("socket,id=debugger,fd={fd}"));
    }

    #[test]
    fn a_xen_that_is_none_is_told_with_its_remedy() {
        let error = Correction::before(Path::new("no/xen"), 48).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot find where no/xen begins: run `make xen`"
        );
    }
}
