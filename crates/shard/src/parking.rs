//! Where tasks wait whose lane has used up its budget.

use std::{collections::VecDeque, task::Waker};

/// Tasks let go when the lane has its budget again. Each of them lets the next one go when it was
/// polled, so that no more come than the budget serves.
pub(crate) const RELEASED: usize = 4;

/// The tasks of a lane that wait for its next budget, in the order in which they came.
#[derive(Default)]
pub(crate) struct Parking {
    waiting: VecDeque<Waker>,
    /// Number of the next ticket that is let go.
    next: u64,
}

/// A place in the line; it is over once its number was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Parking {
    /// Waits in line; who stands there already keeps the place.
    pub(crate) fn wait(&mut self, ticket: &mut Option<Ticket>, waker: &Waker) {
        let place = ticket.and_then(|Ticket(number)| usize::try_from(number.checked_sub(self.next)?).ok());
        if let Some(known) = place.and_then(|place| self.waiting.get_mut(place)) {
            known.clone_from(waker);
            return;
        }
        *ticket = Some(Ticket(self.next + self.waiting.len() as u64));
        self.waiting.push_back(waker.clone());
    }

    /// The next in line, to be woken. It may be the waker of a task that is gone by now, after which
    /// nobody lets the next one go: so the next budget lets go several.
    pub(crate) fn pop(&mut self) -> Option<Waker> {
        let waker = self.waiting.pop_front()?;
        self.next += 1;
        Some(waker)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    struct Task(usize, Arc<Mutex<Vec<usize>>>);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.1.lock().expect("no test panics here").push(self.0);
        }
    }

    #[test]
    fn they_go_in_the_order_in_which_they_came_each_once() {
        let woken = Arc::default();
        let wakers: Vec<Waker> = (0..9).map(|n| Waker::from(Arc::new(Task(n, Arc::clone(&woken))))).collect();
        let mut tickets = [None; 9];
        let mut parking = Parking::default();
        for _ in 0..3 {
            for (waker, ticket) in wakers.iter().zip(&mut tickets) {
                parking.wait(ticket, waker);
            }
        }
        let go = |parking: &mut Parking| (0..RELEASED).map_while(|_| parking.pop()).for_each(Waker::wake);
        go(&mut parking);
        assert_eq!(*woken.lock().expect("no test panics here"), [0, 1, 2, 3]);
        // those that went stand in line anew, behind the others
        parking.wait(&mut tickets[1], &wakers[1]);
        go(&mut parking);
        assert!(!parking.is_empty());
        go(&mut parking);
        assert!(parking.is_empty());
        assert_eq!(*woken.lock().expect("no test panics here"), [0, 1, 2, 3, 4, 5, 6, 7, 8, 1]);
    }
}
