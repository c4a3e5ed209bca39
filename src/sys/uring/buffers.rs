//! Provided buffers: memory that the kernel picks from by itself, one buffer per received datagram.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

const PAGE: usize = 4096;

/// A ring of `count` buffers of `stride` bytes. A buffer belongs to the kernel while its number is in the
/// ring, and to us from the completion that names it until [`recycle`](Self::recycle).
pub(in crate::sys) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    buffers: NonNull<u8>,
    count: u16,
    stride: usize,
    tail: u16,
}

impl BufferRing {
    /// `count` must be a power of two, `stride` a multiple of 64.
    pub(in crate::sys) fn new(count: u16, stride: usize) -> Self {
        let mut ring = Self {
            entries: allocate(entries_layout(count)).cast(),
            buffers: allocate(buffers_layout(count, stride)),
            count,
            stride,
            tail: 0,
        };
        for id in 0..count {
            ring.recycle(id);
        }
        ring.publish();
        ring
    }

    /// Tells the kernel of the ring.
    ///
    /// # Safety
    /// The ring that `submitter` belongs to must have no receive armed when `self` is dropped.
    pub(in crate::sys) unsafe fn register(&self, submitter: &Submitter<'_>, group: u16) -> io::Result<()> {
        // SAFETY: `entries` is page-aligned memory of `count` entries; the caller keeps `self` alive as long
        // as the kernel uses it.
        unsafe { submitter.register_buf_ring_with_flags(self.entries.as_ptr() as u64, self.count, group, 0) }
    }

    /// The buffer that a completion named; `None` for a number that no buffer has.
    ///
    /// # Safety
    /// A completion must have named `id`, and `recycle(id)` must not be called before the pointer's last use.
    #[inline]
    pub(in crate::sys) unsafe fn buffer(&self, id: u16) -> Option<NonNull<u8>> {
        // SAFETY: the offset is inside the allocation of count * stride bytes because id < count.
        (id < self.count).then(|| unsafe { self.buffers.add(usize::from(id) * self.stride) })
    }

    /// Gives a buffer back; the kernel sees it at the next [`publish`](Self::publish).
    #[inline]
    pub(in crate::sys) fn recycle(&mut self, id: u16) {
        debug_assert!(id < self.count);
        let slot = usize::from(self.tail & (self.count - 1));
        // SAFETY: slot < count, so the entry is inside the allocation. The kernel reads entries only below
        // the published tail, so this one is ours. Its last 16 bits are written through `tail_cell` alone and
        // stay untouched by the three setters.
        let entry = unsafe { self.entries.add(slot).as_mut() };
        entry.set_addr(self.buffers.as_ptr() as u64 + u64::from(id) * self.stride as u64);
        entry.set_len(self.stride as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes every recycled buffer available to the kernel.
    #[inline]
    pub(in crate::sys) fn publish(&mut self) {
        self.tail_cell().store(self.tail, Ordering::Release);
    }

    fn tail_cell(&self) -> &AtomicU16 {
        // SAFETY: the ring's tail lies in the first entry's reserved field, inside our allocation and aligned
        // for u16; both sides access it atomically only.
        unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: both blocks were allocated with these layouts, and `register`'s contract says that the
        // kernel is done with them.
        unsafe {
            std::alloc::dealloc(self.entries.as_ptr().cast(), entries_layout(self.count));
            std::alloc::dealloc(self.buffers.as_ptr(), buffers_layout(self.count, self.stride));
        }
    }
}

fn entries_layout(count: u16) -> Layout {
    page_aligned(usize::from(count) * size_of::<BufRingEntry>())
}

fn buffers_layout(count: u16, stride: usize) -> Layout {
    page_aligned(usize::from(count) * stride)
}

fn page_aligned(bytes: usize) -> Layout {
    Layout::from_size_align(bytes.max(PAGE), PAGE).expect("sizes from limits.rs fit an allocation")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout's size is never zero.
    let block = unsafe { alloc_zeroed(layout) };
    NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
}
