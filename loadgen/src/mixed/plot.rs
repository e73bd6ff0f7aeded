//! Line plots as inline SVG: no script, readable in black and white and by a screen reader.

use std::fmt::Write as _;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// Lines across, at most.
const STEPS: f64 = 4.0;

/// One value a second, from the first measured second on, where there is one; the axis begins at 0.
/// No line across is nearer to the next than `step_min`.
pub(super) fn by_second(
    title: &str,
    values: &[Option<f64>],
    step_min: f64,
    colour: &str,
    shown: fn(f64) -> String,
) -> String {
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let step = round_step(most / STEPS).max(step_min);
    let top = step * (most / step).ceil().max(1.0);
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let last = values.len().saturating_sub(1).max(1) as f64;
    let x = |second: usize| LEFT + width * second as f64 / last;
    let y = |value: f64| TOP + height * (1.0 - value / top);
    let mut svg = String::new();
    // Writing to a text cannot fail.
    let _ =
        write!(svg, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>"#);
    let mut line = 0.0;
    while line <= top * 1.001 {
        let at = y(line);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            shown(line)
        );
        line += step;
    }
    let every = (values.len() as f64 / 10.0).ceil().max(1.0) as usize;
    for second in (0..values.len()).step_by(every) {
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            x(second),
            HEIGHT - 8.0,
            second + 1
        );
    }
    let known: Vec<(usize, f64)> =
        values.iter().enumerate().filter_map(|(second, value)| Some((second, (*value)?))).collect();
    let points: Vec<String> =
        known.iter().map(|(second, value)| format!("{:.1},{:.1}", x(*second), y(*value))).collect();
    let ends = [known.first(), known.last()].map(|end| end.map_or(0, |(second, _)| *second));
    let _ = write!(
        svg,
        r#"<polygon points="{:.1},{:.1} {} {:.1},{:.1}" fill="{colour}" fill-opacity="0.14"/>"#,
        x(ends[0]),
        y(0.0),
        points.join(" "),
        x(ends[1]),
        y(0.0)
    );
    let _ = write!(
        svg,
        r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>"#,
        points.join(" ")
    );
    for (at, value) in &known {
        let _ = write!(
            svg,
            r#"<circle cx="{:.1}" cy="{:.1}" r="2.6" fill="{colour}"><title>second {}: {}</title></circle>"#,
            x(*at),
            y(*value),
            at + 1,
            shown(*value)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// One curve of latencies: its name, its colour, and nanoseconds at each of [`CURVE`]'s percentiles.
pub(super) struct Curve<'a> {
    pub(super) name: &'a str,
    pub(super) colour: &'a str,
    pub(super) ns: Vec<f64>,
}

/// The percentiles of [`curves`], evenly apart: each step is ten times as rare.
pub(super) const CURVE: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// Latencies by percentile, on a logarithmic axis of time.
pub(super) fn curves(title: &str, all: &[Curve<'_>], shown: fn(f64) -> String) -> String {
    const TALL: f64 = 300.0;
    const WIDE: f64 = 1_150.0;
    let times = || all.iter().flat_map(|curve| curve.ns.iter().copied()).filter(|ns| *ns > 0.0);
    let low = times().fold(f64::INFINITY, f64::min).min(1e9).log10().floor();
    let high = times().fold(1.0, f64::max).log10().ceil().max(low + 1.0);
    let (width, height) = (WIDE - LEFT - 120.0, TALL - TOP - BOTTOM);
    let x = |at: usize| LEFT + width * at as f64 / (CURVE.len() - 1) as f64;
    let y = |ns: f64| TOP + height * (1.0 - (ns.max(1.0).log10() - low) / (high - low));
    let mut svg = String::new();
    let _ = write!(svg, r#"<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{title}"><title>{title}</title>"#);
    for power in low as i32..=high as i32 {
        let at = y(10_f64.powi(power));
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT + width,
            LEFT - 6.0,
            at + 4.0,
            shown(10_f64.powi(power))
        );
    }
    for (at, name) in CURVE.iter().enumerate() {
        let _ = write!(svg, r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{name}</text>"#, x(at), TALL - 8.0);
    }
    let mut free = TOP;
    let mut by_end: Vec<&Curve<'_>> = all.iter().filter(|curve| !curve.ns.is_empty()).collect();
    by_end.sort_by(|one, other| other.ns.last().unwrap_or(&0.0).total_cmp(other_end(one)));
    for curve in by_end {
        let Curve { name, colour, ns } = curve;
        let points: Vec<String> = ns.iter().enumerate().map(|(at, ns)| format!("{:.1},{:.1}", x(at), y(*ns))).collect();
        let end = y(*other_end(curve)).max(free);
        free = end + 15.0;
        let _ = write!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/><text x="{:.1}" y="{:.1}" style="fill:{colour}">{name}</text>"#,
            points.join(" "),
            LEFT + width + 8.0,
            end + 4.0
        );
    }
    svg.push_str("</svg>");
    svg
}

fn other_end<'a>(curve: &'a Curve<'_>) -> &'a f64 {
    curve.ns.last().unwrap_or(&0.0)
}

/// 1, 2 or 5 times a power of ten, not below a number.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= least).unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_plots_hold_every_second() {
        assert_eq!([0.0, 1.0, 1.2, 30.0, 600.0].map(round_step), [1.0, 1.0, 2.0, 50.0, 1_000.0]);
        let svg = by_second("a", &[Some(1.0), None, Some(5.0), Some(0.0)], 1.0, "#123", |value| format!("{value}"));
        assert_eq!((svg.matches("<circle").count(), svg.matches("<svg").count()), (3, 1));
        assert!(!svg.contains("NaN") && !by_second("b", &[], 1.0, "#123", |value| format!("{value}")).contains("NaN"));
        let one = Curve { name: "x", colour: "#123", ns: vec![1e3, 1e4, 1e5, 1e6, 1e6, 1e7] };
        let svg = curves("c", &[one], |ns| format!("{ns}"));
        assert!(svg.contains(">p99.99<") && !svg.contains("NaN"));
    }
}
