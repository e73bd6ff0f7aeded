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
    depth.trial = Some(proven * 2);
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
