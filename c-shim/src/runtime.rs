// SPDX-License-Identifier: GPL-2.0-only
//! What `core` and `alloc` need of the hypervisor: memory, a console, and a way
//! to give up.

use core::{
    alloc::{GlobalAlloc, Layout},
    fmt::Write,
    panic::PanicInfo,
};

use crate::ffi;

struct XenAllocator;

#[global_allocator]
static ALLOCATOR: XenAllocator = XenAllocator;

// SAFETY: _xvmalloc() returns NULL or memory of the wanted size and alignment that
// nobody else uses until xvfree().
unsafe impl GlobalAlloc for XenAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: no preconditions; a size of 0 does not come here.
        unsafe { ffi::gdma_alloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, _layout: Layout) {
        // SAFETY: the caller got `ptr` from `alloc` above and gives it up.
        unsafe { ffi::gdma_free(ptr) }
    }
}

/// Longest message passed on; the rest is cut off. It lives on Xen's small stack.
const MESSAGE_SIZE: usize = 200;

struct Message {
    text: [u8; MESSAGE_SIZE],
    len: usize,
}

impl Message {
    const fn new() -> Self {
        Self {
            text: [0; MESSAGE_SIZE],
            len: 0,
        }
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for (to, from) in self.text.iter_mut().skip(self.len).zip(text.bytes()) {
            *to = from;
            self.len += 1;
        }
        Ok(())
    }
}

struct Console;

static CONSOLE: Console = Console;

impl log::Log for Console {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut message = Message::new();
        // Only truncation could go wrong, and that is no error.
        let _ = message.write_fmt(*record.args());
        let level = match record.level() {
            log::Level::Error => ffi::LOG_ERROR,
            log::Level::Warn => ffi::LOG_WARNING,
            log::Level::Info => ffi::LOG_INFO,
            log::Level::Debug | log::Level::Trace => ffi::LOG_DEBUG,
        };
        // SAFETY: gdma_log() reads `len` bytes of text, all of them written.
        unsafe { ffi::gdma_log(level, message.text.as_ptr(), message.len) }
    }

    fn flush(&self) {}
}

/// Sends `log` to Xen's console. Once, before anything else of this crate.
/// `verbose`: what only developers want to see as well.
pub(crate) fn init_log(verbose: bool) {
    if log::set_logger(&CONSOLE).is_ok() {
        log::set_max_level(if verbose {
            log::LevelFilter::Debug
        } else {
            log::LevelFilter::Info
        });
    }
}

/// Writes a line to Xen's console that somebody asked for: without a mark, and
/// whatever the log level.
pub(crate) fn print(line: core::fmt::Arguments<'_>) {
    let mut message = Message::new();
    // Only truncation could go wrong, and that is no error.
    let _ = message.write_fmt(line);
    // SAFETY: gdma_print() reads `len` bytes of text, all of them written.
    unsafe { ffi::gdma_print(message.text.as_ptr(), message.len) }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut message = Message::new();
    let _ = write!(message, "{info}");
    // SAFETY: gdma_panic() reads `len` bytes of text, all of them written.
    unsafe { ffi::gdma_panic(message.text.as_ptr(), message.len) }
}
