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
    thread_frame: 56,
    thread_frame_indirect: true,
    interp_breaker: Some((16, 368)),
    breaker_mask: 0xffff_ffff,
    // 3.12 keeps attributes elsewhere; they are left to the interpreter.
    inline_values: 0,
    ..super::v313::LAYOUT
};
