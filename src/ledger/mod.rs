//! What must not be lost, in SQLite: transfers and their outbox, verdicts, the audit chain; retention and erasure.
//! Absent here: sockets, decisions.
