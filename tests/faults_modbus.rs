//! Modbus devices that fail: each fault of the simulated press, and a device with every bad habit
//! that we know. What fails turns Bad and says why, costs its neighbours nothing, mends by itself,
//! and leaves a gap record; no value ever lands on another tag.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use support::bad_device::{BadDevice, Habit};
use support::history::{History, ns};
use support::site::Site;
use support::{Server, wait_for};

/// The press that fails: soon missed, soon tried again.
const FAILING: &str = "every = \"100ms\"\ntimeout = \"1500ms\"\ndemote_for = \"1s\"\ndemote_max = \"2s\"";
/// Its neighbours: a cycle that is shorter than the timeout of the failing one, so that waiting for
/// it would cost them polls, and long enough for a machine with other work.
const BESIDE: &str = "every = \"1s\"\ntimeout = \"20s\"";
const TAGS_OF_A_PRESS: usize = 6;
const TAGS_OF_THE_METERS: usize = 16;
/// Tags whose values move with every poll, beside the failing press.
const NEIGHBOURS: [&str; 4] =
    ["site/press2/temperature", "site/press3/temperature", "site/press4/temperature", "site/energy/meter1/power"];
const FAILED: &str = "site/press1/temperature";

/// Breaks press 1 in one way and mends it; `fitting`: reasons that its gaps may have, of which the
/// first must be there.
fn fault(mode: &str, fitting: &[&str]) {
    let site = Site::start();
    let mut sections = site.press(1, FAILING);
    (2..=4).for_each(|number| sections += &site.press(number, BESIDE));
    sections += &site.meters(BESIDE);
    let server = Server::start(&sections);
    server.all_good("site/**", 4 * TAGS_OF_A_PRESS + TAGS_OF_THE_METERS);

    let (broken_at, waited) = (server.now(), server.waited_for_core(Some(&site.thread_name)));
    site.switch("press/1", mode);
    // "drop" is a moment, not a state: it is over before anyone can look, and the past shows it
    if mode != "drop" {
        wait_for("every tag of the failing press is bad and the source says why", || {
            let source = server.source("press1");
            let bad = server.qualities("site/press1/*").iter().filter(|quality| quality.starts_with("Bad")).count();
            let said = source["state"] != "running" && !source["reason"].as_str().unwrap_or_default().is_empty();
            (bad == TAGS_OF_A_PRESS && said).then_some(())
        });
    }
    neighbours_go_on(&server);
    let mended_at = server.now();
    site.switch("press/1", "ok");
    let again = wait_for("the press is good again by itself", || {
        let history = server.history(FAILED, broken_at, server.now());
        let bad = history.samples.iter().position(|sample| sample.quality.starts_with("Bad"))?;
        let good = history.samples[bad..].iter().any(|sample| sample.is_good() && sample.time > mended_at);
        let running = server.source("press1")["state"] == "running";
        (good && running && history.gaps.iter().any(|gap| gap.to > mended_at || mode == "drop")).then_some(history)
    });
    server.all_good("site/press1/*", TAGS_OF_A_PRESS);
    let source = server.source("press1");
    assert!(ns(&source["since"]) > broken_at, "it was running all the time: {source}");
    assert_eq!(source["reason"], "", "{source}");
    covered(&again, mode, mended_at, fitting);
    let end = server.now();
    for tag in NEIGHBOURS {
        let history = server.history(tag, broken_at, end);
        assert!(history.samples.iter().all(|sample| sample.is_good()), "{tag} while {mode}: {history:?}");
        let waited = server.waited_for_core(Some(&site.thread_name)).saturating_sub(waited);
        no_gaps(&format!("{tag} while {mode}"), &history, waited);
        assert!(history.samples.len() > 2, "{tag} stood still: {history:?}");
    }
}

/// A good device has no gaps, but for the cycles that a machine with other work took: for each of
/// them the server or the plant must have waited most of a cycle for a core, by the kernel's account.
fn no_gaps(what: &str, history: &History, waited: Duration) {
    let skipped: u64 = history.gaps.iter().map(|gap| gap.count.unwrap_or(1)).sum();
    let by_machine = history.gaps.iter().all(|gap| gap.reason == "cycle-skipped")
        && waited >= Duration::from_millis(800) * u32::try_from(skipped).unwrap_or(u32::MAX);
    assert!(by_machine, "{what}, having waited {waited:?} for a core: {:?}", history.gaps);
    if skipped > 0 {
        eprintln!("{what}: {skipped} cycles skipped by a machine that let us wait {waited:?} for a core");
    }
}

/// Every neighbour is polled with a good answer three times from now on.
fn neighbours_go_on(server: &Server) {
    let seen = |tag: &str| {
        let latest = server.latest(tag).expect("a known tag");
        assert_eq!(latest["quality"], "Good", "{latest}");
        ns(&latest["seen"])
    };
    for tag in NEIGHBOURS {
        for _ in 0..3 {
            let last = seen(tag);
            wait_for(&format!("{tag} is polled again"), || (seen(tag) > last).then_some(()));
        }
    }
}

/// From the first bad sample until it was mended every moment is under a gap record with a reason
/// that fits, and says that nothing good was stored.
fn covered(history: &History, mode: &str, mended_at: i64, fitting: &[&str]) {
    let mut gaps = history.gaps.clone();
    gaps.sort_by_key(|gap| (gap.from, gap.to));
    let bad = history.samples.iter().find(|sample| sample.quality.starts_with("Bad")).expect("a bad sample").time;
    let back = history.samples.iter().find(|sample| sample.is_good() && sample.time > bad).expect("a good one").time;
    assert!(gaps[0].from <= bad, "{mode}: bad since {bad}, and the gaps are {gaps:?}");
    let until = if mode == "drop" { back.min(mended_at) } else { mended_at };
    let mut reached = gaps[0].to;
    for gap in gaps.iter().filter(|gap| gap.from < until) {
        // what is missed is counted by polls: between two records lies at most one poll's time
        assert!(gap.from - reached <= 1_000_000_000, "{mode}: nothing says what was from {reached}: {gaps:?}");
        assert!(gap.count.is_some_and(|count| count > 0), "{mode}: {gap:?}");
        assert!(fitting.contains(&gap.reason.as_str()), "{mode}: {gap:?} does not fit");
        reached = reached.max(gap.to);
    }
    assert!(mode == "drop" || reached >= mended_at, "{mode}: mended at {mended_at}, and the gaps are {gaps:?}");
    assert!(gaps.iter().any(|gap| gap.reason == fitting[0]), "{mode}: {gaps:?}");
}

/// A device that takes requests and answers none once held the poll of its tags for ever, with the
/// last value still shown as good.
#[test]
fn a_silent_press_turns_bad_alone_and_comes_back() {
    fault("silent", &["timeout", "not-connected", "cycle-skipped"]);
}

/// A device in trouble answers exceptions: that is an answer, but no value.
#[test]
fn a_press_that_answers_exceptions_turns_bad_alone_and_comes_back() {
    fault("exception", &["device-error"]);
}

/// Bytes that are no Modbus, wrong protocol and transaction ids, impossible lengths, in turn.
#[test]
fn a_press_that_answers_garbage_turns_bad_alone_and_comes_back() {
    fault("garbage", &["not-connected", "timeout", "device-error", "cycle-skipped"]);
}

/// The connection is closed once, as a restarted PLC does it.
#[test]
fn a_press_that_drops_its_connection_comes_back() {
    fault("drop", &["not-connected"]);
}

/// Nobody listens at the address any more.
#[test]
fn a_stopped_press_turns_bad_alone_and_comes_back() {
    fault("stop", &["not-connected"]);
}

/// Registers of the device with bad habits: four blocks far apart, each of another length, because
/// an answer under the id of another request of the same length is beyond what Modbus can tell.
const BLOCKS: [(u16, u16); 4] = [(0, 4), (300, 3), (600, 2), (900, 1)];
const TIMEOUT: Duration = Duration::from_millis(400);

fn addresses() -> impl Iterator<Item = u16> {
    BLOCKS.into_iter().flat_map(|(first, tags)| (0..tags).map(move |tag| first + 2 * tag))
}

fn source(name: &str, port: u16, timing: &str) -> String {
    let mut text = format!(
        "[[source]]\nname = \"{name}\"\nkind = \"modbus\"\naddress = \"tcp://127.0.0.1:{port}\"\n\
         path = \"site/{name}\"\ndepth = 4\n{timing}\n\n"
    );
    for address in addresses() {
        let _ = write!(text, "[[source.tag]]\nname = \"r{address}\"\nat = \"holding:{address}\"\ntype = \"u32\"\n\n");
    }
    text
}

/// Every stored value must be of its own register, and answer one poll only: a late answer that is
/// taken for that of the next request would be the same number at another time.
fn only_own_values(server: &Server, name: &str, device: &BadDevice) -> usize {
    let wrong = device.answered_wrong();
    let mut times: BTreeMap<u16, i64> = BTreeMap::new();
    let mut values = 0;
    for address in addresses() {
        let tag = format!("site/{name}/r{address}");
        let mut last = 0;
        for sample in server.history(&tag, 0, server.now()).samples {
            let Some(value) = sample.value.as_u64() else { continue };
            let (from, request) = ((value >> 16) as u16, (value & 0xFFFF) as u16);
            assert_eq!(from, address, "{tag} holds the value of register {from}: {sample:?}");
            if !sample.is_good() {
                continue;
            }
            assert!(!wrong.contains(&request), "{tag} took an answer with a wrong transaction id: {sample:?}");
            assert!(request >= last, "{tag} went back from request {last}: {sample:?}");
            let time = *times.entry(request).or_insert(sample.time);
            assert_eq!(time, sample.time, "{tag}: request {request} was taken for two polls");
            last = request;
            values += 1;
        }
    }
    values
}

/// A gateway on a bad line answers late, twice wrong, in any order, or not at all. A client that
/// pairs answers with requests by their order shows the pressure of one machine as the temperature
/// of another, with good quality and for ever.
///
/// 1. The device has each habit for some requests, with right answers between, twice over.
/// 2. A good device of the same make is polled beside it.
/// 3. No stored sample of any tag holds another register's value, an answer that had to be dropped,
///    or one answer twice; the good device has nothing but good samples and no gap.
#[test]
fn no_bad_habit_puts_a_value_on_another_tag() {
    use Habit::{Exception, Garbage, HalfOpen, Late, OutOfOrder, Right, WrongTransaction};
    // what closes the connection is met with growing pauses, so there is less of it
    let faults =
        [(OutOfOrder, 12), (Exception, 8), (WrongTransaction, 5), (Late, 10), (Garbage, 3), (HalfOpen, 6), (Right, 0)];
    let round: Vec<(Habit, u16)> = faults.into_iter().flat_map(|fault| [(Right, 8), fault]).collect();
    let bad = BadDevice::start(&[&round[..], &round[..]].concat(), TIMEOUT + TIMEOUT / 2);
    let good = BadDevice::start(&[], TIMEOUT);
    let timing = "every = \"100ms\"\ntimeout = \"400ms\"\ndemote_for = \"200ms\"\ndemote_max = \"400ms\"";
    let server = Server::start(&(source("bad", bad.port, timing) + &source("good", good.port, BESIDE)));
    server.all_good("site/good/*", addresses().count());
    let (start, waited) = (server.now(), server.waited_for_core(None));
    while !bad.is_done() {
        let before = bad.requests();
        wait_for("the device is asked again", || (bad.requests() > before).then_some(()));
    }
    server.all_good("site/bad/*", addresses().count());
    let end = server.now();

    let counters = server.source("bad")["counters"].clone();
    for met in ["timeouts", "late_replies", "exceptions", "bad_frames", "unknown_replies", "reconnects"] {
        assert!(counters[met].as_u64() > Some(0), "the device's habits did not show as {met}: {counters}");
    }
    let values = only_own_values(&server, "bad", &bad);
    assert!(values >= 2 * addresses().count(), "too little was stored to tell: {values}");
    assert!(!bad.answered_wrong().is_empty(), "the device never answered under a wrong id");
    let gaps = server.history("site/bad/r0", start, end).gaps;
    assert!(!gaps.is_empty(), "nothing says that answers were missing");
    only_own_values(&server, "good", &good);
    for address in addresses() {
        let history = server.history(&format!("site/good/r{address}"), start, end);
        no_gaps("the good device", &history, server.waited_for_core(None).saturating_sub(waited));
        assert!(history.samples.len() > 2 && history.samples.iter().all(|sample| sample.is_good()), "{history:?}");
    }
}
