//! The harness itself: clusters beside each other, and what is left of one whose start was cut off.
mod clusters;
