//! CPython 3.15: what differs from 3.14.

use larder_trace::Layout;

pub const LAYOUT: Layout = Layout {
    minor: 15,
    for_width: 2,
    monitoring_active: 16,
    long_single: 1024,
    type_keys: 888,
    ..super::v314::LAYOUT
};

/// Where this version describes itself; see [`super::check`].
pub const WORDS: super::check::Words = [
    26, 41, 42, 43, 45, 53, 56, 59, 69, 72, 73, 79, 80, 82, 84, 85, 88, 90, 91,
];
