//! Bytes ⇄ typed messages, one file per protocol. Absent here: sockets, clocks, async.
