//! Buckets by source, in so many sets of eight. All memory is there from the start.

use crate::limits;

/// Sources that share a set: a set's keys fill a cache line, and so does each of their other numbers.
const WAYS: usize = 8;

const _: () = assert!(size_of::<Set>() == WAYS * limits::LIMITED_SOURCE_BYTES);

/// The numbers of one source; times are nanoseconds. A source that was never seen has zeros.
pub(super) struct Bucket<'a> {
    /// When the bucket will be full, or was.
    pub(super) full_at: &'a mut u64,
    /// When an answer was last taken out.
    pub(super) taken_at: &'a mut u64,
    /// Pushed into the future by requests beyond the limit.
    pub(super) strained_until: &'a mut u64,
}

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Set {
    keys: [u64; WAYS],
    full_at: [u64; WAYS],
    taken_at: [u64; WAYS],
    strained_until: [u64; WAYS],
}

impl Set {
    /// Eight sources that cannot be told from 0 never seen, which does no harm to 0.
    const EMPTY: Self =
        Self { keys: [0; WAYS], full_at: [0; WAYS], taken_at: [0; WAYS], strained_until: [0; WAYS] };

    /// The place of `key`, made free if it has none: whose bucket is the fullest is given up, because that
    /// costs least. One who is over the limit has an empty bucket, and stays in spite of any number of
    /// sources that are not.
    fn place(&mut self, key: u64) -> usize {
        if let Some(way) = self.keys.iter().position(|known| *known == key) {
            return way;
        }
        let due = |way: &usize| self.full_at[*way].max(self.strained_until[*way]);
        let way = (0..WAYS).min_by_key(due).unwrap_or_default();
        self.keys[way] = key;
        self.full_at[way] = 0;
        self.taken_at[way] = 0;
        self.strained_until[way] = 0;
        way
    }
}

/// A table of buckets.
#[derive(Debug)]
pub(super) struct Table {
    sets: Box<[Set]>,
    /// Nobody outside may know which sources share a set.
    secret: [u64; 2],
}

impl Table {
    /// Room for `sources`, rounded up to whole sets.
    pub(super) fn new(sources: usize, secret: [u64; 2]) -> Self {
        Self { sets: vec![Set::EMPTY; sources.div_ceil(WAYS)].into(), secret }
    }

    /// Whether `new` would make a table of the same size.
    pub(super) fn has_room_for_just(&self, sources: usize) -> bool {
        self.sets.len() == sources.div_ceil(WAYS)
    }

    /// The bucket of `key`, none only in a table without any room.
    pub(super) fn bucket(&mut self, key: u64) -> Option<Bucket<'_>> {
        let index = self.index(key);
        let set = self.sets.get_mut(index)?;
        let way = set.place(key);
        Some(Bucket {
            full_at: &mut set.full_at[way],
            taken_at: &mut set.taken_at[way],
            strained_until: &mut set.strained_until[way],
        })
    }

    /// Both halves of a product depend on all bits of its factors.
    fn index(&self, key: u64) -> usize {
        let [mask, factor] = self.secret;
        let product = u128::from(key ^ mask) * u128::from(factor | 1);
        let hash = (product >> 64) as u64 ^ product as u64;
        ((u128::from(hash) * self.sets.len() as u128) >> 64) as usize
    }
}
