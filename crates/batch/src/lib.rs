//! What a batch holds: rows, control totals, documents, reconciliation.
