//! The dashboard in a real browser: Chromium loads it from the running demo, and what a person
//! would see is looked for in the page that it makes.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use support::browser::{Browser, CHROMIUM};
use support::demo::Demo;
use support::{PATIENCE, target};

const BANNER: &str = "No connection";
const TEMPERATURE: &str = "riverside/press/line1/press1/temperature";

/// Whether there is a browser. Says so where it is left out, and fails where it is required.
fn browser_or_say_so() -> bool {
    let there = Path::new(CHROMIUM).exists();
    match std::env::var("MILLSTREAM_PEERS").as_deref() {
        Ok("required") => {
            assert!(there, "{CHROMIUM} is required and not installed: apt-get install chromium");
            true
        }
        Ok("skip") => {
            eprintln!("LEFT OUT: the dashboard in Chromium, as asked");
            false
        }
        _ if there => true,
        _ => {
            eprintln!("LEFT OUT: the dashboard in Chromium, which is not installed");
            false
        }
    }
}

/// Goes to a view and waits until it shows what is looked for; answers the page.
fn page(browser: &mut Browser, view: &str, shows: impl Fn(&str) -> bool) -> String {
    let mut last = String::new();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        browser.evaluate(&format!("location.hash = {view:?}"));
        last = browser.page();
        if shows(&last) {
            return last;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{view} does not show it: {}", words(&last));
}

/// The text of a page, its parts separated by `|`.
fn words(page: &str) -> String {
    let mut text = String::new();
    for part in page.split('<') {
        let shown = part.split_once('>').map_or("", |(_, shown)| shown).trim();
        if !shown.is_empty() {
            text += shown;
            text.push('|');
        }
    }
    text
}

/// The number that stands behind a tag's path in the table of tags.
fn value_of(page: &str, tag: &str) -> Option<f64> {
    let name = tag.rsplit('/').next()?;
    let row = page.split("role=\"row\"").find(|row| row.contains(tag) && row.contains(name))?;
    let value = row.split("class=\"value").nth(1)?;
    let shown = value.split_once('>')?.1.split('<').next()?;
    // thousands are parted by a narrow space
    shown.chars().filter(|c| !c.is_whitespace()).collect::<String>().parse().ok()
}

/// 1. The demo runs; every press, meter and zone is good.
/// 2. Each view of the dashboard shows its matter, in a page that has a connection.
/// 3. Two looks at the tags show two temperatures of a press.
/// 4. A screenshot is a picture of plausible size.
/// 5. The demo ends, and the page says that it has no connection.
#[test]
fn a_browser_shows_the_plant_and_it_moves() {
    if !browser_or_say_so() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(folder.path());
    demo.good("riverside/press/**", 24);
    demo.good("riverside/paint/line1/oven/zones/**", 12);

    let mut browser = Browser::open(&format!("{}/#/tags?search=press1", demo.url));
    let shows = |page: &str| value_of(page, TEMPERATURE).is_some() && !page.contains(BANNER);
    let tags = page(&mut browser, "#/tags?search=press1", shows);
    let first = value_of(&tags, TEMPERATURE).expect("a number");
    for name in ["pressure", "vibration", "cycles"] {
        let tag = TEMPERATURE.replace("temperature", name);
        assert!(value_of(&tags, &tag).is_some(), "{tag} has no number: {}", words(&tags));
    }
    let other = |page: &str| value_of(page, TEMPERATURE).is_some_and(|now| now != first);
    page(&mut browser, "#/tags?search=press1", other);

    let running = |page: &str| words(page).matches("|running|").count() >= 7 && !page.contains(BANNER);
    let sources = words(&page(&mut browser, "#/sources", running));
    for name in ["press1", "press2", "press3", "press4", "energy-meters", "oven", "vibration-rig"] {
        assert!(sources.contains(&format!("|{name}|")), "{name} is not among the sources: {sources}");
    }
    page(&mut browser, "#/cores", |page| words(page).contains("uring") || words(page).contains("epoll"));
    page(&mut browser, "#/", |page| words(page).contains("|press1|") && !page.contains(BANNER));
    picture(&mut browser);
    assert_eq!(demo.stop(), Some(0));
    page(&mut browser, "#/", |page| page.contains(BANNER));
}

/// A screenshot under the build folder, whose path is printed.
fn picture(browser: &mut Browser) {
    let file = target().join("dashboard.png");
    let picture = browser.picture();
    let size = |at: usize| u32::from_be_bytes([picture[at], picture[at + 1], picture[at + 2], picture[at + 3]]);
    assert_eq!(&picture[..8], b"\x89PNG\r\n\x1a\n", "it is no PNG");
    assert!(size(16) >= 1000 && size(20) >= 600, "{} by {}", size(16), size(20));
    assert!(picture.len() > 20_000, "an empty page has few bytes: {}", picture.len());
    fs::write(&file, picture).expect("written");
    println!("the dashboard's picture: {}", file.display());
}
