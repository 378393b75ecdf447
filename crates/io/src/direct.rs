//! Writes past the page cache that are durable when they return: O_DIRECT with RWF_DSYNC, one call and one wait where a
//! write and a sync are two.
//!
//! RWF_DSYNC is per write what `fdatasync` is per file: it ends in the same function of the file system, for the range
//! written, with the metadata that is needed to read the range back. A short write has synced its part, and the rest is
//! written with the flag again. It is used only on file systems known to do so. One in user space or behind a network
//! may accept the flag and drop it, so there, and wherever the kernel refuses, a file is written through the page cache
//! and synced with `fdatasync`: decided when it is opened, or by the first write.
//!
//! A refusal is not a fault: the call is invalid for this file, so all of it is written again in the other way. No
//! other error but EINTR is followed by another attempt.

use rustix::fs::{FsWord, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};

/// Magic numbers of statfs(2): ext2 to ext4, XFS, Btrfs, F2FS.
const FILE_SYSTEMS: [FsWord; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// Whether a file is written directly.
#[derive(Debug, Default)]
pub(crate) struct Direct(AtomicBool);

/// What is asked of the kernel.
pub(crate) trait Calls {
    fn write(&self, data: &[u8], offset: u64) -> rustix::io::Result<usize>;
    fn write_dsync(&self, data: &[u8], offset: u64) -> rustix::io::Result<usize>;
    fn sync(&self) -> io::Result<()>;
    /// Takes O_DIRECT off the file.
    fn leave_direct(&self) -> rustix::io::Result<()>;
}

impl Calls for fs::File {
    fn write(&self, data: &[u8], offset: u64) -> rustix::io::Result<usize> {
        rustix::io::pwrite(self, data, offset)
    }

    fn write_dsync(&self, data: &[u8], offset: u64) -> rustix::io::Result<usize> {
        rustix::io::pwritev2(self, &[IoSlice::new(data)], offset, ReadWriteFlags::DSYNC)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn leave_direct(&self) -> rustix::io::Result<()> {
        set_direct(self, false)
    }
}

impl Direct {
    /// Puts O_DIRECT on a file that was opened without, since a file that cannot have it would be created all the same.
    pub(crate) fn begin(file: &fs::File) -> Direct {
        let is_known = rustix::fs::fstatfs(file).is_ok_and(|stat| FILE_SYSTEMS.contains(&stat.f_type));
        Direct(AtomicBool::new(is_known && set_direct(file, true).is_ok()))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Writes all of `data`, not durably.
    pub(crate) fn write(&self, calls: &impl Calls, data: &[u8], offset: u64) -> io::Result<()> {
        if self.is_on() && self.try_directly(calls, || write_all(data, offset, |data, at| calls.write(data, at)))? {
            return Ok(());
        }
        Ok(write_all(data, offset, |data, at| calls.write(data, at))?)
    }

    /// Writes all of `data`; it is durable on return.
    pub(crate) fn write_durably(&self, calls: &impl Calls, data: &[u8], offset: u64) -> io::Result<()> {
        if self.is_on()
            && self.try_directly(calls, || write_all(data, offset, |data, at| calls.write_dsync(data, at)))?
        {
            return Ok(());
        }
        write_all(data, offset, |data, at| calls.write(data, at))?;
        calls.sync()
    }

    /// False if this file cannot be written so, which from then on is not tried.
    fn try_directly(&self, calls: &impl Calls, write: impl Fn() -> rustix::io::Result<()>) -> io::Result<bool> {
        match write() {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(error) => {
                calls.leave_direct()?;
                self.0.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// EINVAL: blocks of this size cannot be written directly. The others: no RWF_DSYNC in this kernel, for this file, in
/// this sandbox.
fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM)
}

fn write_all(
    mut data: &[u8],
    mut offset: u64,
    write: impl Fn(&[u8], u64) -> rustix::io::Result<usize>,
) -> rustix::io::Result<()> {
    while !data.is_empty() {
        match write(data, offset) {
            // Neither progress nor a reason.
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                data = data.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn set_direct(file: &fs::File, direct: bool) -> rustix::io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    rustix::fs::fcntl_setfl(file, flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// A kernel that returns what it is told to, then succeeds, and notes what it was asked.
    #[derive(Default)]
    struct Kernel {
        returns: RefCell<VecDeque<rustix::io::Result<usize>>>,
        calls: RefCell<Vec<String>>,
    }

    impl Kernel {
        fn new(returns: &[rustix::io::Result<usize>]) -> Kernel {
            Kernel { returns: RefCell::new(returns.iter().copied().collect()), calls: RefCell::default() }
        }

        fn call(&self, what: String, success: usize) -> rustix::io::Result<usize> {
            self.calls.borrow_mut().push(what);
            self.returns.borrow_mut().pop_front().unwrap_or(Ok(success))
        }

        fn calls(&self) -> String {
            self.calls.take().join(", ")
        }
    }

    impl Calls for Kernel {
        fn write(&self, data: &[u8], offset: u64) -> rustix::io::Result<usize> {
            self.call(format!("write {}+{}", offset, data.len()), data.len())
        }

        fn write_dsync(&self, data: &[u8], offset: u64) -> rustix::io::Result<usize> {
            self.call(format!("dsync {}+{}", offset, data.len()), data.len())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(self.call("sync".to_owned(), 0).map(|_| ())?)
        }

        fn leave_direct(&self) -> rustix::io::Result<()> {
            self.call("leave".to_owned(), 0).map(|_| ())
        }
    }

    fn on() -> Direct {
        Direct(AtomicBool::new(true))
    }

    const DATA: [u8; 3 * 4096] = [1; 3 * 4096];

    #[test]
    fn a_durable_write_is_one_call() {
        let kernel = Kernel::default();
        on().write_durably(&kernel, &DATA, 4096).expect("nothing fails");
        assert_eq!(kernel.calls(), "dsync 4096+12288");
    }

    #[test]
    fn the_rest_of_a_short_write_is_written_with_the_flag_too() {
        let kernel = Kernel::new(&[Ok(4096), Err(Errno::INTR), Ok(4096)]);
        on().write_durably(&kernel, &DATA, 0).expect("it goes on");
        assert_eq!(kernel.calls(), "dsync 0+12288, dsync 4096+8192, dsync 4096+8192, dsync 8192+4096");
        let stuck = Kernel::new(&[Ok(0)]);
        assert!(on().write_durably(&stuck, &DATA, 0).is_err(), "it does not go on for ever");
    }

    #[test]
    fn a_file_that_refuses_is_written_whole_through_the_page_cache_from_then_on() {
        for refusal in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::PERM] {
            // Also in the middle.
            let kernel = Kernel::new(&[Ok(4096), Err(refusal)]);
            let direct = on();
            direct.write_durably(&kernel, &DATA, 0).expect("the other way works");
            assert_eq!(kernel.calls(), "dsync 0+12288, dsync 4096+8192, leave, write 0+12288, sync");
            assert!(!direct.is_on());
            direct.write_durably(&kernel, &DATA, 0).expect("nothing fails");
            direct.write(&kernel, &DATA, 0).expect("nothing fails");
            assert_eq!(kernel.calls(), "write 0+12288, sync, write 0+12288");
        }
        let kernel = Kernel::new(&[Err(Errno::INVAL)]);
        on().write(&kernel, &DATA, 0).expect("the other way works");
        assert_eq!(kernel.calls(), "write 0+12288, leave, write 0+12288");
    }

    #[test]
    fn an_error_is_returned_and_nothing_is_tried_again() {
        for error in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            let kernel = Kernel::new(&[Ok(4096), Err(error)]);
            let fault = on().write_durably(&kernel, &DATA, 0).expect_err("it failed");
            assert_eq!(fault.raw_os_error(), Some(error.raw_os_error()));
            assert_eq!(kernel.calls(), "dsync 0+12288, dsync 4096+8192");
        }
        // Refused by both ways: the second refusal is a fault.
        let kernel = Kernel::new(&[Err(Errno::INVAL), Ok(0), Err(Errno::INVAL)]);
        assert!(on().write_durably(&kernel, &DATA, 0).is_err());
        // A sync that failed is not repeated.
        let kernel = Kernel::new(&[Ok(DATA.len()), Err(Errno::IO)]);
        assert!(Direct::default().write_durably(&kernel, &DATA, 0).is_err());
        assert_eq!(kernel.calls(), "write 0+12288, sync");
    }
}
