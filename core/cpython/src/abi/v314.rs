//! CPython 3.14: what differs from 3.13.

use larder_trace::Layout;

pub const LAYOUT: Layout = Layout {
    minor: 14,
    frame_slots: 80,
    tagged_slots: true,
    code_units: 208,
    monitoring_active: 11,
    monitoring_events: 11,
    // A tuple keeps its hash before its items.
    tuple_items: 32,
    ..super::v313::LAYOUT
};

/// Where this version describes itself; see [`super::check`].
pub const WORDS: super::check::Words = [
    26, 33, 34, 35, 37, 45, 48, 51, 57, 60, 61, 67, 68, 70, 72, 73, 76, 78, 79,
];
