//! What was learned of a server's nodes for commands, so that it is asked once.
//!
//! Invariants
//! - M1: nothing here outlives the session that it was learned on (see `nodes`, A1).
//! - M2: what is kept is bounded by [`TYPES_MAX`] and [`METHODS_MAX`]; when full it is forgotten
//!   and learned again.
//! - M3: commands that change the same node or object go one after the other, in their order.

use crate::nodes::Namespaces;
use opcua::types::{NodeId, VariantScalarTypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use tokio::sync::Mutex;

/// Variables whose type is kept.
const TYPES_MAX: usize = 10_000;
/// Methods whose arguments are kept.
const METHODS_MAX: usize = 256;

/// One input argument of a method.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    /// Its name.
    pub(crate) name: String,
    /// The type that it takes; `None` where the server does not say.
    pub(crate) takes: Option<VariantScalarTypeId>,
    /// Whether it is an array.
    pub(crate) array: bool,
}

/// The input arguments of a method; `None` where the server does not list any.
pub(crate) type Inputs = Option<Rc<[Input]>>;

/// Where one node's commands wait for each other.
type Turn = Rc<Mutex<()>>;

/// What is known of one session's nodes.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    namespaces: RefCell<Option<Rc<Namespaces>>>,
    types: RefCell<HashMap<NodeId, VariantScalarTypeId>>,
    methods: RefCell<HashMap<NodeId, Inputs>>,
    turns: RefCell<HashMap<NodeId, Turn>>,
}

impl Memo {
    pub(crate) fn namespaces(&self) -> Option<Rc<Namespaces>> {
        self.namespaces.borrow().clone()
    }

    pub(crate) fn keep_namespaces(&self, namespaces: Rc<Namespaces>) {
        *self.namespaces.borrow_mut() = Some(namespaces);
    }

    pub(crate) fn type_of(&self, node: &NodeId) -> Option<VariantScalarTypeId> {
        self.types.borrow().get(node).copied()
    }

    pub(crate) fn keep_type(&self, node: &NodeId, of: VariantScalarTypeId) {
        keep(&mut self.types.borrow_mut(), TYPES_MAX, node, of);
    }

    /// The server takes another type now.
    pub(crate) fn forget_type(&self, node: &NodeId) {
        self.types.borrow_mut().remove(node);
    }

    pub(crate) fn inputs_of(&self, method: &NodeId) -> Option<Inputs> {
        self.methods.borrow().get(method).cloned()
    }

    pub(crate) fn keep_inputs(&self, method: &NodeId, inputs: Inputs) {
        keep(&mut self.methods.borrow_mut(), METHODS_MAX, method, inputs);
    }

    /// The server takes other arguments now.
    pub(crate) fn forget_inputs(&self, method: &NodeId) {
        self.methods.borrow_mut().remove(method);
    }

    /// The place where commands to a node wait for their turn (fair). Those that nobody holds any
    /// more go, so there are as many as commands are under way.
    pub(crate) fn turn(&self, node: &NodeId) -> Turn {
        let mut turns = self.turns.borrow_mut();
        turns.retain(|_, turn| Rc::strong_count(turn) > 1);
        Rc::clone(turns.entry(node.clone()).or_default())
    }
}

fn keep<T>(known: &mut HashMap<NodeId, T>, most: usize, node: &NodeId, what: T) {
    if known.len() >= most {
        known.clear();
    }
    known.insert(node.clone(), what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn what_is_kept_is_bounded_and_learned_again() {
        let memo = Memo::default();
        for number in 0..METHODS_MAX as u32 + 1 {
            memo.keep_inputs(&NodeId::new(1, number), None);
        }
        assert_eq!(memo.inputs_of(&NodeId::new(1, 0)), None);
        assert_eq!(memo.inputs_of(&NodeId::new(1, METHODS_MAX as u32)), Some(None));
        let node = NodeId::new(1, "x");
        memo.keep_type(&node, VariantScalarTypeId::Double);
        assert_eq!(memo.type_of(&node), Some(VariantScalarTypeId::Double));
        memo.forget_type(&node);
        assert_eq!(memo.type_of(&node), None);
    }

    #[test]
    fn one_node_is_one_turn_and_another_is_another() {
        let memo = Memo::default();
        let (one, other) = (NodeId::new(1, "a"), NodeId::new(1, "b"));
        let (first, second, third) = (memo.turn(&one), memo.turn(&one), memo.turn(&other));
        let held = first.lock().now_or_never().expect("nobody has it");
        assert!(second.lock().now_or_never().is_none());
        assert!(third.lock().now_or_never().is_some());
        drop(held);
        assert!(second.lock().now_or_never().is_some());
        drop((first, second, third));
        let _last = memo.turn(&other);
        assert_eq!(memo.turns.borrow().len(), 1);
    }
}
