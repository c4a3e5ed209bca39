use super::*;

const T0: NtpTimestamp = NtpTimestamp::from_unix(1_800_000_000, 0);
const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// A limiter, its parameters, and a clock that goes as told.
struct Scene {
    limiter: Limiter,
    limit: RateLimit,
    random: fastrand::Rng,
    now: NtpTimestamp,
}

impl Scene {
    fn new(limit: RateLimit) -> Self {
        let mut random = fastrand::Rng::with_seed(5);
        let mut limiter = Limiter::new();
        limiter.resize(limit.sources, &mut random);
        Self { limiter, limit, random, now: T0 }
    }

    fn pass(&mut self, seconds: f64) {
        self.now = self.now.offset_by((seconds * 2f64.powi(32)) as i64);
    }

    fn ask(&mut self, source: IpAddr) -> Judgement {
        self.limiter.judge(source, self.now, &self.limit, true, false, &mut self.random)
    }

    fn answers(&mut self, source: IpAddr, requests: usize, headway: f64) -> usize {
        let answered = |scene: &mut Self| {
            scene.pass(headway);
            matches!(scene.ask(source), Judgement::Answer | Judgement::Leak)
        };
        (0..requests).filter(|_| answered(self)).count()
    }
}

#[test]
fn answers_that_a_tier_in_front_gave_are_missing_here() {
    let mut scene = Scene::new(strict());
    let Scene { limiter, limit, now, random } = &mut scene;
    assert_eq!(limiter.judge(A, *now, limit, true, true, random), Judgement::Kiss);
    assert_eq!(scene.answers(A, 10, 0.0), 0, "by whichever tier the next requests come");
    scene.pass(1.001);
    assert_eq!(scene.answers(A, 10, 0.0), 1);
}

fn strict() -> RateLimit {
    RateLimit { leak_log2: None, ..RateLimit::default() }
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    let mut scene = Scene::new(strict());
    assert_eq!(scene.answers(A, 100, 0.0), 20);
    assert_eq!(scene.answers(A, 100, 0.1001), 10);
    assert_eq!(scene.answers(A, 100, 1.001), 100);
    scene.pass(1e6);
    assert_eq!(scene.answers(A, 100, 0.0), 20, "no more is saved up than the burst");
}

#[test]
fn what_is_over_the_limit_costs_nothing_more() {
    let mut scene = Scene::new(strict());
    let answered = scene.answers(A, 12_000, 1.0 / 1.2);
    assert!((9_990..10_040).contains(&answered), "{answered} of 10 000 s");
}

#[test]
fn a_minimum_counts_from_the_last_answer() {
    let limit = RateLimit { minimum_ns: 1_875_000_000, burst: 8, headway_ns: 8 * SECOND_NS, ..strict() };
    let mut scene = Scene::new(limit);
    assert_eq!(scene.answers(A, 8, 1.0), 4, "every second one");
    scene.pass(1000.0);
    assert_eq!(scene.answers(A, 8, 1.99), 8, "spaced by 2 s, less the network's jitter");
}

#[test]
fn a_clock_that_is_set_back_or_forth_starves_nobody() {
    for step in [-3600.0, 3600.0, -86_400.0 * 365.0 * 60.0] {
        let mut scene = Scene::new(strict());
        assert_eq!(scene.answers(A, 100, 0.0), 20);
        scene.pass(step);
        scene.ask(A);
        let answered = scene.answers(A, 10, 1.001);
        assert_eq!(answered, 10, "after a step of {step} s");
    }
    // If the step is known, time goes on from there.
    let mut scene = Scene::new(strict());
    assert_eq!(scene.answers(A, 100, 0.0), 20);
    scene.limiter.clock_stepped();
    scene.pass(3600.0);
    assert_eq!(scene.answers(A, 10, 0.0), 0);
    scene.pass(2.0);
    assert_eq!(scene.answers(A, 10, 0.0), 2);
}

#[test]
fn stamps_out_of_order_earn_nothing() {
    let mut scene = Scene::new(strict());
    assert_eq!(scene.answers(A, 100, 0.0), 20);
    for _ in 0..1000 {
        scene.pass(-0.5);
        assert_ne!(scene.ask(A), Judgement::Answer);
        scene.pass(0.5);
        assert_ne!(scene.ask(A), Judgement::Answer);
    }
}

#[test]
fn the_era_may_end() {
    let mut scene = Scene::new(strict());
    scene.now = NtpTimestamp::from_bits(u64::MAX - (5 << 32));
    assert_eq!(scene.answers(A, 100, 0.0), 20);
    assert_eq!(scene.answers(A, 100, 0.1001), 10);
}

#[test]
fn a_kiss_comes_at_most_once_in_its_headway_and_not_to_the_hopeless() {
    let kisses = |headway: f64| {
        let mut scene = Scene::new(RateLimit { headway_ns: 100 * SECOND_NS, burst: 1, ..strict() });
        let mut kissed = 0;
        for _ in 0..(60.0 / headway) as usize {
            kissed += usize::from(scene.ask(A) == Judgement::Kiss);
            scene.pass(headway);
        }
        kissed
    };
    // One in 2 s at most, fewer the more there are to kiss, one at first to everybody.
    assert_eq!([5.0, 1.0, 0.5, 0.2, 0.01, 0.0001].map(kisses), [11, 20, 15, 1, 1, 1]);
}

#[test]
fn a_reload_with_other_numbers_keeps_the_buckets() {
    let mut scene = Scene::new(RateLimit { headway_ns: 8 * SECOND_NS, ..strict() });
    assert_eq!(scene.answers(A, 100, 0.0), 20);
    scene.limit = strict();
    scene.limiter.resize(scene.limit.sources, &mut scene.random);
    assert_eq!(scene.answers(A, 100, 0.0), 0);
    assert_eq!(scene.answers(A, 100, 0.1001), 10, "the new rate, at once");
    scene.limiter.resize(64, &mut scene.random);
    assert_eq!(scene.answers(A, 100, 0.0), 20, "a table of another size is a new one");
}

#[test]
fn a_kiss_asks_for_the_headway_but_for_8_s_at_least() {
    for (headway_ns, poll) in [(1, 3), (SECOND_NS, 3), (8 * SECOND_NS, 3), (9 * SECOND_NS, 4), (u64::MAX, 17)]
    {
        assert_eq!(RateLimit { headway_ns, ..strict() }.kod_poll(), poll);
    }
}

#[test]
fn extreme_parameters_do_not_overflow() {
    let extremes = [0, 1, u64::MAX];
    for (headway_ns, minimum_ns) in extremes.into_iter().flat_map(|a| extremes.map(|b| (a, b))) {
        for (burst, kod_headway_ns) in [(0, u64::MAX), (u32::MAX, 0), (1, 1)] {
            let limit = RateLimit { headway_ns, minimum_ns, burst, kod_headway_ns, ..strict() };
            let mut scene = Scene::new(limit);
            for seconds in [0.0, 1.0, -1e6, 1e6, -1e9] {
                scene.pass(seconds);
                scene.ask(A);
                scene.ask(A);
            }
        }
    }
}

#[test]
fn no_number_of_steps_ends_the_process() {
    let mut scene = Scene::new(strict());
    for _ in 0..20 {
        scene.pass(2f64.powi(31) - 1.0);
        scene.answers(A, 30, 0.0);
        scene.pass(-1e9);
        scene.ask(A);
    }
}
