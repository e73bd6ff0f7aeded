//! The five patterns over one journal.
