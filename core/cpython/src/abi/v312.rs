//! CPython 3.12: what differs from 3.13.

use larder_trace::Layout;

pub const LAYOUT: Layout = Layout {
    minor: 12,
    for_exit_units: 1,
    compare_shift: 4,
    null_above_callable: false,
    code_monitoring: 168,
    code_units: 192,
    monitoring_active: 15,
    monitoring_events: 10,
    thread_frame: 56,
    thread_frame_indirect: true,
    interp_breaker: Some((16, 368)),
    breaker_mask: 0xffff_ffff,
    // Attributes lie outside the object, behind a pointer of the object.
    tagged_values: true,
    ..super::v313::LAYOUT
};
