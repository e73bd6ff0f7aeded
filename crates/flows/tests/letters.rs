//! Dead letters: what makes one, what it says, and what is done about it.

mod support;

use flows::desk::ActionError;
use flows::letters::LetterState;
use flows::spec::FlowSpec;
use serde_json::{Value, json};
use sim::Crash;
use std::cell::RefCell;
use std::rc::Rc;
use support::target::Mood;
use support::world::kept;
use support::{MINUTE, S, World, judge, plan};

fn subscriber(body: &str) -> FlowSpec {
    let mut flow = plan::subscriber("maint", "stop");
    flow.definition.body = Some(body.to_owned());
    flow
}

/// A world with one subscriber whose body can be changed for the next life.
fn world(body: &str) -> (World, Rc<RefCell<String>>) {
    let told = Rc::new(RefCell::new(body.to_owned()));
    let body = Rc::clone(&told);
    let world = World::new(3, kept(), move || plan::settings(vec![subscriber(&body.borrow())]));
    (world, told)
}

fn stop(world: &mut World, id: &str, data: Value) -> u64 {
    let now = world.now();
    world.publish(plan::event("stop", id, "line1", now, Some(700), data)).0
}

const BODY: &str = "{'n': event.data.n, 'note': event.data.note}";

#[test]
fn what_cannot_be_mapped_says_by_which_expression_and_from_what() {
    let (mut world, told) = world(BODY);
    let offset = stop(&mut world, "a", json!({ "note": "fine" }));
    let behind = stop(&mut world, "b", json!({ "n": 1, "note": "fine" }));
    world.settle();
    let letter = world.desk.letter(&format!("maint@{offset}")).expect("a letter").clone();
    assert_eq!(
        (letter.reason.as_str(), letter.expression.as_deref(), letter.request.clone()),
        ("mapping", Some(BODY), None)
    );
    let input: Value = serde_json::from_str(letter.input.as_deref().expect("an input")).expect("JSON");
    assert_eq!(input["event"]["data"], json!({ "note": "fine" }));
    assert_eq!(letter.attempts.len(), 1);
    assert!(
        letter.attempts[0].error.as_ref().is_some_and(|error| error.contains("event.data.n")),
        "{:?}",
        letter.attempts
    );
    let arrived: Vec<u64> = world.target("maint").effects.iter().map(|effect| effect.offset).collect();
    assert_eq!(arrived, [behind], "it holds nobody up");
    // another mapping, and it goes out under the key that it would have had
    told.replace("{'note': event.data.note}".to_owned());
    world.crash(Crash::Power);
    let now = world.now();
    world.desk.replay(&letter.id, None, "ann", None, now).expect("replayed");
    world.settle();
    let last = world.target("maint").effects.last().cloned().expect("an effect");
    assert_eq!((last.offset, last.replay, last.key.len()), (offset, 1, 32));
    world.check();
}

#[test]
fn a_replay_of_the_same_body_has_the_same_key_and_another_body_another_one() {
    let (mut world, told) = world(BODY);
    let offset = stop(&mut world, "a", json!({ "n": 1, "note": "poison" }));
    world.settle();
    let id = format!("maint@{offset}");
    let key = world.desk.letter(&id).and_then(|letter| letter.request.clone()).expect("it was sent").idempotency_key;
    let now = world.now();
    // the same again
    world.desk.replay(&id, None, "ann", Some("was mended".to_owned()), now).expect("replayed");
    world.settle();
    let first = world.desk.letter(&format!("{id}.1")).cloned().expect("it failed again");
    assert_eq!(first.request.as_ref().map(|request| &request.idempotency_key), Some(&key));
    assert_eq!(
        world.desk.letter(&id).map(|letter| (letter.state, letter.replays.clone())),
        Some((LetterState::Replayed, vec![format!("{id}.1")]))
    );
    assert!(matches!(world.desk.replay(&id, None, "ann", None, now), Err(ActionError::Conflict(_))), "once is enough");
    // another mapping, tried more than once, over a restart with yet another one
    told.replace("{'n': event.data.n + 1, 'note': event.data.note}".to_owned());
    world.crash(Crash::Kill);
    world.target("maint").mood = Mood::Down;
    let now = world.now();
    world.desk.replay(&first.id, None, "ann", None, now).expect("replayed");
    world.run(3 * S);
    assert!(world.target("maint").calls > 3, "it is tried again");
    told.replace("{'n': 100, 'note': event.data.note}".to_owned());
    world.crash(Crash::Kill);
    world.target("maint").mood = Mood::Up;
    world.settle();
    let second = world.desk.letter(&format!("{id}.2")).cloned().expect("it failed again");
    let sent = second.request.clone().expect("it was sent");
    assert_eq!((sent.idempotency_key, sent.body.as_str()), (format!("{key}-2"), r#"{"n":2,"note":"poison"}"#));
    // by hand
    let now = world.now();
    let corrected = json!({ "n": 1, "note": "fine" });
    world.desk.replay(&second.id, Some(corrected.clone()), "ann", None, now).expect("replayed");
    world.settle();
    let effect = world.target("maint").effects.last().cloned().expect("an effect");
    assert_eq!((effect.key, effect.body, effect.replay), (format!("{key}-3"), corrected.to_string(), 3));
    let lines: Vec<(&str, &str)> =
        world.ledger.audits.iter().map(|line| (line.what.as_str(), line.target.as_str())).collect();
    assert_eq!(
        lines,
        [("replay dead letter", id.as_str()), ("replay dead letter", &first.id), ("replay dead letter", &second.id)]
    );
    assert_eq!(world.ledger.audits[0].comment.as_deref(), Some("was mended"));
    world.check();
}

#[test]
fn a_corrected_body_that_is_too_long_is_refused_and_holds_nothing_up() {
    let (mut world, _) = world(BODY);
    let offset = stop(&mut world, "a", json!({ "n": 1, "note": "poison" }));
    world.settle();
    let now = world.now();
    let long = json!("x".repeat(2 << 20));
    let refused = world.desk.replay(&format!("maint@{offset}"), Some(long), "ann", None, now);
    assert!(matches!(refused, Err(ActionError::Conflict(_))), "{refused:?}");
    stop(&mut world, "b", json!({ "n": 2, "note": "fine" }));
    world.settle();
    assert_eq!(world.target("maint").effects.len(), 1);
    assert!(matches!(world.desk.replay("maint@1", None, "ann", None, now), Err(ActionError::Unknown)));
}

#[test]
fn letters_are_replayed_by_a_filter_oldest_first_and_discarded() {
    let (mut world, _) = world(BODY);
    let offsets: Vec<u64> =
        (0..6).map(|n| stop(&mut world, &format!("e{n}"), json!({ "n": n, "note": "poison" }))).collect();
    world.settle();
    let now = world.now();
    world.desk.discard(&format!("maint@{}", offsets[0]), "ann", Some("not needed".to_owned()), now).expect("discarded");
    assert!(matches!(
        world.desk.discard(&format!("maint@{}", offsets[0]), "ann", None, now),
        Err(ActionError::Conflict(_))
    ));
    world.target("maint").is_picky = false;
    let some = world.replay_all(&|letter| letter.offset < offsets[3], None).expect("replayed");
    let rest = world.replay_all(&|_| true, None).expect("replayed");
    assert_eq!((some, rest), (2, 3));
    world.settle();
    let arrived: Vec<u64> = world.target("maint").effects.iter().map(|effect| effect.offset).collect();
    assert_eq!(arrived, offsets[1..]);
    assert_eq!(world.ledger.open_letters().count(), 0);
    world.crash(Crash::Power);
    let mut objections = Vec::new();
    judge::recovered(&world, &mut objections);
    judge::replays(&world, &mut objections);
    assert_eq!(objections, Vec::<String>::new());
    assert_eq!(
        world.desk.letter(&format!("maint@{}", offsets[0])).map(|letter| letter.state),
        Some(LetterState::Discarded)
    );
}

#[test]
fn a_letter_tells_the_attempts_of_every_life() {
    let (mut world, _) = world(BODY);
    world.target("maint").mood = Mood::Answers(500);
    let offset = stop(&mut world, "a", json!({ "n": 1, "note": "fine" }));
    world.until("two attempts", |world| world.target("maint").calls == 2);
    world.run(S / 20);
    world.durable();
    world.crash(Crash::Power);
    world.settle();
    let letter = world.desk.letter(&format!("maint@{offset}")).cloned().expect("a letter");
    let numbers: Vec<u32> = letter.attempts.iter().map(|line| line.number).collect();
    assert_eq!((letter.reason.as_str(), numbers), ("attempts", vec![1, 2, 3, 4]));
}

#[test]
fn open_letters_outlive_everything_around_them() {
    let log = log::Settings { segment_bytes: 8 << 10, keep_bytes: 16 << 10, ..kept() };
    let mut world = World::new(5, log, || plan::settings(vec![subscriber(BODY)]));
    let offset = stop(&mut world, "a", json!({ "n": 1, "note": "poison" }));
    world.settle();
    let letter = world.desk.letter(&format!("maint@{offset}")).cloned().expect("a letter");
    for round in 0..30 {
        for n in 0..20 {
            stop(&mut world, &format!("r{round}.{n}"), json!({ "n": n, "note": "fine" }));
        }
        world.settle();
        world.run(5 * S);
        if round % 7 == 0 {
            world.crash(if round % 2 == 0 { Crash::Power } else { Crash::Kill });
        }
    }
    assert!(world.oldest().0 > offset + 50_000, "its message is long gone: {}", world.oldest());
    assert_eq!(world.desk.letter(&letter.id), Some(&letter));
    world.target("maint").is_picky = false;
    let now = world.now();
    world.desk.replay(&letter.id, None, "ann", None, now).expect("replayed");
    world.settle();
    assert_eq!(world.target("maint").effects.last().map(|effect| effect.offset), Some(offset));
    world.check();
}

#[test]
fn more_replays_than_are_shown_survive_a_crash() {
    let (mut world, _) = world(BODY);
    const COUNT: u64 = 1_300;
    for n in 0..COUNT {
        stop(&mut world, &format!("e{n}"), json!({ "n": n, "note": "poison" }));
        if n % 100 == 99 {
            world.settle();
        }
    }
    world.target("maint").is_picky = false;
    world.target("maint").mood = Mood::Down;
    assert_eq!(world.replay_all(&|_| true, None).expect("replayed"), COUNT);
    world.durable();
    world.crash(Crash::Power);
    world.target("maint").mood = Mood::Up;
    world.settle();
    assert_eq!(world.target("maint").effects.len() as u64, COUNT);
    world.run(MINUTE);
    world.check();
}
