//! What the daemon knows and every worker must know: published whole, read once per batch.
