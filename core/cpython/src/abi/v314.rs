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
    cached_offset: true,
    ..super::v313::LAYOUT
};
