//! What a batch holds: rows, control totals, documents, reconciliation.
//!
//! Purpose: make one document of the rows and figures of a period, with totals by which its
//! receiver can check that nothing is missing, and compare the receiver's answer with them.
//!
//! Invariants
//! - B1: the same head, rows and figures make the same bytes, in whatever order they come: a retry
//!   and a run after a crash send an identical body. (Another release of the compressor may pack
//!   differently; the file name stays.)
//! - B2: one document (record and id) is one row; of several versions the newest counts.
//! - B3: sums are exact in decimal ([`Decimal`]): 0.1 and 0.2 are 0.3. Where a number has no place
//!   in that, the sum is binary64 and says so ([`Sum::exact`]).
//! - B4: what comes out is bounded ([`ROWS_MAX`], [`DOCUMENT_BYTES_MAX`], [`COLUMNS_MAX`],
//!   [`FIGURES_MAX`]); what is over a bound is an error, never a shorter document.
//!
//! It deliberately does not choose the rows of a period, keep runs, or send anything, and knows no
//! Parquet.

#![forbid(unsafe_code)]

mod compose;
mod correction;
mod csv_document;
mod decimal;
mod json_document;
mod reconcile;
mod row;
mod sheet;
mod totals;

pub use compose::{
    COLUMNS_MAX, ComposeError, DOCUMENT_BYTES_MAX, Document, FIGURES_MAX, ROWS_MAX, compose, compose_correction, totals,
};
pub use correction::{Correction, diff};
pub use csv_document::FIXED_COLUMNS;
pub use decimal::Decimal;
pub use reconcile::{DIFFERENCES_MAX, Difference, FLOAT_TOLERANCE, Reconciliation, ReconciliationState, reconcile};
pub use row::{Figure, Format, Head, Row, Spec};
pub use totals::{Group, Sum, Totals, hash_of};
