use super::*;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Wake;

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(Mutex<usize>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.0.lock().expect("not poisoned") += 1;
    }
}

impl Bell {
    fn rung(&self) -> usize {
        *self.0.lock().expect("not poisoned")
    }
}

fn look(answering: &mut Answering) -> Option<Outcome> {
    look_with(answering, &Arc::default())
}

fn look_with(answering: &mut Answering, bell: &Arc<Bell>) -> Option<Outcome> {
    let waker = Waker::from(Arc::clone(bell));
    match pin!(answering).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

fn write(value: i64) -> DeviceCommand {
    DeviceCommand::Write { tag: "setpoint".into(), value: Value::I64(value) }
}

fn taken(commands: &mut Commands) -> Pending {
    commands.try_next().expect("a command waits")
}

#[test]
fn a_command_goes_over_and_its_answer_comes_back_and_wakes() {
    let (commander, mut commands) = commands(COMMANDS_WAITING_MAX);
    let (there, back) = (Arc::<Bell>::default(), Arc::<Bell>::default());
    let waker = Waker::from(Arc::clone(&there));
    assert!(commands.poll_next(&mut Context::from_waker(&waker)).is_pending());
    let mut answering = commander.submit(write(180), 7);
    assert_eq!(there.rung(), 1);
    assert_eq!(look_with(&mut answering, &back), None);
    let Poll::Ready(Some(pending)) = commands.poll_next(&mut Context::from_waker(&waker)) else {
        panic!("it waits");
    };
    assert_eq!((&pending.command, pending.deadline_ns), (&write(180), 7));
    pending.answer(Ok(DeviceAnswer::Written));
    assert_eq!(back.rung(), 1);
    assert_eq!(look(&mut answering), Some(Ok(DeviceAnswer::Written)));
}

#[test]
fn commands_keep_their_order_and_one_too_many_is_busy() {
    let (commander, mut commands) = commands(2);
    let mut answers: Vec<Answering> = (0..3).map(|value| commander.clone().submit(write(value), 0)).collect();
    assert_eq!(look(&mut answers[2]), Some(Err(DeviceError::Busy)));
    let order: Vec<DeviceCommand> = [taken(&mut commands), taken(&mut commands)].map(|p| p.command).to_vec();
    assert_eq!(order, [write(0), write(1)]);
    assert!(commands.try_next().is_none());
    // Both were dropped unanswered, which answers them.
    assert_eq!(look(&mut answers[0]), Some(Err(DeviceError::Closed)));
    assert_eq!(look(&mut answers[1]), Some(Err(DeviceError::Closed)));
}

#[test]
fn what_was_sent_and_dropped_is_in_doubt() {
    let (commander, mut commands) = commands(2);
    let mut answering = commander.submit(write(1), 0);
    let mut pending = taken(&mut commands);
    pending.reply.mark_sent();
    drop(pending);
    let error = look(&mut answering).expect("answered").expect_err("dropped");
    assert!(error.is_in_doubt(), "{error}");
}

#[test]
fn a_source_that_goes_answers_what_waits_and_what_comes_after() {
    let (commander, commands) = commands(2);
    let mut waiting = commander.submit(write(1), 0);
    assert!(commander.is_open());
    drop(commands);
    assert_eq!(look(&mut waiting), Some(Err(DeviceError::Closed)));
    assert_eq!(look(&mut commander.submit(write(2), 0)), Some(Err(DeviceError::Closed)));
    assert!(!commander.is_open());
}

#[test]
fn a_command_that_nobody_waits_for_is_not_taken() {
    let (commander, mut commands) = commands(4);
    drop(commander.submit(write(1), 0));
    let _kept = commander.submit(write(2), 0);
    assert_eq!(taken(&mut commands).command, write(2));
    assert!(commands.try_next().is_none());
}

#[test]
fn the_last_commander_that_goes_ends_the_stream() {
    let (commander, mut commands) = commands(4);
    let other = commander.clone();
    let bell = Arc::<Bell>::default();
    let waker = Waker::from(Arc::clone(&bell));
    let mut cx = Context::from_waker(&waker);
    let kept = commander.submit(write(1), 0);
    drop(commander);
    assert!(matches!(commands.poll_next(&mut cx), Poll::Ready(Some(_))));
    assert!(commands.poll_next(&mut cx).is_pending());
    drop(other);
    assert_eq!(bell.rung(), 1);
    assert!(matches!(commands.poll_next(&mut cx), Poll::Ready(None)));
    drop(kept);
}

#[test]
fn a_waker_may_submit_again_at_once() {
    // The answer's waker runs while the source is being dropped; it must find no borrow held.
    struct Again(Mutex<Vec<bool>>);
    thread_local! {
        static COMMANDER: RefCell<Option<Commander>> = const { RefCell::new(None) };
    }
    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            let closed = COMMANDER.with(|commander| {
                let commander = commander.borrow();
                let mut again = commander.as_ref().expect("set by the test").submit(write(2), 0);
                look(&mut again) == Some(Err(DeviceError::Closed))
            });
            self.0.lock().expect("not poisoned").push(closed);
        }
    }
    let (commander, commands) = commands(4);
    COMMANDER.with(|slot| *slot.borrow_mut() = Some(commander.clone()));
    let mut answering = commander.submit(write(1), 0);
    let again = Arc::new(Again(Mutex::default()));
    let waker = Waker::from(Arc::clone(&again));
    assert!(pin!(&mut answering).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(commands);
    assert_eq!(*again.0.lock().expect("not poisoned"), [true]);
    COMMANDER.with(|slot| slot.borrow_mut().take());
}

#[test]
fn doubt_is_told_from_refusal() {
    let device = |code: &str| DeviceError::Device { code: code.into(), text: String::new() };
    for (error, doubt) in [
        (DeviceError::Timeout { sent: true }, true),
        (DeviceError::Timeout { sent: false }, false),
        (DeviceError::InDoubt { why: "the connection went".into() }, true),
        (device("0B"), true),
        (device("02"), false),
        (device("BadUserAccessDenied"), false),
        (DeviceError::NotConnected { why: "off".into() }, false),
        (DeviceError::Busy, false),
        (DeviceError::Closed, false),
    ] {
        assert_eq!(error.is_in_doubt(), doubt, "{error}");
        assert!(!error.word().is_empty() && !error.to_string().is_empty());
    }
}

#[test]
fn the_nearest_name_is_near() {
    let names = ["setpoint", "state", "zone1", "meter1/limit"];
    let near = |wrong| nearest(wrong, names.into_iter());
    assert_eq!(near("setpiont"), Some("setpoint"));
    assert_eq!(near("stete"), Some("state"));
    assert_eq!(near("satte"), Some("state"));
    assert_eq!(near("SetPoint"), Some("setpoint"));
    assert_eq!(near("meter2/limit"), Some("meter1/limit"));
    assert_eq!(near("conveyor"), None);
    assert_eq!(near(""), None);
}
