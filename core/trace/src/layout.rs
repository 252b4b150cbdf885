//! Where CPython keeps things: plain offsets in bytes, filled in per minor version by `larder-cpython`.

/// Offsets of one CPython minor version, in bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub minor: u8,
    pub frame_code: usize,
    pub frame_globals: usize,
    pub frame_builtins: usize,
    pub frame_locals: usize,
    pub frame_ip: usize,
    pub frame_stacktop: usize,
    pub frame_slots: usize,
    /// 3.14 and later: the stack top is a pointer; bit 0 of a slot says that it does not own its object, and an empty
    /// one is 1.
    pub tagged_slots: bool,
    /// 3.15: a `for` loop keeps two stack entries.
    pub for_width: usize,
    /// Units skipped after the loop's end when a `for` runs out (`END_FOR`, `POP_ITER`).
    pub for_exit_units: usize,
    /// Bits of a `COMPARE_OP` argument below the operator.
    pub compare_shift: u32,
    /// The null that marks a plain call stands above the callable (3.13 and later) or below it.
    pub null_above_callable: bool,
    pub code_consts: usize,
    pub code_names: usize,
    pub code_flags: usize,
    pub code_argcount: usize,
    pub code_posonly: usize,
    pub code_kwonly: usize,
    /// The tuple of the names of locals, cells and free variables.
    pub code_variables: usize,
    pub code_stacksize: usize,
    pub code_slots: usize,
    pub code_monitoring: usize,
    pub code_units: usize,
    /// Where the monitors in force begin inside the code object's monitoring data.
    pub monitoring_active: usize,
    /// How many events of instructions there are, a byte each; the eighth is JUMP in every version.
    pub monitoring_events: usize,
    /// The current frame: offset in the thread state, and whether through one more pointer (3.12's C frame).
    pub thread_frame: usize,
    pub thread_frame_indirect: bool,
    /// The word the interpreter polls: offset in the thread state, or in the interpreter state (3.12).
    pub thread_breaker: usize,
    pub interp_breaker: Option<(usize, usize)>,
    pub breaker_mask: u32,
    pub long_tag: usize,
    pub long_digits: usize,
    /// Ints from -5 up to here exist once.
    pub long_single: i64,
    pub float_value: usize,
    pub var_size: usize,
    pub list_items: usize,
    pub list_allocated: usize,
    pub str_length: usize,
    pub str_state: usize,
    /// Bits of the state word that matter, and what they are for one ASCII byte a character in the object itself.
    pub str_mask: u32,
    pub str_ascii: u32,
    pub str_hash: usize,
    pub str_data: usize,
    pub bytes_data: usize,
    pub dict_used: usize,
    /// The byte whose bits say who watches a dict.
    pub dict_watchers: usize,
    pub dict_keys: usize,
    pub dict_values: usize,
    pub keys_log_size: usize,
    pub keys_log_index: usize,
    pub keys_kind: usize,
    pub keys_version: usize,
    pub keys_indices: usize,
    pub enumerate_index: usize,
    pub enumerate_inner: usize,
    pub zip_size: usize,
    pub zip_inner: usize,
    pub random_index: usize,
    pub random_state: usize,
    /// A built-in function's definition and the object it is bound to.
    pub builtin_def: usize,
    pub builtin_self: usize,
    /// Attributes kept in the object (3.13): behind its basic size, this byte says whether they are in use, and the
    /// values begin here; the dict that shows them, if any, before the object. Zero offsets: not known.
    pub inline_valid: usize,
    /// 3.12: where later versions have the dict, a pointer whose bit 0 says that it is one past the values, one less.
    pub tagged_values: bool,
    pub inline_values: usize,
    pub managed_dict: isize,
    pub type_keys: usize,
    pub tuple_items: usize,
    pub range_start: usize,
    pub range_next: usize,
    pub range_step: usize,
    pub range_left: usize,
    pub listiter_index: usize,
    pub listiter_list: usize,
    pub type_version: usize,
    pub type_basicsize: usize,
    pub func_globals: usize,
    pub func_builtins: usize,
    pub func_code: usize,
    pub func_defaults: usize,
    pub func_kwdefaults: usize,
    pub func_closure: usize,
}

/// Offset of the reference count (its low 32 bits) and of the type: the same in every version served.
pub const REFCOUNT: usize = 0;
pub const TYPE: usize = 8;
