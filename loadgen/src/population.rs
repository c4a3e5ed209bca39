//! Who asks next: clients in turn, or some much more often than others; by socket, or by source address.

/// Chooses among `size` clients, numbered from 0.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    size: u64,
    next: u64,
    step: u64,
    zipf: Option<Zipf>,
}

impl Population {
    /// `size` clients that take turns, or follow Zipf's law with `exponent`. Of clients in turn this thread
    /// has every `threads`-th, beginning with number `thread`.
    pub(crate) fn new(size: u64, exponent: Option<f64>, threads: u64, thread: u64) -> Self {
        let zipf = exponent.map(|exponent| Zipf::new(size, exponent));
        Self { size, next: thread % size, step: threads % size, zipf }
    }

    /// The next client.
    #[inline]
    pub(crate) fn choose(&mut self, random: &mut fastrand::Rng) -> u64 {
        if let Some(zipf) = &self.zipf {
            return zipf.rank(random) - 1;
        }
        let chosen = self.next;
        self.next += self.step;
        if self.next >= self.size {
            self.next -= self.size;
        }
        chosen
    }
}

/// Ranks from 1 to n whose probability falls as rank^-s: rejection-inversion (Hörmann and Derflinger 1996),
/// which needs no table, whatever n.
#[derive(Clone, Copy, Debug)]
struct Zipf {
    ranks: f64,
    exponent: f64,
    area_first: f64,
    area_all: f64,
    /// Closer to the next rank than this, no test is needed.
    safe: f64,
}

impl Zipf {
    fn new(ranks: u64, exponent: f64) -> Self {
        let mut zipf = Self { ranks: ranks as f64, exponent, area_first: 0.0, area_all: 0.0, safe: 0.0 };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_all = zipf.area(zipf.ranks + 0.5);
        zipf.safe = 2.0 - zipf.inverse_area(zipf.area(2.5) - zipf.weight(2.0));
        zipf
    }

    fn rank(&self, random: &mut fastrand::Rng) -> u64 {
        loop {
            let area = self.area_all + random.f64() * (self.area_first - self.area_all);
            let at = self.inverse_area(area);
            let rank = at.round().clamp(1.0, self.ranks);
            if rank - at <= self.safe || area >= self.area(rank + 0.5) - self.weight(rank) {
                return rank as u64;
            }
        }
    }

    fn weight(&self, rank: f64) -> f64 {
        rank.powf(-self.exponent)
    }

    /// The integral of the weight.
    fn area(&self, at: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 { at.ln() } else { (at.powf(power) - 1.0) / power }
    }

    fn inverse_area(&self, area: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 { area.exp() } else { (1.0 + power * area).max(0.0).powf(1.0 / power) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_fair_and_threads_share_them() {
        let mut chosen = [0; 10];
        let mut random = fastrand::Rng::with_seed(1);
        for thread in 0..3 {
            let mut population = Population::new(10, None, 3, thread);
            (0..10).for_each(|_| chosen[population.choose(&mut random) as usize] += 1);
        }
        assert_eq!(chosen, [3; 10]);
        let mut one = Population::new(1, None, 3, 2);
        assert_eq!([one.choose(&mut random), one.choose(&mut random)], [0, 0]);
    }

    /// Against the probabilities themselves, for exponents below, at and above 1.
    #[test]
    fn zipf_ranks_have_their_frequencies() {
        const DRAWS: u32 = 200_000;
        for exponent in [0.5, 1.0, 1.2, 2.5] {
            let weights: Vec<f64> = (1..=100).map(|rank| f64::from(rank).powf(-exponent)).collect();
            let total: f64 = weights.iter().sum();
            let mut random = fastrand::Rng::with_seed(3);
            let mut population = Population::new(100, Some(exponent), 1, 0);
            let mut counts = [0_u32; 100];
            (0..DRAWS).for_each(|_| counts[population.choose(&mut random) as usize] += 1);
            for rank in [0, 1, 2, 9, 49, 99] {
                let expected = f64::from(DRAWS) * weights[rank] / total;
                let off = (f64::from(counts[rank]) - expected).abs() / expected.sqrt();
                assert!(off < 5.0, "s {exponent}, rank {rank}: {} not {expected:.0}", counts[rank]);
            }
        }
        let mut huge = Population::new(1 << 40, Some(1.0), 1, 0);
        let mut random = fastrand::Rng::with_seed(9);
        assert!((0..1000).all(|_| huge.choose(&mut random) < 1 << 40));
    }
}
