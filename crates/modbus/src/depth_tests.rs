use super::*;

const MS: u64 = 1_000_000;

/// A device that takes `round_trip_ns` from request to answer, serves `abreast` requests at once, and
/// has its own way with more than `stands` of them under way.
struct Device {
    round_trip_ns: u64,
    abreast: u8,
    stands: u8,
    way: Trouble,
}

/// Runs cycles of `requests` requests every `every_ns` against a device; answers the greatest number of
/// requests that were ever under way.
fn run(depth: &mut Depth, device: &Device, now_ns: &mut u64, cycles: u32, requests: u32, every_ns: u64) -> u8 {
    let mut most = 0;
    for _ in 0..cycles {
        let began_ns = *now_ns;
        let (mut left, mut under_way) = (requests, 0_u8);
        while left > 0 || under_way > 0 {
            while left > 0 && under_way < depth.now(*now_ns) {
                depth.on_send(*now_ns, under_way == 0);
                (left, under_way) = (left - 1, under_way + 1);
            }
            most = most.max(under_way);
            if under_way > device.stands {
                depth.on_trouble(*now_ns, device.way);
                (left, under_way) = (left + u32::from(under_way), 0);
                continue;
            }
            // answers leave one by one, as many in a round trip as the device serves at once
            *now_ns += device.round_trip_ns / u64::from(under_way.min(device.abreast));
            under_way -= 1;
            depth.on_answer(*now_ns);
        }
        *now_ns = (began_ns + every_ns).max(*now_ns);
    }
    most
}

const GOOD: Device = Device { round_trip_ns: 5 * MS, abreast: 16, stands: 16, way: Trouble::Lost };

#[test]
fn a_device_that_serves_many_at_once_is_asked_so() {
    let (mut depth, mut now_ns) = (Depth::found(16), 0);
    assert_eq!(depth.now(0), 1);
    run(&mut depth, &GOOD, &mut now_ns, 20, 100, 1_000 * MS);
    assert_eq!((depth.proven(), depth.trial(), depth.barred()), (16, None, None));
    let (mut depth, mut now_ns) = (Depth::found(6), 0);
    let most = run(&mut depth, &GOOD, &mut now_ns, 20, 100, 1_000 * MS);
    assert_eq!((depth.proven(), most), (6, 6));
}

#[test]
fn a_step_that_gains_nothing_is_not_kept_nor_tried_again_soon() {
    // it takes two at once and lets the others wait
    let device = Device { abreast: 2, ..GOOD };
    let (mut depth, mut now_ns) = (Depth::found(16), 0);
    let most = run(&mut depth, &device, &mut now_ns, 30, 100, 1_000 * MS);
    assert_eq!((depth.proven(), depth.barred(), most), (2, Some(4), 4));
    let most = run(&mut depth, &device, &mut now_ns, 500, 100, 1_000 * MS);
    assert_eq!((depth.proven(), most), (2, 2));
    let most = run(&mut depth, &device, &mut now_ns, 120, 100, 1_000 * MS);
    assert_eq!((depth.proven(), depth.barred(), most), (2, Some(4), 4));
    // the second time it is left alone for twice as long
    let most = run(&mut depth, &device, &mut now_ns, 1_100, 100, 1_000 * MS);
    assert_eq!(most, 2);
}

#[test]
fn a_device_that_breaks_at_a_depth_gets_less_and_is_left_alone() {
    for way in [Trouble::Lost, Trouble::Protocol, Trouble::Closed, Trouble::Busy, Trouble::OutOfOrder] {
        for stands in [1, 2, 3, 4, 7] {
            let device = Device { stands, way, ..GOOD };
            let (mut depth, mut now_ns) = (Depth::found(16), 0);
            run(&mut depth, &device, &mut now_ns, 60, 100, 1_000 * MS);
            let step = stands.next_power_of_two() / if stands.is_power_of_two() { 1 } else { 2 };
            assert_eq!((depth.proven(), depth.barred()), (step, Some(step * 2)), "{way:?}, stands {stands}");
            let most = run(&mut depth, &device, &mut now_ns, 400, 100, 1_000 * MS);
            assert_eq!(most, step, "{way:?}, stands {stands}");
        }
    }
}

#[test]
fn trouble_at_a_proven_depth_halves_it_after_a_rest() {
    let (mut depth, mut now_ns) = (Depth::found(8), 0);
    run(&mut depth, &GOOD, &mut now_ns, 20, 100, 1_000 * MS);
    assert_eq!(depth.proven(), 8);
    assert!(!depth.on_trouble(now_ns, Trouble::OutOfOrder), "that is what transaction ids are for");
    assert!(depth.on_trouble(now_ns, Trouble::Lost));
    assert_eq!((depth.now(now_ns), depth.proven(), depth.barred()), (1, 4, Some(8)));
    assert_eq!(depth.now(now_ns + REST_NS), 4);
    now_ns += REST_NS;
    let most = run(&mut depth, &GOOD, &mut now_ns, 500, 100, 1_000 * MS);
    assert_eq!(most, 4);
    run(&mut depth, &GOOD, &mut now_ns, 200, 100, 1_000 * MS);
    assert_eq!(depth.proven(), 8, "after the time it is tried again");
}

#[test]
fn short_cycles_and_unrest_and_commands_try_nothing() {
    let (mut depth, mut now_ns) = (Depth::found(16), 0);
    let most = run(&mut depth, &GOOD, &mut now_ns, 500, 1, 100 * MS);
    assert_eq!((depth.proven(), most), (1, 1), "one request a cycle fills no pipeline");
    let most = run(&mut depth, &GOOD, &mut now_ns, 500, 3, 100 * MS);
    assert_eq!((depth.proven(), most), (2, 2));
    let (mut depth, mut now_ns) = (Depth::found(16), 0);
    for _ in 0..100 {
        depth.on_unrest(now_ns);
        run(&mut depth, &GOOD, &mut now_ns, 1, 100, 900 * MS);
    }
    assert_eq!(depth.proven(), 1, "never a quiet second");
    let (mut depth, mut now_ns) = (Depth::found(16), 0);
    depth.hold(true);
    run(&mut depth, &GOOD, &mut now_ns, 100, 100, 1_000 * MS);
    assert_eq!(depth.proven(), 1, "commands all the time");
    depth.hold(false);
    run(&mut depth, &GOOD, &mut now_ns, 30, 100, 1_000 * MS);
    assert_eq!(depth.proven(), 16);
}

#[test]
fn a_command_ends_what_is_tried_for_its_time() {
    let (mut depth, mut now_ns) = (Depth::found(16), 0);
    while depth.trial().is_none() {
        run(&mut depth, &GOOD, &mut now_ns, 1, 100, 1_000 * MS);
        assert!(now_ns < 60_000 * MS, "nothing was ever tried: {depth:?}");
        // a trial that began and ended within the cycle shows as a proven depth
        if depth.proven() > 1 {
            break;
        }
    }
    let proven = depth.proven();
    depth.trial = Some(Trial { depth: proven * 2, lead: 0, base_ps: Some(1) });
    assert_eq!(depth.now(now_ns), proven * 2);
    depth.hold(true);
    assert_eq!(depth.now(now_ns), proven);
    depth.hold(false);
    assert_eq!(depth.now(now_ns), proven * 2);
}

#[test]
fn a_depth_that_is_told_is_kept_and_rests_after_a_lost_burst() {
    let (mut depth, mut now_ns) = (Depth::told(4), 0);
    run(&mut depth, &GOOD, &mut now_ns, 100, 100, 1_000 * MS);
    assert_eq!((depth.now(now_ns), depth.trial()), (4, None));
    for trouble in [Trouble::Closed, Trouble::Busy, Trouble::OutOfOrder] {
        assert!(!depth.on_trouble(now_ns, trouble));
    }
    for rest_ns in [FALLBACK_NS.0, FALLBACK_NS.0 * 2] {
        assert!(depth.on_trouble(now_ns, Trouble::Lost) && !depth.on_trouble(now_ns, Trouble::Protocol));
        assert_eq!((depth.now(now_ns + rest_ns - 1), depth.now(now_ns + rest_ns)), (1, 4));
        now_ns += rest_ns;
    }
    assert!(!Depth::told(1).on_trouble(0, Trouble::Lost));
}

/// A device behind a link: the way there and back, what it works on a request, how many it works on at
/// once, how many requests it stands before it loses one, and how much longer an answer takes by chance.
#[derive(Clone, Copy)]
struct Link {
    way_ns: u64,
    work_ns: u64,
    abreast: usize,
    stands: usize,
    late: fn(u64) -> u64,
}

const NEAR: Link = Link { way_ns: 40_000, work_ns: 5_000, abreast: 1, stands: 16, late: |_| 0 };
const FAR: Link = Link { way_ns: 5 * MS, work_ns: 10_000, abreast: 1, stands: 16, late: |_| 0 };
/// A serial line: the way costs nothing beside it.
const SLOW: Link = Link { way_ns: 100_000, work_ns: 20 * MS, abreast: 1, stands: 16, late: |_| 0 };

/// Chance as a number, from a number.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A depth that is being found out over a link.
struct Finding {
    depth: Depth,
    now_ns: u64,
    seed: u64,
    most: usize,
}

impl Finding {
    fn new(seed: u64) -> Finding {
        Finding { depth: Depth::found(16), now_ns: 0, seed: mixed(seed), most: 0 }
    }

    /// A cycle of so many requests, and the time to the next.
    fn cycle(&mut self, link: &Link, requests: u32, every_ns: u64) {
        let began_ns = self.now_ns;
        let mut free_ns = vec![0; link.abreast];
        let (mut left, mut answers) = (requests, Vec::new());
        while left > 0 || !answers.is_empty() {
            while left > 0 && answers.len() < usize::from(self.depth.now(self.now_ns)) {
                self.depth.on_send(self.now_ns, answers.is_empty());
                left -= 1;
                self.seed = mixed(self.seed);
                let free = free_ns.iter_mut().min().expect("it works on one at least");
                let way_ns = link.way_ns + (link.late)(self.seed);
                *free = (self.now_ns + way_ns / 2).max(*free) + link.work_ns;
                answers.push(*free + way_ns / 2);
                self.most = self.most.max(answers.len());
            }
            if answers.len() > link.stands {
                self.now_ns += 200 * MS;
                self.depth.on_trouble(self.now_ns, Trouble::Lost);
                left += answers.drain(..).count() as u32;
                continue;
            }
            let next = (0..answers.len()).min_by_key(|at| answers[*at]).expect("one is under way");
            self.now_ns = self.now_ns.max(answers.remove(next));
            self.depth.on_answer(self.now_ns);
        }
        self.now_ns = self.now_ns.max(began_ns + every_ns);
    }

    /// Cycles of eight requests a second until the depth is this one and nothing is tried; at most so many.
    fn cycles_until(&mut self, link: &Link, proven: u8, most: u32) -> u32 {
        (1..=most)
            .find(|_| {
                self.cycle(link, 8, 1_000 * MS);
                self.depth.proven() == proven && self.depth.trial().is_none_or(|trial| trial > 8)
            })
            .unwrap_or_else(|| panic!("after {most} cycles: {:?}", self.depth))
    }
}

#[test]
fn few_requests_a_cycle_say_what_the_depth_is_within_some_ten_cycles() {
    for link in [NEAR, FAR, Link { abreast: 16, work_ns: MS, ..FAR }] {
        let mut finding = Finding::new(1);
        let cycles = finding.cycles_until(&link, 8, 60);
        assert!(cycles <= 13, "{cycles} cycles");
        (0..600).for_each(|_| finding.cycle(&link, 8, 1_000 * MS));
        assert_eq!((finding.depth.proven(), finding.most), (8, 8));
    }
}

#[test]
fn a_gateway_that_gains_nothing_is_asked_one_by_one_after_a_few_cycles() {
    let mut finding = Finding::new(1);
    for _ in 0..16 {
        finding.cycle(&SLOW, 8, 1_000 * MS);
    }
    assert_eq!((finding.depth.proven(), finding.depth.barred(), finding.most), (1, Some(2), 2));
    finding.most = 0;
    (0..590).for_each(|_| finding.cycle(&SLOW, 8, 1_000 * MS));
    assert_eq!(finding.most, 1);
    // what it works on one request is four times the way: two at once hide the way, more hide nothing
    let mut finding = Finding::new(1);
    (0..24).for_each(|_| finding.cycle(&Link { way_ns: 5 * MS, ..SLOW }, 8, 1_000 * MS));
    assert_eq!((finding.depth.proven(), finding.depth.barred(), finding.most), (2, Some(4), 4));
}

#[test]
fn a_device_that_loses_what_is_too_much_keeps_what_it_stands() {
    for (stands, keeps) in [(1, 1), (2, 2), (3, 2), (5, 4)] {
        let mut finding = Finding::new(1);
        (0..40).for_each(|_| finding.cycle(&Link { stands, ..FAR }, 8, 1_000 * MS));
        assert_eq!((finding.depth.proven(), finding.depth.barred()), (keeps, Some(keeps * 2)), "stands {stands}");
        assert_eq!(finding.most, usize::from(keeps) * 2, "it was asked for too much once");
    }
}

#[test]
fn noise_seldom_decides() {
    let uniform: fn(u64) -> u64 = |chance| chance % (2 * MS);
    // one answer in eight comes a round trip later
    let bursts: fn(u64) -> u64 = |chance| if chance.is_multiple_of(8) { 5 * MS } else { 0 };
    for (name, late) in [("uniform", uniform), ("bursts", bursts)] {
        let mut wrong = 0;
        for seed in 0..200 {
            let mut finding = Finding::new(seed);
            (0..40).for_each(|_| finding.cycle(&Link { late, ..FAR }, 8, 1_000 * MS));
            wrong += u32::from(finding.depth.proven() < 8);
            let mut finding = Finding::new(seed);
            (0..60).for_each(|_| finding.cycle(&Link { late, ..SLOW }, 8, 1_000 * MS));
            wrong += u32::from(finding.depth.proven() > 1);
        }
        assert!(wrong <= 4, "{name}: {wrong} of 400 are wrong");
    }
}
