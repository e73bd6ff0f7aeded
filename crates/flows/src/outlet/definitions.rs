//! Which definition holds for which message.

use super::Outlet;
use crate::spec::Definition;
use delivery::Offset;

impl Outlet {
    /// A definition that the journal holds, from an offset on; they come in order.
    pub(crate) fn fold_definition(&mut self, from: Offset, definition: Definition) {
        self.history.push((from, definition));
    }

    /// The journal was read up to an offset: the configured definition holds behind it, and what the
    /// journal holds before. Answers whether it is another than the last one, and must be journalled.
    pub(crate) fn take_definition(&mut self, end: Offset) -> bool {
        let (_, configured) = self.definitions[0].clone();
        let mut history = std::mem::take(&mut self.history);
        let is_other = history.last().is_none_or(|(_, last)| last.text() != configured.text());
        if is_other {
            let from = if history.is_empty() { Offset(0) } else { end };
            history.push((from, configured));
        }
        self.definitions = history;
        is_other
    }

    /// The definition of today.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definitions[self.definitions.len() - 1].1
    }

    /// The definitions that what is unsettled may need, with where each begins; also what replays
    /// need that were ordered at these offsets and are not held yet.
    pub(crate) fn live_definitions(
        &self,
        ordered: impl Iterator<Item = Offset>,
    ) -> impl Iterator<Item = (Offset, &Definition)> {
        let replayed =
            self.pending.values().filter(|pending| !pending.letter.is_empty()).map(|pending| pending.ordered_at);
        // a replay needs what held before its order, a message what held before itself
        let needed = replayed.chain(ordered).map(|at| Offset(at.0.saturating_sub(1)));
        let low = needed.chain([self.consumer.low()]).min().unwrap_or_default();
        let first = self.definitions.iter().rposition(|(from, _)| *from <= low).unwrap_or(0);
        self.definitions[first..].iter().map(|(from, definition)| (*from, definition))
    }

    pub(super) fn definition_at(&self, offset: Offset) -> &Definition {
        // what ends where a definition begins was published before it
        let held = self.definitions.iter().rev().find(|(from, _)| *from < offset);
        held.map_or_else(|| self.definition(), |(_, definition)| definition)
    }
}
