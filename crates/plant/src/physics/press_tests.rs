//! The press: warm-up, duty cycle, vibration, faults.

use super::*;

const DT_S: f64 = 0.05;

fn run(press: &mut Press, seconds: f64, mut each: impl FnMut(&Press)) {
    let mut left = seconds;
    while left > 0.0 {
        press.step(DT_S);
        each(press);
        left -= DT_S;
    }
}

fn calm(seed: u64, index: usize) -> Press {
    let mut press = Press::new(seed, index);
    press.set_spontaneous(false);
    press
}

#[test]
fn warms_up_along_a_curve_that_flattens() {
    let mut press = calm(1, 0);
    let mut marks = vec![press.readings().temperature_c];
    for _ in 0..6 {
        run(&mut press, 75.0, |_| {});
        marks.push(press.readings().temperature_c);
    }
    let gains: Vec<f32> = marks.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gains[0] > 55.0, "first minute gains {gains:?}");
    assert!(gains[0] > 2.0 * gains[1] && gains[1] > 2.0 * gains[2], "{gains:?}");
    let end = marks[6];
    assert!((150.0..178.0).contains(&end), "settles at {end}");
}

#[test]
fn strokes_press_for_their_share_of_the_time_and_count() {
    let mut press = calm(2, 1);
    let before = press.readings().cycles;
    let (mut steps, mut pressing, mut peak) = (0_u32, 0_u32, 0.0_f32);
    run(&mut press, 400.0, |p| {
        steps += 1;
        pressing += u32::from(p.pressing());
        peak = peak.max(p.readings().pressure_bar);
    });
    let share = f64::from(pressing) / f64::from(steps);
    assert!((share - 0.35).abs() < 0.02, "pressing {share} of the time");
    assert!((155.0..165.0).contains(&peak), "peak {peak} bar");
    let strokes = press.readings().cycles - before;
    assert!((90..=125).contains(&strokes), "{strokes} strokes in 400 s");
}

#[test]
fn vibration_follows_speed_and_wear() {
    let mean = |press: &mut Press| {
        let (mut sum, mut count) = (0.0, 0.0);
        run(press, 30.0, |p| {
            sum += f64::from(p.readings().vibration_mm_s);
            count += 1.0;
        });
        sum / count
    };
    let mut press = calm(3, 2);
    press.wear = 0.1;
    run(&mut press, 10.0, |_| {});
    let fresh = mean(&mut press);
    press.wear = 0.9;
    let worn = mean(&mut press);
    press.command_run(false);
    run(&mut press, 10.0, |_| {});
    let idle = mean(&mut press);
    assert!(worn > 1.5 * fresh, "fresh {fresh}, worn {worn}");
    assert!(idle < 0.7 * fresh, "idle {idle}, fresh {fresh}");
}

#[test]
fn a_forced_fault_stops_the_press_until_released() {
    let mut press = calm(4, 3);
    run(&mut press, 10.0, |_| {});
    press.force_faults(FAULT_HYDRAULIC);
    assert_eq!(press.readings().state, PressState::Fault);
    assert_eq!(press.readings().faults, FAULT_HYDRAULIC);
    run(&mut press, 10.0, |_| {});
    assert!(press.readings().pressure_bar < 2.0);
    press.force_faults(0);
    run(&mut press, 1.0, |_| {});
    assert_eq!(press.readings().state, PressState::Running);
    assert_eq!(press.readings().faults, 0);
}

#[test]
fn own_faults_come_after_the_quiet_time_and_clear_themselves() {
    let mut press = Press::new(5, 0);
    run(&mut press, QUIET_S - 1.0, |p| assert_eq!(p.readings().faults, 0));
    let (mut raised, mut cleared, mut before) = (0, 0, 0);
    run(&mut press, 4.0 * 3_600.0, |p| {
        let now = p.readings().faults;
        assert_eq!(now != 0, p.readings().state == PressState::Fault);
        raised += u32::from(before == 0 && now != 0);
        cleared += u32::from(before != 0 && now == 0);
        before = now;
    });
    assert!((2..60).contains(&raised), "{raised} faults in four hours");
    assert!(raised - cleared <= 1, "{raised} raised, {cleared} cleared");
}

#[test]
fn set_point_is_clamped_and_ignores_what_is_no_number() {
    let mut press = calm(6, 0);
    press.set_pressure(1_000.0);
    assert_eq!(press.readings().set_point_bar, SET_POINT_MAX_BAR);
    press.set_pressure(f32::NAN);
    assert_eq!(press.readings().set_point_bar, SET_POINT_MAX_BAR);
    press.set_pressure(-4.0);
    assert_eq!(press.readings().set_point_bar, SET_POINT_MIN_BAR);
}

#[test]
fn the_same_seed_gives_the_same_readings_and_they_always_move() {
    let (mut one, mut two) = (Press::new(9, 1), Press::new(9, 1));
    let mut last = one.readings();
    for _ in 0..2_000 {
        one.step(DT_S);
        two.step(DT_S);
        assert_eq!(one.readings(), two.readings());
        assert_ne!(one.readings(), last);
        last = one.readings();
    }
}
