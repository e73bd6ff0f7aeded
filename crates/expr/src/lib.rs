//! CEL expressions, compiled once and evaluated over JSON.
