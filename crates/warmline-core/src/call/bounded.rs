//! Queues that keep the latest.

use std::collections::VecDeque;

/// Appends a value; a full queue drops its oldest one.
pub(super) fn push_bounded<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(value);
}
