//! Which range a key lies in, in about the same time for ten ranges and for a hundred thousand.
//!
//! The ranges' starts are spread over a grid of equal cells, two to four per start. Most cells lie inside one
//! range and hold its value; a few starts in one cell are scanned; more of them get a finer grid of their
//! own, which spans no more than they do, so that bits that all of them share cost nothing. A lookup among
//! random ranges touches two or three cache lines.

/// Starts in one cell that are scanned rather than spread over a grid: 16 octets each, one or two cache
/// lines.
const BUCKET: usize = 4;
/// One grid has at most 2 to the power of this many cells.
const GRID_BITS_MAX: u32 = 18;

/// A value for every 128-bit key.
#[derive(Clone, Debug)]
pub(super) struct RangeTable<V> {
    outside: V,
    ranges: Ranges<V>,
    grids: Vec<Grid<V>>,
    cells: Vec<Cell<V>>,
    root: Cell<V>,
}

/// Where each range starts, ascending from 0, and the value of each.
#[derive(Clone, Debug)]
struct Ranges<V> {
    starts: Vec<u128>,
    values: Vec<V>,
}

/// A part of the key space.
#[derive(Clone, Copy, Debug)]
enum Cell<V> {
    /// It lies in one range.
    Value(V),
    /// It begins in the range of this index, and the next `count` ranges start inside it.
    Bucket { first: u32, count: u8 },
    /// It is divided further by the grid of this index.
    Grid(u32),
}

/// A part of the key space, divided into cells of 2^`shift` keys.
#[derive(Clone, Copy, Debug)]
struct Grid<V> {
    /// Where the first cell begins, and the value of keys below that.
    low: u128,
    below: V,
    shift: u8,
    /// Index of the first cell, and how many follow it. Keys beyond the last cell belong to it.
    first: u32,
    last: u32,
}

impl<V: Copy> RangeTable<V> {
    /// From the value of the range that starts at 0, and the starts and values of all others, strictly
    /// ascending; fewer than 2^28.
    pub(super) fn new(outside: V, others: &[(u128, V)]) -> Self {
        let (starts, values) = [(0, outside)].iter().chain(others).copied().unzip();
        let ranges = Ranges { starts, values };
        let mut table =
            Self { outside, ranges, grids: Vec::new(), cells: Vec::new(), root: Cell::Value(outside) };
        table.root = table.divide(0, others.len(), outside);
        table
    }

    /// The value of the range that `key` lies in.
    pub(super) fn get(&self, key: u128) -> V {
        self.find(key).unwrap_or(self.outside)
    }

    /// As `get`; none would mean that the table is inconsistent.
    fn find(&self, key: u128) -> Option<V> {
        let mut cell = &self.root;
        loop {
            match *cell {
                Cell::Value(value) => return Some(value),
                Cell::Bucket { first, count } => return self.ranges.scan(first as usize, count.into(), key),
                Cell::Grid(index) => {
                    let grid = self.grids.get(index as usize)?;
                    let Some(distance) = key.checked_sub(grid.low) else { return Some(grid.below) };
                    let at = (distance >> grid.shift).min(grid.last.into()) as usize;
                    cell = self.cells.get(grid.first as usize + at)?;
                }
            }
        }
    }

    /// The cell of a part of the key space that begins in range `first`, of this value, and in which the next
    /// `count` start.
    fn divide(&mut self, first: usize, count: usize, value: V) -> Cell<V> {
        match count {
            0 => Cell::Value(value),
            1..=BUCKET => Cell::Bucket { first: first as u32, count: count as u8 },
            _ => self.spread(first, count, value),
        }
    }

    /// A grid from the first start inside the part to the last one. They land in different cells, so every
    /// finer grid has fewer starts, and the division ends.
    fn spread(&mut self, first: usize, count: usize, below: V) -> Cell<V> {
        let (mut next, end) = (first + 1, first + 1 + count);
        let low = self.ranges.starts[next];
        let span = self.ranges.starts[end - 1] - low;
        let bits = (2 * count).ilog2().min(GRID_BITS_MAX) + 1;
        let shift = (u128::BITS - span.leading_zeros()).saturating_sub(bits);
        let cells = (span >> shift) as usize + 1;

        let grid =
            Grid { low, below, shift: shift as u8, first: self.cells.len() as u32, last: (cells - 1) as u32 };
        let index = self.grids.len();
        self.grids.push(grid);
        self.cells.resize(self.cells.len() + cells, Cell::Value(below));
        for at in 0..cells {
            let begin = low + ((at as u128) << shift);
            // The last range that starts at or before the cell, and how many start after its begin but inside
            // it.
            next += self.ranges.starts[next..end].partition_point(|start| *start <= begin);
            let inside =
                self.ranges.starts[next..end].partition_point(|start| (start - low) >> shift <= at as u128);
            self.cells[grid.first as usize + at] =
                self.divide(next - 1, inside, self.ranges.values[next - 1]);
        }
        Cell::Grid(index as u32)
    }
}

impl<V: Copy> Ranges<V> {
    /// The value of `key`, which lies in range `first` or one of the next `count`.
    fn scan(&self, first: usize, count: usize, key: u128) -> Option<V> {
        let inside = self.starts.get(first + 1..=first + count)?;
        let passed = inside.iter().filter(|start| **start <= key).count();
        self.values.get(first + passed).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Starts that cluster at every scale: random high bits, random low bits, few bits between.
    fn starts() -> impl Strategy<Value = Vec<u128>> {
        let start = (any::<u8>(), 0_u32..128, any::<u8>())
            .prop_map(|(high, shift, low)| ((u128::from(high) << 120) ^ (u128::from(low) << shift)).max(1));
        prop::collection::btree_set(start, 0..400).prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #[test]
        fn finds_what_a_binary_search_finds(
            starts in starts(),
            keys in prop::collection::vec(any::<u128>(), 50),
        ) {
            let ranges: Vec<_> = starts.iter().zip(1_usize..).map(|(start, value)| (*start, value)).collect();
            let table = RangeTable::new(0, &ranges);
            let near = starts.iter().flat_map(|start| [start - 1, *start, start.saturating_add(1)]);
            for key in keys.into_iter().chain(near).chain([0, u128::MAX]) {
                let expected = starts.partition_point(|start| *start <= key);
                prop_assert_eq!(table.get(key), expected, "key {:#x}", key);
            }
        }
    }

    #[test]
    fn memory_is_bounded_where_starts_cluster_at_every_scale() {
        let mut starts: Vec<u128> =
            (0..100_000_u128).map(|n| (n << 60) >> (n % 97)).map(|start| start.max(1)).collect();
        starts.sort_unstable();
        starts.dedup();
        let ranges: Vec<_> = starts.iter().map(|start| (*start, ())).collect();
        let table = RangeTable::new((), &ranges);
        assert!(
            table.cells.len() < 16 * starts.len(),
            "{} cells for {} starts",
            table.cells.len(),
            starts.len()
        );
    }
}
