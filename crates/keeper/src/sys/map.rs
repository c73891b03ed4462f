//! Memory shared between processes through a file.

use rustix::fd::AsFd;
use rustix::mm::{MapFlags, ProtFlags};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

/// Types that are nothing but atomics: any bytes are a value, and another process may write at any time.
///
/// # Safety
/// Only for `#[repr(C)]` structs made of atomics without padding that matters.
pub unsafe trait Shared: Sync + 'static {}
// SAFETY: each is a bare atomic integer.
unsafe impl Shared for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicI32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}
// SAFETY: `Header` is `repr(C)` and made of atomics only.
unsafe impl Shared for crate::table::Header {}
// SAFETY: `Slot` is `repr(C)` and made of atomics only.
unsafe impl Shared for crate::table::Slot {}

/// A file mapped shared. Unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is only ever read and written through atomics (`Shared`), or as bytes of a file nobody writes.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file`. The file must be at least that long, or touching it raises SIGBUS: `Table` checks.
    pub fn shared(file: impl AsFd, len: usize, writable: bool) -> std::io::Result<Mapping> {
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        Mapping::map(file, len, prot, MapFlags::SHARED | MapFlags::POPULATE)
    }

    /// Maps a file for reading only; later writes by others are not promised to be seen.
    pub fn private(file: impl AsFd, len: usize) -> std::io::Result<Mapping> {
        Mapping::map(file, len, ProtFlags::READ, MapFlags::PRIVATE | MapFlags::POPULATE)
    }

    /// Keeps its pages in memory, and makes them present in this process, so that a store (ours, or the kernel's of a pid)
    /// never has to wait or fail. Locks are not inherited: each process asks for itself. `false`: only touched, because the
    /// limit on locked memory is reached.
    pub fn pin(&self) -> bool {
        // SAFETY: our own mapping, whole; locking changes no byte of it.
        if unsafe { rustix::mm::mlock(self.at.as_ptr().cast(), self.len) }.is_ok() {
            return true;
        }
        for offset in (0..self.len).step_by(4096) {
            self.view::<AtomicU32>(offset, 1)[0].load(std::sync::atomic::Ordering::Relaxed);
        }
        false
    }

    fn map(file: impl AsFd, len: usize, prot: ProtFlags, flags: MapFlags) -> std::io::Result<Mapping> {
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let at = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, flags, file, 0)? };
        let at = NonNull::new(at.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { at, len })
    }

    /// A view of `count` shared values from byte `offset` on. Panics when they would not lie inside, aligned.
    pub fn view<T: Shared>(&self, offset: usize, count: usize) -> &[T] {
        let end = count.checked_mul(size_of::<T>()).and_then(|n| n.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.len), "a view lies inside its mapping");
        assert_eq!(offset % align_of::<T>(), 0, "a view is aligned");
        // SAFETY: inside the mapping, aligned (mappings are page-aligned), and `Shared` types take any bytes.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().add(offset).cast(), count) }
    }

    /// The bytes of a private mapping. The file lies in kin's own 0700 directory and is written once, then renamed.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is live, `len` bytes long, and nobody writes it.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this address and length; every view borrows `self`.
        if let Err(e) = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.len) } {
            debug_assert!(false, "munmap of our own mapping: {e}");
        }
    }
}
