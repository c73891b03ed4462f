//! Memory straight from the kernel, for a process that does not allocate once it has started.

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Anonymous private pages. Unmapped on drop.
#[derive(Debug)]
pub(super) struct Pages {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Pages {}

impl Pages {
    pub(super) fn new(len: usize) -> std::io::Result<Pages> {
        let len = len.next_multiple_of(rustix::param::page_size());
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let at = unsafe {
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, prot, MapFlags::PRIVATE)?
        };
        Ok(Pages { at: NonNull::new(at.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?, len })
    }

    /// Pages for a stack: the lowest one cannot be touched, so that an overflow is a fault and not a silent overwrite.
    pub(super) fn stack(len: usize) -> std::io::Result<Pages> {
        let guard = rustix::param::page_size();
        let pages = Pages::new(len + guard)?;
        // SAFETY: the first page of a mapping that nobody has touched yet.
        unsafe { rustix::mm::mprotect(pages.at.as_ptr().cast(), guard, MprotectFlags::empty())? };
        Ok(pages)
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.at
    }
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this address and length; everything that points into it borrows its owner.
        if let Err(e) = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.len) } {
            debug_assert!(false, "munmap of our own pages: {e}");
        }
    }
}

/// A growing array of plain values, without the heap. Full and unable to grow, it says so.
#[derive(Debug)]
pub struct Buffer<T: Copy> {
    pages: Pages,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Copy> Buffer<T> {
    pub fn with_capacity(count: usize) -> std::io::Result<Buffer<T>> {
        assert!(align_of::<T>() <= 4096, "pages are aligned well enough");
        let bytes = count.max(1).checked_mul(size_of::<T>()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Buffer { pages: Pages::new(bytes)?, len: 0, of: PhantomData })
    }

    fn capacity(&self) -> usize {
        self.pages.len() / size_of::<T>().max(1)
    }

    /// Room for `count` values in all, by larger pages when these are too small. What is in it is kept.
    pub fn reserve(&mut self, count: usize) -> std::io::Result<()> {
        if count <= self.capacity() {
            return Ok(());
        }
        let mut larger = Buffer::with_capacity(count.max(2 * self.capacity()))?;
        for value in self.as_slice() {
            larger.push(*value)?;
        }
        *self = larger;
        Ok(())
    }

    pub fn push(&mut self, value: T) -> std::io::Result<()> {
        if self.len == self.capacity() {
            self.reserve(self.len + 1)?;
        }
        // SAFETY: below the capacity, so inside the pages, and aligned since pages are.
        unsafe { self.pages.start().cast::<T>().add(self.len).write(value) };
        self.len += 1;
        Ok(())
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: `len` values were written from the start on.
        unsafe { std::slice::from_raw_parts(self.pages.start().as_ptr().cast(), self.len) }
    }
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.pages.start().as_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_and_keeps_what_is_in_it() {
        let mut buffer = Buffer::<u64>::with_capacity(1).expect("pages");
        for i in 0..10_000u64 {
            buffer.push(i).expect("grows");
        }
        assert!(buffer.as_slice().iter().copied().eq(0..10_000));
        buffer.as_mut_slice().reverse();
        assert_eq!(buffer.as_slice()[0], 9_999);
        buffer.clear();
        assert!(buffer.as_slice().is_empty());
    }
}
